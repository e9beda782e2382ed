package sfu

import (
	"time"

	"libsfu.example/go/internal/fbs"
)

// TransportStreams is how a transport tells streams from each other, and who looks at them.
type TransportStreams struct {
	// Received SSRCs of the peer.
	Received []ReceivedSSRC
	// Lines are what packets are known by before their SSRC is.
	Lines []ProducerLine
	// Sent SSRCs of ours.
	Sent []SentSSRC
	// HeaderExtensions as the peer calls those that it sends.
	HeaderExtensions []HeaderExtensionID
	// LearnedSSRCs were not signalled; at most LearnedSSRCsLimit are kept.
	LearnedSSRCs, LearnedSSRCsLimit int
	// DecisionRows that KeepDecisions keeps.
	DecisionRows int
	// Tap at work; nil: none.
	Tap *TapDump
}

// ReceivedSSRC is an SSRC of the peer and the producer that its packets go to.
type ReceivedSSRC struct {
	SSRC     uint32
	Producer ID
	// Encoding of the producer, by its index.
	Encoding int
	RTX      bool
	// Signalled when the producer was made; else it was learned from a packet.
	Signalled bool
	// FEC: it carries repair of another stream (FlexFEC).
	FEC bool
}

// ProducerLine is what packets of a producer are known by before their SSRC is.
type ProducerLine struct {
	Producer ID
	MID      string
	// RIDs of the encodings; an encoding without one has an empty one.
	RIDs         []string
	PayloadTypes []PayloadTypes
}

// PayloadTypes of a codec: its own, and that of its RTX; nil: it has none.
type PayloadTypes struct {
	PayloadType    uint8
	RTXPayloadType *uint8
}

// SentSSRC is an SSRC of ours and the consumer whose stream it is.
type SentSSRC struct {
	SSRC     uint32
	Consumer ID
	RTX      bool
	// FEC: it carries repair of another stream (FlexFEC).
	FEC bool
}

// HeaderExtensionID is what a peer calls a header extension.
type HeaderExtensionID struct {
	URI string
	ID  uint8
}

// TapDump is a tap at work; see StartTap.
type TapDump struct {
	Name        string
	Format      TapFormat
	MaxBytes    uint64
	MaxDuration time.Duration
	HeadersOnly bool
	Packets     uint64
	// Bytes that they take in the file, at most.
	Bytes uint64
	// Dropped packets came faster than they could be copied.
	Dropped uint64
}

func streamsFrom(streams *fbs.TransportStreamsT) TransportStreams {
	if streams == nil {
		return TransportStreams{}
	}
	out := TransportStreams{
		HeaderExtensions: extensionIDsFrom(streams.HeaderExtensions), LearnedSSRCs: int(streams.LearnedSsrcs),
		LearnedSSRCsLimit: int(streams.LearnedSsrcsLimit), DecisionRows: int(streams.DecisionRows),
		Tap: tapFrom(streams.Tap),
	}
	for _, one := range streams.Received {
		out.Received = append(out.Received, ReceivedSSRC{
			SSRC: one.Ssrc, Producer: ID(one.Producer), Encoding: int(one.Encoding), RTX: one.Rtx, Signalled: one.Signalled,
			FEC: one.Fec,
		})
	}
	for _, one := range streams.Lines {
		out.Lines = append(out.Lines, ProducerLine{
			Producer: ID(one.Producer), MID: one.Mid, RIDs: one.Rids, PayloadTypes: payloadTypesFrom(one.PayloadTypes),
		})
	}
	for _, one := range streams.Sent {
		out.Sent = append(out.Sent, SentSSRC{SSRC: one.Ssrc, Consumer: ID(one.Consumer), RTX: one.Rtx, FEC: one.Fec})
	}
	return out
}

func payloadTypesFrom(types []*fbs.PayloadTypeDumpT) []PayloadTypes {
	var out []PayloadTypes
	for _, one := range types {
		out = append(out, PayloadTypes{PayloadType: one.PayloadType, RTXPayloadType: one.RtxPayloadType})
	}
	return out
}

func extensionIDsFrom(extensions []*fbs.HeaderExtensionIdT) []HeaderExtensionID {
	var out []HeaderExtensionID
	for _, one := range extensions {
		out = append(out, HeaderExtensionID{URI: one.Uri, ID: one.Id})
	}
	return out
}

func tapFrom(tap *fbs.TapDumpT) *TapDump {
	if tap == nil {
		return nil
	}
	return &TapDump{
		Name: tap.Name, Format: TapFormat(tap.Format.String()), MaxBytes: tap.MaxBytes,
		MaxDuration: time.Duration(tap.MaxDurationMs) * time.Millisecond, HeadersOnly: tap.HeadersOnly,
		Packets: tap.Packets, Bytes: tap.Bytes, Dropped: tap.Dropped,
	}
}
