package main

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"

	"github.com/pion/webrtc/v4/pkg/media/rtpdump"
)

type dumped struct {
	RTCP     bool   `json:"rtcp"`
	OffsetMs int64  `json:"offsetMs"`
	Payload  string `json:"payload"`
}

type dump struct {
	// Seconds of Unix time.
	Start   float64  `json:"start"`
	Source  string   `json:"source"`
	Port    uint16   `json:"port"`
	Packets []dumped `json:"packets"`
}

// readDump writes to out what pion reads in an rtpdump.
func readDump(path string, out io.Writer) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	reader, header, err := rtpdump.NewReader(file)
	if err != nil {
		return err
	}
	all := dump{Start: float64(header.Start.UnixMicro()) / 1e6, Source: header.Source.String(), Port: header.Port}
	for {
		packet, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return json.NewEncoder(out).Encode(all)
		}
		if err != nil {
			return err
		}
		all.Packets = append(all.Packets, dumped{
			RTCP: packet.IsRTCP, OffsetMs: packet.Offset.Milliseconds(), Payload: hex.EncodeToString(packet.Payload),
		})
	}
}
