package sfu

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

// start is an engine of one shard that ends with the test.
func start(t testing.TB, options Options) *Engine {
	t.Helper()
	options.Unpinned = true
	if options.Shards == 0 {
		options.Shards = 1
	}
	engine, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
	})
	return engine
}

// bounded is a context that no call of a test should need the end of.
func bounded(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// must fails the test on an error; it gives the value otherwise.
func must[T any](t testing.TB) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// expect fails the test unless the error is of one of these codes.
func expect(t testing.TB, err error, codes ...Code) *Error {
	t.Helper()
	var refused *Error
	if !errors.As(err, &refused) {
		t.Fatalf("%v is no *Error; expected one of %v", err, codes)
	}
	for _, code := range codes {
		if errors.Is(err, code) {
			return refused
		}
	}
	t.Fatalf("%v (code %d); expected one of %v", err, refused.Code, codes)
	return nil
}

// receive waits until something was sent.
func receive[T any](t testing.TB, what string, channel <-chan T) T {
	t.Helper()
	select {
	case value := <-channel:
		return value
	case <-time.After(10 * time.Second):
		t.Fatalf("not within ten seconds: %s", what)
	}
	panic("unreachable")
}

func testCodecs() []RTPCodecCapability {
	return []RTPCodecCapability{
		{Kind: Audio, MimeType: "audio/opus", ClockRate: 48000, Channels: 2},
		{Kind: Video, MimeType: "video/VP8", ClockRate: 90000},
	}
}

func testRouter(t testing.TB, engine *Engine) *Router {
	t.Helper()
	return must[*Router](t)(engine.CreateRouter(bounded(t), RouterOptions{MediaCodecs: testCodecs()}))
}

// opusFrom is what a peer says that sends Opus.
func opusFrom(ssrc uint32) ProducerOptions {
	return ProducerOptions{Kind: Audio, RTPParameters: RTPParameters{
		Codecs:    []RTPCodecParameters{{MimeType: "audio/opus", PayloadType: 111, ClockRate: 48000, Channels: 2}},
		Encodings: []RTPEncodingParameters{{SSRC: &ssrc}},
	}}
}

func vp8From(ssrc uint32) ProducerOptions {
	return ProducerOptions{Kind: Video, RTPParameters: RTPParameters{
		Codecs: []RTPCodecParameters{{
			MimeType: "video/VP8", PayloadType: 96, ClockRate: 90000,
			RTCPFeedback: []RTCPFeedback{{Type: "nack"}, {Type: "nack", Parameter: "pli"}},
		}},
		Encodings: []RTPEncodingParameters{{SSRC: &ssrc}},
	}}
}

func loopback() ListenInfo { return ListenInfo{IP: "127.0.0.1"} }

// fingerprint is a digest that no certificate of a test has.
func fingerprint() DTLSParameters {
	value := strings.TrimSuffix(strings.Repeat("AB:", 32), ":")
	return DTLSParameters{Role: DTLSClient, Fingerprints: []DTLSFingerprint{{Algorithm: "sha-256", Value: value}}}
}

// rtp is a packet with a payload of so many bytes.
func rtp(payloadType uint8, sequence uint16, timestamp, ssrc uint32, payload int) []byte {
	packet := make([]byte, 12+payload)
	packet[0], packet[1] = 0x80, payloadType
	packet[2], packet[3] = byte(sequence>>8), byte(sequence)
	for at, word := range []uint32{timestamp, ssrc} {
		for shift := 0; shift < 4; shift++ {
			packet[4+4*at+shift] = byte(word >> (24 - 8*shift))
		}
	}
	for at := 12; at < len(packet); at++ {
		packet[at] = byte(at)
	}
	return packet
}

const testOffer = "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\n" +
	"m=audio 9 UDP/TLS/RTP/SAVPF 111\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\na=sendonly\r\na=rtcp-mux\r\n" +
	"a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=setup:actpass\r\n" +
	"a=fingerprint:sha-256 AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB:AB\r\n" +
	"a=rtpmap:111 opus/48000/2\r\na=fmtp:111 minptime=10;useinbandfec=1\r\na=ssrc:1111 cname:x\r\n"
