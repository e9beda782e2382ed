package sfu

import (
	"context"

	"libsfu.example/go/internal/fbs"
)

// Consumer is media that a peer receives: one producer's, rewritten for it.
type Consumer struct {
	pausable
	producer       ID
	mediaKind      MediaKind
	streamType     StreamType
	parameters     RTPParameters
	producerPaused bool
}

// Numbering says whose payload types and extension ids a consumer's packets carry.
type Numbering string

// The numberings; empty is the router's.
const (
	// RouterNumbering is usual: the client learns the numbers from the router's capabilities.
	RouterNumbering Numbering = "router"
	// PeerNumbering is that of the capabilities given, for a peer whose offer has fixed them.
	PeerNumbering Numbering = "peer"
)

// ConsumerOptions of a new consumer.
type ConsumerOptions struct {
	// Producer to consume.
	Producer ID
	// RTPCapabilities of the peer.
	RTPCapabilities RTPCapabilities
	// Paused at first. It is usual: the client is told of it, sets its receiver up, and Resume lets media begin.
	Paused bool
	// MID on the consumer's transport; empty: the next free number.
	MID string
	// EnableRTX; nil: on for video, off for audio.
	EnableRTX *bool
	// PreferredLayers are the highest that the peer wants; nil: all there are.
	PreferredLayers *Layers
	// Priority is its weight in the sharing of bandwidth, 1 (the least) to 255; nil is 1.
	Priority *uint8
	// IgnoreDTX leaves Opus packets out that say nothing but "silence".
	IgnoreDTX bool
	// PadFrames pads video packets by a few bytes, so that those of a frame have one size and leave in one message to
	// the kernel. For peers that take RTP padding.
	PadFrames bool
	Numbering Numbering
}

// Consume makes a consumer.
func (t transport) Consume(ctx context.Context, options ConsumerOptions) (*Consumer, error) {
	capabilities, err := capabilitiesTo(options.RTPCapabilities, "rtp_capabilities")
	if err != nil {
		return nil, named("Consume", err)
	}
	body := &fbs.ConsumeT{
		Producer: uint64(options.Producer), RtpCapabilities: capabilities, Paused: options.Paused, Mid: options.MID,
		EnableRtx: options.EnableRTX, PreferredLayers: layersTo(options.PreferredLayers),
		Priority: 1, IgnoreDtx: options.IgnoreDTX, PadFrames: options.PadFrames,
	}
	if options.Priority != nil {
		body.Priority = *options.Priority
	}
	if options.Numbering != "" {
		value, ok := fbs.EnumValuesNumbering[string(options.Numbering)]
		if !ok {
			return nil, named("Consume", invalid("numbering", "%q; give router or peer", string(options.Numbering)))
		}
		body.Numbering = value
	}
	base := newObject(t.core)
	made := &Consumer{pausable: pausable{base}, producer: options.Producer}
	reply, err := create[*fbs.ConsumerCreatedT](ctx, t.core, "Consume", t.id, fbs.RequestBodyConsume, body, base)
	if err != nil {
		return nil, err
	}
	made.mediaKind, made.streamType = kindFrom(reply.Kind), StreamType(reply.Type.String())
	made.parameters, made.producerPaused = rtpFrom(reply.RtpParameters), reply.ProducerPaused
	watch(made, base, "Consumer")
	return made, nil
}

// Kind of its media.
func (c *Consumer) Kind() MediaKind { return c.mediaKind }

// Type of its producer's encodings, when it was made.
func (c *Consumer) Type() StreamType { return c.streamType }

// Producer that it was made for.
func (c *Consumer) Producer() ID { return c.producer }

// RTPParameters are what the peer is to receive.
func (c *Consumer) RTPParameters() RTPParameters { return c.parameters }

// ProducerPaused tells whether its producer was paused when it was made.
func (c *Consumer) ProducerPaused() bool { return c.producerPaused }

// RequestKeyFrame asks its producer for a key frame.
func (c *Consumer) RequestKeyFrame(ctx context.Context) error {
	return c.core.do(ctx, "RequestKeyFrame", c.id, fbs.RequestBodyRequestKeyFrame, &fbs.RequestKeyFrameT{})
}

// SetPreferredLayers sets the highest layers that the peer wants; nil: all there are.
func (c *Consumer) SetPreferredLayers(ctx context.Context, layers *Layers) error {
	return c.core.do(ctx, "SetPreferredLayers", c.id, fbs.RequestBodySetPreferredLayers,
		&fbs.SetPreferredLayersT{Layers: layersTo(layers)})
}

// SetPriority sets its weight in the sharing of bandwidth, 1 (the least) to 255.
func (c *Consumer) SetPriority(ctx context.Context, priority uint8) error {
	return c.core.do(ctx, "SetPriority", c.id, fbs.RequestBodySetPriority,
		&fbs.SetPriorityT{Priority: priority})
}

// Switched is what a consumer is after SwitchProducer.
type Switched struct {
	// Type of the new producer's encodings.
	Type StreamType `json:"type"`
	// RTPParameters are what they were, but for the layers of the encoding.
	RTPParameters RTPParameters `json:"rtpParameters"`
}

// SwitchProducer lets the consumer follow another producer of the same router and kind from its next key frame on,
// without a seam for the peer. One of the codecs that the peer was told of must be the new producer's.
func (c *Consumer) SwitchProducer(ctx context.Context, producer ID) (Switched, error) {
	reply, err := call[*fbs.ProducerSwitchedT](ctx, c.core, "SwitchProducer", c.id,
		fbs.RequestBodySwitchProducer, &fbs.SwitchProducerT{Producer: uint64(producer)})
	if err != nil {
		return Switched{}, err
	}
	return Switched{Type: StreamType(reply.Type.String()), RTPParameters: rtpFrom(reply.RtpParameters)}, nil
}

// OnProducerPause sets a handler that is told when its producer was paused (true) or resumed (false). nil takes it away.
func (c *Consumer) OnProducerPause(handler func(paused bool)) {
	onGroup(c.object, ProducerPaused{}.kind(), handler == nil, func(event Event) {
		_, paused := event.(ProducerPaused)
		handler(paused)
	})
}

// OnLayersChange sets a handler of the layers that it sends; they are nil when it sends nothing.
func (c *Consumer) OnLayersChange(handler func(*Layers)) {
	on(c.object, handler == nil, func(changed LayersChanged) { handler(changed.Layers) })
}

// OnScore sets a handler of how well its media arrives; nil takes it away.
func (c *Consumer) OnScore(handler func(ConsumerScore)) { on(c.object, handler == nil, handler) }

// OnTrace sets a handler of what SetTrace has chosen; nil takes it away.
func (c *Consumer) OnTrace(handler func(Trace)) { on(c.object, handler == nil, handler) }
