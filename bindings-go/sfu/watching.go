package sfu

import (
	"context"
	"fmt"
	"time"

	"libsfu.example/go/internal/fbs"
)

// AudioLevelObserver tells who is loud in a router, at the end of each interval.
type AudioLevelObserver struct{ observer }

// ActiveSpeakerObserver tells who is the dominant speaker in a router, when it is another one.
type ActiveSpeakerObserver struct{ observer }

type observer struct{ pausable }

// AudioLevelOptions of an audio level observer.
type AudioLevelOptions struct {
	// MaxEntries: so many producers are told at most, the loudest first; 0 is 1.
	MaxEntries uint16
	// Threshold: producers below it are not told; -127 to -1, dBov; 0 is -80.
	Threshold int8
	// Interval, 100 ms to 10 s; 0 is a second.
	Interval time.Duration
}

// CreateAudioLevelObserver makes an observer that tells who is loud.
func (r *Router) CreateAudioLevelObserver(ctx context.Context, options AudioLevelOptions) (*AudioLevelObserver, error) {
	body := &fbs.CreateAudioLevelObserverT{
		MaxEntries: options.MaxEntries, Threshold: options.Threshold, IntervalMs: milliseconds(options.Interval),
	}
	if body.MaxEntries == 0 {
		body.MaxEntries = 1
	}
	if body.Threshold == 0 {
		body.Threshold = -80
	}
	if options.Interval == 0 {
		body.IntervalMs = 1000
	}
	made := &AudioLevelObserver{observer{pausable{newObject(r.core)}}}
	_, err := create[*fbs.CreatedT](ctx, r.core, "CreateAudioLevelObserver", r.id,
		fbs.RequestBodyCreateAudioLevelObserver, body, made.object)
	if err != nil {
		return nil, err
	}
	watch(made, made.object, "AudioLevelObserver")
	return made, nil
}

// OnVolumes sets a handler of who is loud, the loudest first; none when nobody is any more. nil takes it away.
func (o *AudioLevelObserver) OnVolumes(handler func([]Volume)) {
	onGroup(o.object, AudioVolumes{}.kind(), handler == nil, func(event Event) {
		volumes, _ := event.(AudioVolumes)
		handler(volumes.Volumes)
	})
}

// CreateActiveSpeakerObserver makes an observer that tells who speaks; `interval` is 100 ms to 10 s, 0 is 300 ms.
func (r *Router) CreateActiveSpeakerObserver(ctx context.Context, interval time.Duration) (*ActiveSpeakerObserver, error) {
	body := &fbs.CreateActiveSpeakerObserverT{IntervalMs: milliseconds(interval)}
	if interval == 0 {
		body.IntervalMs = 300
	}
	made := &ActiveSpeakerObserver{observer{pausable{newObject(r.core)}}}
	_, err := create[*fbs.CreatedT](ctx, r.core, "CreateActiveSpeakerObserver", r.id,
		fbs.RequestBodyCreateActiveSpeakerObserver, body, made.object)
	if err != nil {
		return nil, err
	}
	watch(made, made.object, "ActiveSpeakerObserver")
	return made, nil
}

// OnDominantSpeaker sets a handler of the producer that speaks; 0 is nobody. nil takes it away.
func (o *ActiveSpeakerObserver) OnDominantSpeaker(handler func(producer ID)) {
	on(o.object, handler == nil, func(changed DominantSpeakerChanged) { handler(changed.Producer) })
}

// Observe lets it hear an audio producer of its router from now on.
func (o observer) Observe(ctx context.Context, producer ID) error {
	return o.core.do(ctx, "Observe", o.id, fbs.RequestBodyObserve, &fbs.ObserveT{Producer: uint64(producer)})
}

// Unobserve lets it hear the producer no longer.
func (o observer) Unobserve(ctx context.Context, producer ID) error {
	return o.core.do(ctx, "Unobserve", o.id, fbs.RequestBodyUnobserve, &fbs.UnobserveT{Producer: uint64(producer)})
}

// TraceKind is what a trace tells of.
type TraceKind string

// The kinds of traces. A consumer has no sender reports.
const (
	TraceRTP      TraceKind = "rtp"
	TraceKeyFrame TraceKind = "keyframe"
	TraceNACK     TraceKind = "nack"
	TracePLI      TraceKind = "pli"
	TraceFIR      TraceKind = "fir"
	TraceSR       TraceKind = "sr"
)

func traceKindsFrom(kinds []fbs.TraceKind) []TraceKind {
	var out []TraceKind
	for _, one := range kinds {
		out = append(out, TraceKind(one.String()))
	}
	return out
}

func (o *object) setTrace(ctx context.Context, kinds []TraceKind) error {
	body := &fbs.SetTraceT{}
	for index, kind := range kinds {
		value, ok := fbs.EnumValuesTraceKind[string(kind)]
		if !ok {
			return named("SetTrace", invalid(at("kinds", index), "%q is no kind of trace", string(kind)))
		}
		body.Kinds = append(body.Kinds, value)
	}
	return o.core.do(ctx, "SetTrace", o.id, fbs.RequestBodySetTrace, body)
}

// SetTrace chooses what is told to OnTrace, until it is called again; nothing at first.
func (p *Producer) SetTrace(ctx context.Context, kinds ...TraceKind) error {
	return p.setTrace(ctx, kinds)
}

// SetTrace chooses what is told to OnTrace, until it is called again; nothing at first.
func (c *Consumer) SetTrace(ctx context.Context, kinds ...TraceKind) error {
	return c.setTrace(ctx, kinds)
}

// LayerChoice is a choice of layers and the numbers that it was made from.
type LayerChoice struct {
	Cause string
	// Preferred layers; nil: all. Target and Current; nil: nothing.
	Preferred, Target, Current *Layers
	// Score of the target's stream, 0 to 10.
	Score uint8
	// Bitrate of the target as received, bit/s; 0 is unknown.
	Bitrate uint32
}

// Decision is one of those that KeepDecisions keeps: packets that were dropped, or layers that were chosen.
type Decision struct {
	// At is when; of the last packet, where there are several.
	At time.Time
	// Object that it is about: a producer, consumer or transport.
	Object ID
	// DropReason says why packets were dropped; empty for a choice of layers.
	DropReason string
	// Count of packets in a row for this reason.
	Count uint32
	// SSRC and SequenceNumber of the last packet dropped; SSRC is 0 if it could not be read.
	SSRC           uint32
	SequenceNumber uint16
	Layers         *LayerChoice
}

func (o *object) keepDecisions(ctx context.Context, rows int) error {
	number, err := within("rows", rows, 1<<31-1)
	if err != nil {
		return named("KeepDecisions", err)
	}
	return o.core.do(ctx, "KeepDecisions", o.id, fbs.RequestBodyKeepDecisions, &fbs.KeepDecisionsT{Rows: uint32(number)})
}

func (o *object) decisions(ctx context.Context) ([]Decision, error) {
	reply, err := call[*fbs.DecisionsT](ctx, o.core, "Decisions", o.id, fbs.RequestBodyGetDecisions, &fbs.GetDecisionsT{})
	if err != nil {
		return nil, err
	}
	out := make([]Decision, len(reply.Rows))
	for at, row := range reply.Rows {
		out[at] = Decision{
			At: time.Unix(0, int64(row.AtUnixNs)), Object: ID(row.Object), DropReason: row.DropReason, Count: row.Count,
			SSRC: row.Ssrc, SequenceNumber: row.Sequence,
		}
		if layers := row.Layers; layers != nil {
			out[at].Layers = &LayerChoice{
				Cause: layers.Cause, Preferred: layersFrom(layers.Preferred), Target: layersFrom(layers.Target),
				Current: layersFrom(layers.Current), Score: layers.Score, Bitrate: layers.Bitrate,
			}
		}
	}
	return out, nil
}

// KeepDecisions keeps the latest decisions about the transport's media, at most so many (1024); 0 is off. What was kept
// before is forgotten.
func (t transport) KeepDecisions(ctx context.Context, rows int) error {
	return t.keepDecisions(ctx, rows)
}

// Decisions are those that were kept, the oldest first.
func (t transport) Decisions(ctx context.Context) ([]Decision, error) { return t.decisions(ctx) }

// KeepDecisions keeps the latest decisions about the consumer's media, at most so many (1024); 0 is off. What was kept
// before is forgotten.
func (c *Consumer) KeepDecisions(ctx context.Context, rows int) error {
	return c.keepDecisions(ctx, rows)
}

// Decisions are those that were kept, the oldest first.
func (c *Consumer) Decisions(ctx context.Context) ([]Decision, error) { return c.decisions(ctx) }

// TapFormat of a file.
type TapFormat string

// The formats; empty is pcapng.
const (
	PCAPNG  TapFormat = "pcapng"
	RTPDump TapFormat = "rtpdump"
)

// TapOptions of a tap.
type TapOptions struct {
	// Name of the file in Options.TapDirectory: letters, digits, dash, underscore and dot, not at the start; at most 128.
	// It must not exist.
	Name   string
	Format TapFormat
	// MaxBytes of the file, 4096 to 2^34; 0 is 16 MiB.
	MaxBytes uint64
	// MaxDuration, at most a day; 0 is a minute.
	MaxDuration time.Duration
	// HeadersOnly leaves payloads out.
	HeadersOnly bool
}

// StartTap writes copies of the transport's RTP and RTCP, decrypted, both ways, to a new file; one at a time for each
// transport. OnTapClosed tells the end. Without Options.TapDirectory it is refused.
func (t transport) StartTap(ctx context.Context, options TapOptions) error {
	body := &fbs.StartTapT{
		Name: options.Name, MaxBytes: options.MaxBytes, MaxDurationMs: milliseconds(options.MaxDuration),
		HeadersOnly: options.HeadersOnly,
	}
	if options.Format != "" {
		value, ok := fbs.EnumValuesTapFormat[string(options.Format)]
		if !ok {
			return named("StartTap", invalid("format", "%q; give pcapng or rtpdump", string(options.Format)))
		}
		body.Format = value
	}
	if body.MaxBytes == 0 {
		body.MaxBytes = 16 << 20
	}
	if options.MaxDuration == 0 {
		body.MaxDurationMs = 60_000
	}
	return t.core.do(ctx, "StartTap", t.id, fbs.RequestBodyStartTap, body)
}

// StopTap ends the tap; where there is none it is no error.
func (t transport) StopTap(ctx context.Context) error {
	return t.core.do(ctx, "StopTap", t.id, fbs.RequestBodyStopTap, &fbs.StopTapT{})
}

// OnTapClosed sets a handler that is told when the tap has ended; nil takes it away.
func (t transport) OnTapClosed(handler func(TapClosed)) { on(t.object, handler == nil, handler) }

// String tells where a packet was dropped, or which layers were chosen.
func (d Decision) String() string {
	if d.Layers != nil {
		return fmt.Sprintf("%s: layers by %s", d.Object, d.Layers.Cause)
	}
	return fmt.Sprintf("%s: %d dropped by %s", d.Object, d.Count, d.DropReason)
}
