package sfu

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"strings"
	"time"
)

// The packets of scenarios: into direct transports and by UDP, and out again.

// rtpPackets are those of a step.
func (r *scenarioRun) rtpPackets(step map[string]any) [][]byte {
	if text, raw := step["hex"].(string); raw {
		return [][]byte{must[[]byte](r.t)(hex.DecodeString(text))}
	}
	fields := r.resolve(step["rtp"]).(map[string]any)
	number := func(name string, otherwise float64) float64 {
		if n, given := fields[name].(float64); given {
			return n
		}
		return otherwise
	}
	payload := []byte{}
	if text, given := fields["payload"].(string); given {
		payload = must[[]byte](r.t)(hex.DecodeString(text))
	}
	extension := r.extension(fields["extension"])
	var out [][]byte
	for at := range int(number("count", 1)) {
		packet := rtp(uint8(number("payloadType", 0)), uint16(number("sequence", 0))+uint16(at),
			uint32(number("timestamp", 0))+uint32(at)*uint32(number("timestampStep", 0)), uint32(number("ssrc", 0)), 0)
		if fields["marker"] == true {
			packet[1] |= 0x80
		}
		if len(extension) > 0 {
			packet[0] |= 0x10
		}
		out = append(out, append(append(packet, extension...), payload...))
	}
	return out
}

// extension is the one-byte form of RFC 8285.
func (r *scenarioRun) extension(value any) []byte {
	if value == nil {
		return nil
	}
	list, many := value.([]any)
	if !many {
		list = []any{value}
	}
	var elements []byte
	for _, one := range list {
		fields := one.(map[string]any)
		data := must[[]byte](r.t)(hex.DecodeString(fields["data"].(string)))
		elements = append(elements, byte(fields["id"].(float64))<<4|byte(len(data)-1))
		elements = append(elements, data...)
	}
	for len(elements)%4 != 0 {
		elements = append(elements, 0)
	}
	return append(binary.BigEndian.AppendUint16([]byte{0xbe, 0xde}, uint16(len(elements)/4)), elements...)
}

func (r *scenarioRun) send(to any, step map[string]any) string {
	base, is := baseOf(r.bound[strings.TrimPrefix(to.(string), "$")].object)
	if !is {
		return fmt.Sprintf("%v takes no packets", to)
	}
	if err := base.send("send", r.rtpPackets(step)); err != nil {
		return err.Error()
	}
	return ""
}

func (r *scenarioRun) datagram(to map[string]any, step map[string]any) string {
	name, given := step["socket"].(string)
	if !given {
		name = " "
	}
	place := r.resolve(to).(map[string]any)
	address := &net.UDPAddr{IP: net.ParseIP(place["address"].(string)), Port: int(place["port"].(float64))}
	for _, packet := range r.rtpPackets(step) {
		if _, err := r.socket(name).WriteToUDP(packet, address); err != nil {
			return err.Error()
		}
	}
	return ""
}

func (r *scenarioRun) receive(from any, step map[string]any) string {
	count := 1
	if n, given := step["count"].(float64); given {
		count = int(n)
	}
	take := func() []byte {
		if place, is := from.(map[string]any); is {
			socket := r.socket(place["socket"].(string))
			_ = socket.SetReadDeadline(time.Now().Add(patience))
			buffer := make([]byte, 2048)
			n, _, err := socket.ReadFromUDP(buffer)
			if err != nil {
				return nil
			}
			return buffer[:n]
		}
		id := r.bound[strings.TrimPrefix(from.(string), "$")].id
		if !r.wait(func() bool { return len(r.packets[id]) > 0 }) {
			return nil
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		packet := r.packets[id][0]
		r.packets[id] = r.packets[id][1:]
		return packet
	}
	last := -1
	for count > 0 {
		packet := take()
		if packet == nil {
			return "no packet came"
		}
		if kind, report := step["rtcp"].(float64); report {
			if hasRTCP(packet, byte(kind)) {
				count--
			}
			continue
		}
		sequence, fields := readRTP(packet)
		// Numbers may wrap: a jump back of almost all of them is a step on.
		if last >= 0 && (sequence-last)&0xffff >= 0x8000 {
			return fmt.Sprintf("sequence number %d after %d", sequence, last)
		}
		last = sequence
		if wrong := match("packet", r.resolve(step["rtp"]), fields); wrong != "" {
			return wrong
		}
		count--
	}
	return ""
}

// hasRTCP tells whether a compound has a packet of this type.
func hasRTCP(compound []byte, kind byte) bool {
	for len(compound) >= 4 {
		if compound[1] == kind {
			return true
		}
		length := 4 * (1 + int(binary.BigEndian.Uint16(compound[2:])))
		if length > len(compound) {
			return false
		}
		compound = compound[length:]
	}
	return false
}

func readRTP(packet []byte) (sequence int, fields map[string]any) {
	payload := packet[12+4*int(packet[0]&0x0f):]
	if packet[0]&0x10 != 0 {
		payload = payload[4+4*int(binary.BigEndian.Uint16(payload[2:])):]
	}
	return int(binary.BigEndian.Uint16(packet[2:])), map[string]any{
		"payloadType": float64(packet[1] & 0x7f), "marker": packet[1]&0x80 != 0, "payload": hex.EncodeToString(payload),
		"ssrc": float64(binary.BigEndian.Uint32(packet[8:])), "timestamp": float64(binary.BigEndian.Uint32(packet[4:])),
		"sequence": float64(binary.BigEndian.Uint16(packet[2:])),
	}
}
