package sfu

import (
	"time"

	"libsfu.example/go/internal/fbs"
)

// Event is something that happened to an object: one of the types of this file. Engine.OnEvent hears all of them.
type Event interface {
	// Source is the object; 0 is the engine.
	Source() ID
	kind() kind
}

// kind of event. It is the schema's number.
type kind fbs.EventBody

// telemetry may be dropped where state may not.
func (k kind) telemetry() bool { return fbs.EventBody(k) == fbs.EventBodyTraceEvent }

// group is the kind of which only the latest counts: where one follows another of an object, the other is past.
func (k kind) group() kind {
	switch fbs.EventBody(k) {
	case fbs.EventBodyProducerResumed:
		return kind(fbs.EventBodyProducerPaused)
	case fbs.EventBodyAudioSilence:
		return kind(fbs.EventBodyAudioVolumes)
	}
	return k
}

// CloseReason says why an object was closed.
type CloseReason string

// The reasons.
const (
	// Closed by Close.
	Closed CloseReason = "closed"
	// RouterClosed: its router was closed.
	RouterClosed CloseReason = "router_closed"
	// TransportClosed: its transport was closed.
	TransportClosed CloseReason = "transport_closed"
	// ProducerClosed: what it consumes was closed.
	ProducerClosed CloseReason = "producer_closed"
	// ServerClosed: its WebRTC server was closed.
	ServerClosed CloseReason = "server_closed"
	// Panicked: a bug in libsfu closed its router; other rooms go on.
	Panicked CloseReason = "panic"
	// ShardFailed: a bug in libsfu ended its shard.
	ShardFailed CloseReason = "shard_failed"
	// EngineClosed by Engine.Close.
	EngineClosed CloseReason = "engine_closed"
)

// ObjectClosed: the object was closed as a consequence of something else.
type ObjectClosed struct {
	Object ID
	Reason CloseReason
	// Text is what a bug said, where one was the reason.
	Text string
}

// ICEStateChanged of a WebRTC transport.
type ICEStateChanged struct {
	Transport ID
	State     ICEState
}

// ICESelectedTupleChanged of a WebRTC transport: its peer is heard from another address, or by another one of ours.
type ICESelectedTupleChanged struct {
	Transport ID
	Tuple     TransportTuple
}

// DTLSStateChanged of a WebRTC transport.
type DTLSStateChanged struct {
	Transport ID
	State     DTLSState
	// Reason of a failure.
	Reason string
}

// ProducerPaused: what the consumer consumes was paused.
type ProducerPaused struct{ Consumer ID }

// ProducerResumed: what the consumer consumes was resumed.
type ProducerResumed struct{ Consumer ID }

// LayersChanged: the layers that the consumer sends now; nil: nothing.
type LayersChanged struct {
	Consumer ID
	Layers   *Layers
}

// EncodingScore is how well an encoding of a producer arrives, from 0 (nothing does) to 10.
type EncodingScore struct {
	Encoding uint8  `json:"encodingIdx"`
	SSRC     uint32 `json:"ssrc"`
	RID      string `json:"rid,omitempty"`
	Score    uint8  `json:"score"`
}

// ProducerScore has one score for each encoding that has an SSRC.
type ProducerScore struct {
	Producer ID
	Scores   []EncodingScore
}

// ConsumerScore is from 0 to 10.
type ConsumerScore struct {
	Consumer ID `json:"-"`
	// Score of its own stream.
	Score uint8 `json:"score"`
	// ProducerScore is that of the encoding that it gets.
	ProducerScore uint8 `json:"producerScore"`
	// ProducerScores are those of all encodings, in order.
	ProducerScores []int `json:"producerScores"`
}

// WantedLayers are the highest that any consumer of the producer wants; nil: nobody watches.
type WantedLayers struct {
	Producer ID
	Layers   *Layers
}

// VideoOrientationChanged: the camera was turned (3GPP TS 26.114).
type VideoOrientationChanged struct {
	Producer ID
	// Camera: from the back camera. Flip: mirrored.
	Camera, Flip bool
	// Rotation in degrees that a receiver turns the picture clockwise.
	Rotation int
}

// Volume of a producer, -127 (silence) to 0, dBov.
type Volume struct {
	Producer ID
	Volume   int
}

// AudioVolumes of an audio level observer, the loudest first.
type AudioVolumes struct {
	Observer ID
	Volumes  []Volume
}

// AudioSilence: nobody is loud any more.
type AudioSilence struct{ Observer ID }

// DominantSpeakerChanged of an active speaker observer.
type DominantSpeakerChanged struct {
	Observer ID
	// Producer who speaks; 0 is nobody.
	Producer ID
}

// TransportTupleChanged: a plain transport learned its peer's address (comedia).
type TransportTupleChanged struct {
	Transport ID
	Tuple     TransportTuple
	// RTCP: the address is that of RTCP alone.
	RTCP bool
}

// PipeSilenceChanged: the other end of a pipe transport has been silent for ten seconds, or is heard again.
type PipeSilenceChanged struct {
	Transport ID
	Silent    bool
}

// StreamLimitReached: a transport's peer has brought more SSRCs that were not signalled than are kept.
type StreamLimitReached struct {
	Transport ID
	Limit     int
}

// TapEnd says why a tap has ended.
type TapEnd string

// The ends of a tap. TapFailed is trouble with the file.
const (
	TapStopped         TapEnd = "stopped"
	TapSizeReached     TapEnd = "size_reached"
	TapTimeReached     TapEnd = "time_reached"
	TapTransportClosed TapEnd = "transport_closed"
	TapFailed          TapEnd = "failed"
)

// TapClosed: a transport's tap has ended; its file is whole as far as it goes.
type TapClosed struct {
	Transport ID
	Reason    TapEnd
	// Packets in the file, and its length in bytes.
	Packets, Bytes uint64
	// Dropped packets came faster than they could be written.
	Dropped uint64
	// Text is what went wrong, for TapFailed.
	Text string
}

// EngineDrained: the engine drains and its last router is gone.
type EngineDrained struct{}

// EventsLost: so many telemetry events were dropped.
type EventsLost struct{ Count uint64 }

// Trace tells of one packet of a producer or consumer; see SetTrace. It is telemetry: it may be dropped, and EventsLost
// then says so.
type Trace struct {
	Object ID
	At     time.Time
	Kind   TraceKind
	// Out: to a consumer's peer, or to a producer's.
	Out bool
	// SSRC of the stream that it is about.
	SSRC uint32
	// RTP for TraceRTP and TraceKeyFrame.
	RTP *TracedRTP
	// Packets that a NACK asks for.
	Packets int
	// Report for TraceSR.
	Report *TracedReport
}

// TracedRTP is the header of an RTP packet as the object's peer sends or gets it.
type TracedRTP struct {
	PayloadType      uint8
	SequenceNumber   uint16
	Timestamp        uint32
	Marker, KeyFrame bool
	// RTX: a retransmission.
	RTX bool
	// Bytes as decrypted from the peer, as encrypted to it.
	Bytes int
}

// TracedReport is a sender report.
type TracedReport struct {
	NTP                     uint64
	RTPTimestamp            uint32
	PacketCount, OctetCount uint32
}

func (e ObjectClosed) Source() ID            { return e.Object }
func (e ICEStateChanged) Source() ID         { return e.Transport }
func (e ICESelectedTupleChanged) Source() ID { return e.Transport }
func (e DTLSStateChanged) Source() ID        { return e.Transport }
func (e ProducerPaused) Source() ID          { return e.Consumer }
func (e ProducerResumed) Source() ID         { return e.Consumer }
func (e LayersChanged) Source() ID           { return e.Consumer }
func (e ProducerScore) Source() ID           { return e.Producer }
func (e ConsumerScore) Source() ID           { return e.Consumer }
func (e WantedLayers) Source() ID            { return e.Producer }
func (e VideoOrientationChanged) Source() ID { return e.Producer }
func (e AudioVolumes) Source() ID            { return e.Observer }
func (e AudioSilence) Source() ID            { return e.Observer }
func (e DominantSpeakerChanged) Source() ID  { return e.Observer }
func (e TransportTupleChanged) Source() ID   { return e.Transport }
func (e PipeSilenceChanged) Source() ID      { return e.Transport }
func (e StreamLimitReached) Source() ID      { return e.Transport }
func (e TapClosed) Source() ID               { return e.Transport }
func (e EngineDrained) Source() ID           { return 0 }
func (e EventsLost) Source() ID              { return 0 }
func (e Trace) Source() ID                   { return e.Object }

func (ObjectClosed) kind() kind            { return kind(fbs.EventBodyObjectClosed) }
func (ICEStateChanged) kind() kind         { return kind(fbs.EventBodyIceStateChanged) }
func (ICESelectedTupleChanged) kind() kind { return kind(fbs.EventBodyIceSelectedTupleChanged) }
func (DTLSStateChanged) kind() kind        { return kind(fbs.EventBodyDtlsStateChanged) }
func (ProducerPaused) kind() kind          { return kind(fbs.EventBodyProducerPaused) }
func (ProducerResumed) kind() kind         { return kind(fbs.EventBodyProducerResumed) }
func (LayersChanged) kind() kind           { return kind(fbs.EventBodyLayersChanged) }
func (ProducerScore) kind() kind           { return kind(fbs.EventBodyProducerScore) }
func (ConsumerScore) kind() kind           { return kind(fbs.EventBodyConsumerScore) }
func (WantedLayers) kind() kind            { return kind(fbs.EventBodyWantedLayers) }
func (VideoOrientationChanged) kind() kind { return kind(fbs.EventBodyVideoOrientationChanged) }
func (AudioVolumes) kind() kind            { return kind(fbs.EventBodyAudioVolumes) }
func (AudioSilence) kind() kind            { return kind(fbs.EventBodyAudioSilence) }
func (DominantSpeakerChanged) kind() kind  { return kind(fbs.EventBodyDominantSpeakerChanged) }
func (TransportTupleChanged) kind() kind   { return kind(fbs.EventBodyTransportTupleChanged) }
func (PipeSilenceChanged) kind() kind      { return kind(fbs.EventBodyPipeSilenceChanged) }
func (StreamLimitReached) kind() kind      { return kind(fbs.EventBodyStreamLimitReached) }
func (TapClosed) kind() kind               { return kind(fbs.EventBodyTapClosed) }
func (EngineDrained) kind() kind           { return kind(fbs.EventBodyEngineDrained) }
func (EventsLost) kind() kind              { return kind(fbs.EventBodyEventsLost) }
func (Trace) kind() kind                   { return kind(fbs.EventBodyTraceEvent) }
