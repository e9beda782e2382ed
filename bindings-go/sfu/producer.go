package sfu

import (
	"context"
	"time"

	"libsfu.example/go/internal/fbs"
)

// StreamType says what the encodings of a producer or consumer are.
type StreamType string

// The types of streams.
const (
	Simple    StreamType = "simple"
	Simulcast StreamType = "simulcast"
	SVC       StreamType = "svc"
	Pipe      StreamType = "pipe"
)

// Producer is media that a peer sends.
type Producer struct {
	pausable
	mediaKind  MediaKind
	streamType StreamType
}

// ProducerOptions of a new producer.
type ProducerOptions struct {
	Kind MediaKind
	// RTPParameters as the client says them. Several encodings are simulcast.
	RTPParameters RTPParameters
	Paused        bool
	// KeyFrameRequestDelay is the least time between two requests for a key frame; 0 is the library's.
	KeyFrameRequestDelay time.Duration
	// OpaquePayload: it is encrypted from end to end and never looked into. Key frames and layers are then told by header
	// extensions alone.
	OpaquePayload bool
	// NoKeyFrameCache: do not keep the newest key frame and what follows it for those who come later.
	NoKeyFrameCache bool
}

// Produce makes a producer.
func (t transport) Produce(ctx context.Context, options ProducerOptions) (*Producer, error) {
	kind, err := kindTo(options.Kind, "kind")
	if err != nil {
		return nil, named("Produce", err)
	}
	parameters, err := rtpTo(options.RTPParameters, "rtp_parameters")
	if err != nil {
		return nil, named("Produce", err)
	}
	made := &Producer{pausable: pausable{newObject(t.core)}, mediaKind: options.Kind}
	reply, err := create[*fbs.ProducerCreatedT](ctx, t.core, "Produce", t.id, fbs.RequestBodyProduce, &fbs.ProduceT{
		Kind: kind, RtpParameters: parameters, Paused: options.Paused,
		KeyFrameRequestDelayMs: milliseconds(options.KeyFrameRequestDelay),
		OpaquePayload:          options.OpaquePayload, KeyFrameCache: !options.NoKeyFrameCache,
	}, made.object)
	if err != nil {
		return nil, err
	}
	made.streamType = StreamType(reply.Type.String())
	watch(made, made.object, "Producer")
	return made, nil
}

// Kind of its media.
func (p *Producer) Kind() MediaKind { return p.mediaKind }

// Type of its encodings.
func (p *Producer) Type() StreamType { return p.streamType }

// OnScore sets a handler of how well its encodings arrive; nil takes it away.
func (p *Producer) OnScore(handler func([]EncodingScore)) {
	on(p.object, handler == nil, func(score ProducerScore) { handler(score.Scores) })
}

// OnWantedLayers sets a handler of the highest layers that any consumer wants; they are nil when nobody watches.
func (p *Producer) OnWantedLayers(handler func(*Layers)) {
	on(p.object, handler == nil, func(wanted WantedLayers) { handler(wanted.Layers) })
}

// OnVideoOrientationChange sets a handler that is told when the camera was turned; nil takes it away.
func (p *Producer) OnVideoOrientationChange(handler func(VideoOrientationChanged)) {
	on(p.object, handler == nil, handler)
}

// OnTrace sets a handler of what SetTrace has chosen; nil takes it away.
func (p *Producer) OnTrace(handler func(Trace)) { on(p.object, handler == nil, handler) }
