package sfu_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"

	"libsfu.example/go/sfu"
)

// A first call: an engine, a room, and a transport for a browser.
func Example() {
	ctx := context.Background()
	engine, err := sfu.New(sfu.Options{Shards: 1, Unpinned: true})
	if err != nil {
		log.Fatal(err) // one line with cause, value and remedy
	}
	defer engine.Close()

	room, err := engine.CreateRouter(ctx, sfu.RouterOptions{MediaCodecs: []sfu.RTPCodecCapability{
		{Kind: sfu.Audio, MimeType: "audio/opus", ClockRate: 48000, Channels: 2},
		{Kind: sfu.Video, MimeType: "video/VP8", ClockRate: 90000},
	}})
	if err != nil {
		log.Fatal(err)
	}
	transport, err := room.CreateWebRTCTransport(ctx, sfu.WebRTCTransportOptions{
		ListenInfos: []sfu.ListenInfo{{IP: "127.0.0.1"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	transport.OnICEStateChange(func(state sfu.ICEState) { log.Print("ICE is ", state) })
	fmt.Println(len(transport.ICECandidates()), "candidate, DTLS role", transport.DTLSParameters().Role)
	// Output: 1 candidate, DTLS role auto
}

// The dictionaries have the JSON of the ORTC clients in browsers.
func ExampleProducerOptions() {
	said := `{"codecs": [{"mimeType": "audio/opus", "payloadType": 111, "clockRate": 48000, "channels": 2}],
		"encodings": [{"ssrc": 5}], "rtcp": {"cname": "ada"}}`
	options := sfu.ProducerOptions{Kind: sfu.Audio}
	if err := json.Unmarshal([]byte(said), &options.RTPParameters); err != nil {
		log.Fatal(err)
	}
	fmt.Println(options.RTPParameters.Codecs[0].MimeType, options.RTPParameters.RTCP.NoReducedSize)
	// Output: audio/opus false
}

// Errors are asked for by their code, and tell the field.
func ExampleError() {
	ctx := context.Background()
	engine, err := sfu.New(sfu.Options{Shards: 1, Unpinned: true})
	if err != nil {
		log.Fatal(err)
	}
	defer engine.Close()
	_, err = engine.CreateRouter(ctx, sfu.RouterOptions{MediaCodecs: []sfu.RTPCodecCapability{
		{Kind: sfu.Audio, MimeType: "audio/opus", ClockRate: 1},
	}})
	var refused *sfu.Error
	if errors.As(err, &refused) {
		fmt.Println(errors.Is(err, sfu.ErrUnsupported) || errors.Is(err, sfu.ErrInvalidArgument), refused.Field)
	}
	// Output: true media_codecs[0].clock_rate
}

// Packets of a direct transport: this program sends media and receives it.
func ExampleDirectTransport() {
	ctx := context.Background()
	engine, err := sfu.New(sfu.Options{Shards: 1, Unpinned: true})
	if err != nil {
		log.Fatal(err)
	}
	defer engine.Close()
	room, err := engine.CreateRouter(ctx, sfu.RouterOptions{MediaCodecs: []sfu.RTPCodecCapability{
		{Kind: sfu.Audio, MimeType: "audio/opus", ClockRate: 48000, Channels: 2},
	}})
	if err != nil {
		log.Fatal(err)
	}
	direct, err := room.CreateDirectTransport(ctx, sfu.DirectTransportOptions{})
	if err != nil {
		log.Fatal(err)
	}
	producer, err := direct.Produce(ctx, sfu.ProducerOptions{Kind: sfu.Audio, RTPParameters: sfu.RTPParameters{
		Codecs:    []sfu.RTPCodecParameters{{MimeType: "audio/opus", PayloadType: 111, ClockRate: 48000, Channels: 2}},
		Encodings: []sfu.RTPEncodingParameters{{SSRC: sfu.Ptr[uint32](5)}},
	}})
	if err != nil {
		log.Fatal(err)
	}
	consumer, err := direct.Consume(ctx, sfu.ConsumerOptions{
		Producer: producer.ID(), RTPCapabilities: room.RTPCapabilities(),
	})
	if err != nil {
		log.Fatal(err)
	}
	got := make(chan byte)
	consumer.OnRTP(func(packet []byte) { got <- packet[len(packet)-1] })
	packet := []byte{0x80, 111, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5, 'h', 'i', '!'}
	if err := producer.SendRTP(packet); err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%c\n", <-got)
	// Output: !
}
