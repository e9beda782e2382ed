package sfu

import (
	"context"
	"time"

	"libsfu.example/go/internal/fbs"
)

// The objects that a stand's calls are made on; the engine behind them is the stand.

func (s *stand) object() *object {
	made := newObject(s.core)
	made.id = 50
	return made
}

func (s *stand) engine() *Engine          { return &Engine{s.core} }
func (s *stand) router() *Router          { return &Router{object: s.object()} }
func (s *stand) server() *WebRTCServer    { return &WebRTCServer{s.object()} }
func (s *stand) transport() transport     { return transport{s.object()} }
func (s *stand) webRTC() *WebRTCTransport { return &WebRTCTransport{transport: s.transport()} }
func (s *stand) plain() *PlainTransport   { return &PlainTransport{transport: s.transport()} }
func (s *stand) pipe() *PipeTransport     { return &PipeTransport{transport: s.transport()} }
func (s *stand) direct() *DirectTransport { return &DirectTransport{s.transport()} }
func (s *stand) producer() *Producer      { return &Producer{pausable: pausable{s.object()}} }
func (s *stand) consumer() *Consumer      { return &Consumer{pausable: pausable{s.object()}} }
func (s *stand) observer() observer       { return observer{pausable{s.object()}} }

// of is what a call tells, as a list of whatever.
func of[T any](made T, err error, look func(T) []any) (any, error) {
	if err != nil {
		return nil, err
	}
	return look(made), nil
}

// asked is a call of a method that only asks.
func asked[T any](method func(*stand, context.Context) (T, error)) func(context.Context, *stand, int) (any, error) {
	return func(ctx context.Context, s *stand, _ int) (any, error) { return method(s, ctx) }
}

// done is a call of a method that tells nothing.
func done(method func(*stand, context.Context, int) error) func(context.Context, *stand, int) (any, error) {
	return func(ctx context.Context, s *stand, seed int) (any, error) { return nil, method(s, ctx, seed) }
}

var exchanges = []exchange{
	// What the engine makes.
	{"CreateRouter", &fbs.CreatedT{}, func(ctx context.Context, s *stand, seed int) (any, error) {
		made, err := s.engine().CreateRouter(ctx, options[RouterOptions](seed))
		return of(made, err, func(r *Router) []any { return []any{r.ID(), r.RTPCapabilities()} })
	}},
	{"CreateWebRTCServer", &fbs.CreatedT{}, func(ctx context.Context, s *stand, seed int) (any, error) {
		made, err := s.engine().CreateWebRTCServer(ctx, options[WebRTCServerOptions](seed))
		return of(made, err, func(w *WebRTCServer) []any { return []any{w.ID()} })
	}},
	{"Engine.SupportedCapabilities", &fbs.RouterCapabilitiesT{}, asked(func(s *stand, ctx context.Context) (RTPCapabilities, error) {
		return s.engine().SupportedCapabilities(ctx)
	})},
	{"Engine.Drain", &fbs.DrainingT{}, asked(func(s *stand, ctx context.Context) (Left, error) { return s.engine().Drain(ctx) })},
	{"Engine.Dump", &fbs.EngineDumpT{}, asked(func(s *stand, ctx context.Context) (*EngineDump, error) { return s.engine().Dump(ctx) })},
	{"Engine.Stats", &fbs.StatsReportT{}, func(ctx context.Context, s *stand, seed int) (any, error) {
		if seed == 1 {
			return s.engine().Summary(ctx)
		}
		return s.engine().Stats(ctx)
	}},
	{"ParseSDPFragment", &fbs.SdpFragmentParsedT{}, func(ctx context.Context, s *stand, seed int) (any, error) {
		return s.engine().ParseSDPFragment(ctx, options[string](seed))
	}},

	// What a router makes and tells.
	{"CreateWebRTCTransport", &fbs.WebRtcTransportCreatedT{}, func(ctx context.Context, s *stand, seed int) (any, error) {
		made, err := s.router().CreateWebRTCTransport(ctx, options[WebRTCTransportOptions](seed))
		return of(made, err, func(t *WebRTCTransport) []any {
			return []any{t.ID(), t.ICEParameters(), t.ICECandidates(), t.DTLSParameters()}
		})
	}},
	{"CreatePlainTransport", &fbs.PlainTransportCreatedT{}, func(ctx context.Context, s *stand, seed int) (any, error) {
		made, err := s.router().CreatePlainTransport(ctx, options[PlainTransportOptions](seed))
		return of(made, err, func(t *PlainTransport) []any { return []any{t.ID(), t.Local()} })
	}},
	{"CreatePipeTransport", &fbs.PipeTransportCreatedT{}, func(ctx context.Context, s *stand, seed int) (any, error) {
		made, err := s.router().CreatePipeTransport(ctx, options[PipeTransportOptions](seed))
		return of(made, err, func(t *PipeTransport) []any { return []any{t.ID(), t.Local()} })
	}},
	{"CreateDirectTransport", &fbs.CreatedT{}, func(ctx context.Context, s *stand, seed int) (any, error) {
		made, err := s.router().CreateDirectTransport(ctx, options[DirectTransportOptions](seed))
		return of(made, err, func(t *DirectTransport) []any { return []any{t.ID()} })
	}},
	{"CreateAudioLevelObserver", &fbs.CreatedT{}, func(ctx context.Context, s *stand, seed int) (any, error) {
		made, err := s.router().CreateAudioLevelObserver(ctx, options[AudioLevelOptions](seed))
		return of(made, err, func(o *AudioLevelObserver) []any { return []any{o.ID()} })
	}},
	{"CreateActiveSpeakerObserver", &fbs.CreatedT{}, func(ctx context.Context, s *stand, seed int) (any, error) {
		made, err := s.router().CreateActiveSpeakerObserver(ctx, options[time.Duration](seed))
		return of(made, err, func(o *ActiveSpeakerObserver) []any { return []any{o.ID()} })
	}},
	{"Router.Capabilities", &fbs.RouterCapabilitiesT{}, asked(func(s *stand, ctx context.Context) (RTPCapabilities, error) {
		return s.router().Capabilities(ctx)
	})},
	{"UpdateMediaCodecs", &fbs.RouterCapabilitiesT{}, func(ctx context.Context, s *stand, seed int) (any, error) {
		return s.router().UpdateMediaCodecs(ctx, options[[]RTPCodecCapability](seed))
	}},
	{"CanConsume", &fbs.CanConsumeResultT{}, func(ctx context.Context, s *stand, seed int) (any, error) {
		return s.router().CanConsume(ctx, options[ID](seed), options[RTPCapabilities](seed))
	}},
	{"ParseSDP", &fbs.SdpParsedT{}, func(ctx context.Context, s *stand, seed int) (any, error) {
		return s.router().ParseSDP(ctx, options[string](seed), options[[]string](seed)...)
	}},
	{"Router.Dump", &fbs.RouterDumpT{}, asked(func(s *stand, ctx context.Context) (*RouterDump, error) { return s.router().Dump(ctx) })},
	{"WebRTCServer.Dump", &fbs.WebRtcServerDumpT{}, asked(func(s *stand, ctx context.Context) (*WebRTCServerDump, error) {
		return s.server().Dump(ctx)
	})},

	// Any object.
	{"Close", nil, done(func(s *stand, ctx context.Context, _ int) error { return s.object().Close(ctx) })},
	{"Stats", &fbs.StatsReportT{}, func(ctx context.Context, s *stand, seed int) (any, error) {
		if seed == 1 {
			return s.object().Summary(ctx)
		}
		return s.object().Stats(ctx)
	}},
	{"Pause", nil, done(func(s *stand, ctx context.Context, _ int) error { return s.producer().Pause(ctx) })},
	{"Resume", nil, done(func(s *stand, ctx context.Context, _ int) error { return s.producer().Resume(ctx) })},

	// Transports.
	{"Produce", &fbs.ProducerCreatedT{}, func(ctx context.Context, s *stand, seed int) (any, error) {
		made, err := s.transport().Produce(ctx, options[ProducerOptions](seed))
		return of(made, err, func(p *Producer) []any { return []any{p.ID(), p.Type()} })
	}},
	{"Consume", &fbs.ConsumerCreatedT{}, func(ctx context.Context, s *stand, seed int) (any, error) {
		made, err := s.transport().Consume(ctx, options[ConsumerOptions](seed))
		return of(made, err, func(c *Consumer) []any {
			return []any{c.ID(), c.Kind(), c.Type(), c.RTPParameters(), c.ProducerPaused()}
		})
	}},
	{"SetMaxIncomingBitrate", nil, done(func(s *stand, ctx context.Context, seed int) error {
		return s.transport().SetMaxIncomingBitrate(ctx, options[uint32](seed))
	})},
	{"StartTap", nil, done(func(s *stand, ctx context.Context, seed int) error {
		return s.transport().StartTap(ctx, options[TapOptions](seed))
	})},
	{"StopTap", nil, done(func(s *stand, ctx context.Context, _ int) error { return s.transport().StopTap(ctx) })},
	{"Transport.KeepDecisions", nil, done(func(s *stand, ctx context.Context, seed int) error {
		return s.transport().KeepDecisions(ctx, options[int](seed))
	})},
	{"WebRTCTransport.Connect", &fbs.ConnectedT{}, func(ctx context.Context, s *stand, seed int) (any, error) {
		return s.webRTC().Connect(ctx, options[DTLSParameters](seed))
	}},
	{"RestartICE", &fbs.IceRestartedT{}, asked(func(s *stand, ctx context.Context) (ICEParameters, error) {
		return s.webRTC().RestartICE(ctx)
	})},
	{"CreateSDPAnswer", &fbs.SdpTextT{}, func(ctx context.Context, s *stand, seed int) (any, error) {
		return s.webRTC().CreateSDPAnswer(ctx, options[string](seed), options[[]SDPAnswerSection](seed), options[uint32](seed))
	}},
	{"CreateSDPOffer", &fbs.SdpTextT{}, func(ctx context.Context, s *stand, seed int) (any, error) {
		return s.webRTC().CreateSDPOffer(ctx, options[[]ID](seed), options[uint32](seed))
	}},
	{"CreateSDPFragment", &fbs.SdpTextT{}, func(ctx context.Context, s *stand, seed int) (any, error) {
		return s.webRTC().CreateSDPFragment(ctx, options[string](seed))
	}},
	{"PlainTransport.Connect", nil, done(func(s *stand, ctx context.Context, seed int) error {
		return s.plain().Connect(ctx, options[PlainRemote](seed))
	})},
	{"PipeTransport.Connect", nil, done(func(s *stand, ctx context.Context, seed int) error {
		return s.pipe().Connect(ctx, options[string](seed), options[uint16](seed), options[*SRTPParameters](seed))
	})},
	{"WebRTCTransport.Dump", &fbs.WebRtcTransportDumpT{}, asked(func(s *stand, ctx context.Context) (*WebRTCTransportDump, error) {
		return s.webRTC().Dump(ctx)
	})},
	{"PlainTransport.Dump", &fbs.PlainTransportDumpT{}, asked(func(s *stand, ctx context.Context) (*PlainTransportDump, error) {
		return s.plain().Dump(ctx)
	})},
	{"PipeTransport.Dump", &fbs.PipeTransportDumpT{}, asked(func(s *stand, ctx context.Context) (*PipeTransportDump, error) {
		return s.pipe().Dump(ctx)
	})},
	{"DirectTransport.Dump", &fbs.DirectTransportDumpT{}, asked(func(s *stand, ctx context.Context) (*TransportDump, error) {
		return s.direct().Dump(ctx)
	})},

	// Producers, consumers and observers.
	{"Producer.SetTrace", nil, done(func(s *stand, ctx context.Context, seed int) error {
		return s.producer().SetTrace(ctx, []TraceKind{TraceRTP, TraceSR}[seed])
	})},
	{"Producer.Dump", &fbs.ProducerDumpT{}, asked(func(s *stand, ctx context.Context) (*ProducerDump, error) {
		return s.producer().Dump(ctx)
	})},
	{"RequestKeyFrame", nil, done(func(s *stand, ctx context.Context, _ int) error { return s.consumer().RequestKeyFrame(ctx) })},
	{"SetPreferredLayers", nil, done(func(s *stand, ctx context.Context, seed int) error {
		return s.consumer().SetPreferredLayers(ctx, options[*Layers](seed))
	})},
	{"SetPriority", nil, done(func(s *stand, ctx context.Context, seed int) error {
		return s.consumer().SetPriority(ctx, options[uint8](seed))
	})},
	{"SwitchProducer", &fbs.ProducerSwitchedT{}, func(ctx context.Context, s *stand, seed int) (any, error) {
		return s.consumer().SwitchProducer(ctx, options[ID](seed))
	}},
	{"Consumer.SetTrace", nil, done(func(s *stand, ctx context.Context, seed int) error {
		return s.consumer().SetTrace(ctx, []TraceKind{TraceRTP, TracePLI}[seed])
	})},
	{"Consumer.KeepDecisions", nil, done(func(s *stand, ctx context.Context, seed int) error {
		return s.consumer().KeepDecisions(ctx, options[int](seed))
	})},
	{"Consumer.Decisions", &fbs.DecisionsT{}, asked(func(s *stand, ctx context.Context) ([]Decision, error) {
		return s.consumer().Decisions(ctx)
	})},
	{"Consumer.Dump", &fbs.ConsumerDumpT{}, asked(func(s *stand, ctx context.Context) (*ConsumerDump, error) {
		return s.consumer().Dump(ctx)
	})},
	{"Observe", nil, done(func(s *stand, ctx context.Context, seed int) error {
		return s.observer().Observe(ctx, options[ID](seed))
	})},
	{"Unobserve", nil, done(func(s *stand, ctx context.Context, seed int) error {
		return s.observer().Unobserve(ctx, options[ID](seed))
	})},
	{"Observer.Dump", &fbs.ObserverDumpT{}, asked(func(s *stand, ctx context.Context) (*ObserverDump, error) {
		return s.observer().Dump(ctx)
	})},
}
