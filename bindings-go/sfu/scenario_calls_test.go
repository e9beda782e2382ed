package sfu

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"time"

	"libsfu.example/go/internal/fbs"
)

// arguments of a scenario's call, by the schema's names in lowerCamelCase.
type arguments map[string]any

// pick takes one out and reads it; absent ones leave `into` alone.
func (a arguments) pick(name string, into any) error {
	value, given := a[name]
	if !given {
		return nil
	}
	delete(a, name)
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// rest reads all others; one that the call does not know is an error.
func (a arguments) rest(into any) error {
	text, err := json.Marshal(map[string]any(a))
	if err != nil {
		return err
	}
	read := json.NewDecoder(bytes.NewReader(text))
	read.DisallowUnknownFields()
	return read.Decode(into)
}

// made is an object of this package that a call has made; nil if it makes none.
type made any

// scenarioCall does a command by the call that programs use. `on` is the object, or nil for the engine. An error of the
// runner is told apart from one of the call.
func scenarioCall(ctx context.Context, engine *Engine, name string, on any, a arguments) (made, error, error) {
	calls := []func(context.Context, *Engine, string, any, arguments) (made, error, error){
		callOfEngine, callOfRouter, callOfTransport, callOfTransportKind, callOfMedia, callOfAny,
	}
	for _, call := range calls {
		object, err, wrong := call(ctx, engine, name, on, a)
		if wrong != errNotMine {
			return object, err, wrong
		}
	}
	return nil, nil, fmt.Errorf("Go has no call for %s on %T", name, on)
}

var errNotMine = fmt.Errorf("not mine")

func callOfEngine(ctx context.Context, engine *Engine, name string, on any, a arguments) (made, error, error) {
	if on != nil {
		return nil, nil, errNotMine
	}
	var err error
	switch name {
	case "CreateRouter":
		var options RouterOptions
		if wrong := a.rest(&options); wrong != nil {
			return nil, nil, wrong
		}
		object, err := engine.CreateRouter(ctx, options)
		return object, err, nil
	case "CreateWebRtcServer":
		var options WebRTCServerOptions
		if wrong := a.rest(&options); wrong != nil {
			return nil, nil, wrong
		}
		object, err := engine.CreateWebRTCServer(ctx, options)
		return object, err, nil
	case "GetSupportedCapabilities":
		_, err = engine.SupportedCapabilities(ctx)
	case "ParseSdpFragment":
		var fragment string
		if wrong := a.pick("fragment", &fragment); wrong != nil {
			return nil, nil, wrong
		}
		_, err = engine.ParseSDPFragment(ctx, fragment)
	case "Drain":
		_, err = engine.Drain(ctx)
	case "GetDump":
		_, err = engine.Dump(ctx)
	case "GetStats":
		_, err = engine.Stats(ctx)
	default:
		return nil, nil, errNotMine
	}
	return nil, err, a.rest(&struct{}{})
}

func callOfRouter(ctx context.Context, _ *Engine, name string, on any, a arguments) (made, error, error) {
	router, is := on.(*Router)
	if !is {
		return nil, nil, errNotMine
	}
	switch name {
	case "CreateWebRtcTransport", "CreatePlainTransport", "CreatePipeTransport", "CreateDirectTransport",
		"CreateAudioLevelObserver", "CreateActiveSpeakerObserver":
		return createOn(ctx, router, name, a)
	case "CanConsume":
		var options struct {
			Producer        ID
			RTPCapabilities RTPCapabilities
		}
		if wrong := a.rest(&options); wrong != nil {
			return nil, nil, wrong
		}
		_, err := router.CanConsume(ctx, options.Producer, options.RTPCapabilities)
		return nil, err, nil
	case "GetRouterCapabilities":
		_, err := router.Capabilities(ctx)
		return nil, err, a.rest(&struct{}{})
	case "UpdateMediaCodecs":
		var codecs []RTPCodecCapability
		if wrong := a.pick("mediaCodecs", &codecs); wrong != nil {
			return nil, nil, wrong
		}
		_, err := router.UpdateMediaCodecs(ctx, codecs)
		return nil, err, a.rest(&struct{}{})
	case "ParseSdp":
		var options struct {
			SDP             string
			PreferredCodecs []string
		}
		if wrong := a.rest(&options); wrong != nil {
			return nil, nil, wrong
		}
		_, err := router.ParseSDP(ctx, options.SDP, options.PreferredCodecs...)
		return nil, err, nil
	}
	return nil, nil, errNotMine
}

// number takes an integer out.
func (a arguments) number(name string) (value int64, given bool, wrong error) {
	_, given = a[name]
	return value, given, a.pick(name, &value)
}

func createOn(ctx context.Context, router *Router, name string, a arguments) (made, error, error) {
	switch name {
	case "CreateWebRtcTransport":
		var options WebRTCTransportOptions
		var server ID
		if wrong := a.pick("webrtcServer", &server); wrong != nil {
			return nil, nil, wrong
		}
		if server != 0 {
			options.Server = &WebRTCServer{&object{core: router.core, id: server}}
		}
		timeout, given, wrong := a.number("iceConsentTimeoutMs")
		if given && timeout == 0 {
			timeout = -1
		}
		options.ICEConsentTimeout = time.Duration(timeout) * time.Millisecond
		if wrong == nil {
			wrong = a.rest(&options)
		}
		if wrong != nil {
			return nil, nil, wrong
		}
		object, err := router.CreateWebRTCTransport(ctx, options)
		return object, err, nil
	case "CreatePlainTransport":
		var options PlainTransportOptions
		mux, encrypted := true, false
		for name, into := range map[string]*bool{"rtcpMux": &mux, "enableSrtp": &encrypted} {
			if wrong := a.pick(name, into); wrong != nil {
				return nil, nil, wrong
			}
		}
		options.NoRTCPMux = !mux
		if wrong := a.rest(&options); wrong != nil {
			return nil, nil, wrong
		}
		if encrypted && options.SRTPCryptoSuite == "" {
			options.SRTPCryptoSuite = AESCM128HMACSHA1_80
		}
		object, err := router.CreatePlainTransport(ctx, options)
		return object, err, nil
	case "CreatePipeTransport":
		var options PipeTransportOptions
		if wrong := a.rest(&options); wrong != nil {
			return nil, nil, wrong
		}
		object, err := router.CreatePipeTransport(ctx, options)
		return object, err, nil
	case "CreateDirectTransport":
		bitrate, _, wrong := a.number("maxIncomingBitrate")
		if wrong == nil {
			wrong = a.rest(&struct{}{})
		}
		if wrong != nil {
			return nil, nil, wrong
		}
		object, err := router.CreateDirectTransport(ctx, DirectTransportOptions{MaxIncomingBitrate: uint32(bitrate)})
		return object, err, nil
	}
	interval, _, wrong := a.number("intervalMs")
	if wrong != nil {
		return nil, nil, wrong
	}
	every := time.Duration(interval) * time.Millisecond
	if name == "CreateActiveSpeakerObserver" {
		object, err := router.CreateActiveSpeakerObserver(ctx, every)
		return object, err, a.rest(&struct{}{})
	}
	options := AudioLevelOptions{}
	if wrong := a.rest(&options); wrong != nil {
		return nil, nil, wrong
	}
	options.Interval = every
	object, err := router.CreateAudioLevelObserver(ctx, options)
	return object, err, nil
}

// transportOf is what all transports have in common.
func transportOf(on any) (transport, bool) {
	switch t := on.(type) {
	case *WebRTCTransport:
		return t.transport, true
	case *PlainTransport:
		return t.transport, true
	case *PipeTransport:
		return t.transport, true
	case *DirectTransport:
		return t.transport, true
	}
	return transport{}, false
}

func callOfTransport(ctx context.Context, _ *Engine, name string, on any, a arguments) (made, error, error) {
	transport, is := transportOf(on)
	if !is {
		return nil, nil, errNotMine
	}
	switch name {
	case "Produce":
		options := ProducerOptions{}
		delay, _, wrong := a.number("keyFrameRequestDelayMs")
		cache := true
		if wrong == nil {
			wrong = a.pick("keyFrameCache", &cache)
		}
		if wrong == nil {
			wrong = a.rest(&options)
		}
		if wrong != nil {
			return nil, nil, wrong
		}
		options.KeyFrameRequestDelay, options.NoKeyFrameCache = time.Duration(delay)*time.Millisecond, !cache
		object, err := transport.Produce(ctx, options)
		return object, err, nil
	case "Consume":
		options := ConsumerOptions{}
		layers, wrong := a.layers("preferredLayers")
		if wrong == nil {
			wrong = a.rest(&options)
		}
		if wrong != nil {
			return nil, nil, wrong
		}
		options.PreferredLayers = layers
		object, err := transport.Consume(ctx, options)
		return object, err, nil
	case "SetMaxIncomingBitrate":
		bitrate, _, wrong := a.number("bitrate")
		if wrong != nil {
			return nil, nil, wrong
		}
		return nil, transport.SetMaxIncomingBitrate(ctx, uint32(bitrate)), nil
	case "StartTap":
		duration, _, wrong := a.number("maxDurationMs")
		options := TapOptions{}
		if wrong == nil {
			wrong = a.rest(&options)
		}
		if wrong != nil {
			return nil, nil, wrong
		}
		options.MaxDuration = time.Duration(duration) * time.Millisecond
		return nil, transport.StartTap(ctx, options), nil
	case "StopTap":
		return nil, transport.StopTap(ctx), nil
	}
	return nil, nil, errNotMine
}

// layers takes layers out, by the schema's names.
func (a arguments) layers(name string) (*Layers, error) {
	var read *struct {
		Spatial  uint8
		Temporal *uint8
	}
	if wrong := a.pick(name, &read); wrong != nil || read == nil {
		return nil, wrong
	}
	return &Layers{Spatial: read.Spatial, Temporal: read.Temporal}, nil
}

func callOfTransportKind(ctx context.Context, _ *Engine, name string, on any, a arguments) (made, error, error) {
	var err error
	switch t := on.(type) {
	case *WebRTCTransport:
		switch name {
		case "ConnectWebRtcTransport":
			var remote DTLSParameters
			if wrong := a.pick("dtlsParameters", &remote); wrong != nil {
				return nil, nil, wrong
			}
			_, err = t.Connect(ctx, remote)
		case "RestartIce":
			_, err = t.RestartICE(ctx)
		case "CreateSdpAnswer", "CreateSdpOffer", "CreateSdpFragment":
			return callOfSDP(ctx, name, t, a)
		default:
			return nil, nil, errNotMine
		}
	case *PlainTransport:
		if name != "ConnectPlainTransport" {
			return nil, nil, errNotMine
		}
		var remote PlainRemote
		if wrong := a.rest(&remote); wrong != nil {
			return nil, nil, wrong
		}
		return nil, t.Connect(ctx, remote), nil
	case *PipeTransport:
		if name != "ConnectPipeTransport" {
			return nil, nil, errNotMine
		}
		var remote PlainRemote
		if wrong := a.rest(&remote); wrong != nil || remote.Port == nil {
			return nil, nil, fmt.Errorf("%v %+v", wrong, remote)
		}
		return nil, t.Connect(ctx, remote.IP, *remote.Port, remote.SRTPParameters), nil
	default:
		return nil, nil, errNotMine
	}
	return nil, err, a.rest(&struct{}{})
}

func callOfSDP(ctx context.Context, name string, t *WebRTCTransport, a arguments) (made, error, error) {
	options := struct {
		Offer, MID     string
		Sections       []SDPAnswerSection
		Consumers      []ID
		SessionVersion uint32
	}{SessionVersion: 1}
	if wrong := a.rest(&options); wrong != nil {
		return nil, nil, wrong
	}
	var err error
	switch name {
	case "CreateSdpAnswer":
		_, err = t.CreateSDPAnswer(ctx, options.Offer, options.Sections, options.SessionVersion)
	case "CreateSdpOffer":
		_, err = t.CreateSDPOffer(ctx, options.Consumers, options.SessionVersion)
	default:
		_, err = t.CreateSDPFragment(ctx, options.MID)
	}
	return nil, err, nil
}

func callOfMedia(ctx context.Context, _ *Engine, name string, on any, a arguments) (made, error, error) {
	consumer, _ := on.(*Consumer)
	var producer ID
	switch name {
	case "Observe", "Unobserve", "SwitchProducer":
		if wrong := a.pick("producer", &producer); wrong != nil {
			return nil, nil, wrong
		}
	}
	var err error
	switch {
	case name == "Observe" || name == "Unobserve":
		seen, is := observerOf(on)
		if !is {
			return nil, nil, errNotMine
		}
		if name == "Observe" {
			err = seen.Observe(ctx, producer)
		} else {
			err = seen.Unobserve(ctx, producer)
		}
	case name == "SetTrace":
		tracer, is := on.(interface {
			SetTrace(context.Context, ...TraceKind) error
		})
		var kinds []TraceKind
		if wrong := a.pick("kinds", &kinds); wrong != nil || !is {
			return nil, nil, fmt.Errorf("no kinds, or no SetTrace of %T: %v", on, wrong)
		}
		err = tracer.SetTrace(ctx, kinds...)
	case consumer == nil:
		return nil, nil, errNotMine
	case name == "RequestKeyFrame":
		err = consumer.RequestKeyFrame(ctx)
	case name == "SwitchProducer":
		_, err = consumer.SwitchProducer(ctx, producer)
	case name == "SetPreferredLayers":
		layers, wrong := a.layers("layers")
		if wrong != nil {
			return nil, nil, wrong
		}
		err = consumer.SetPreferredLayers(ctx, layers)
	case name == "SetPriority":
		priority, _, wrong := a.number("priority")
		if wrong != nil {
			return nil, nil, wrong
		}
		err = consumer.SetPriority(ctx, uint8(priority))
	default:
		return nil, nil, errNotMine
	}
	return nil, err, a.rest(&struct{}{})
}

func observerOf(on any) (observer, bool) {
	switch o := on.(type) {
	case *AudioLevelObserver:
		return o.observer, true
	case *ActiveSpeakerObserver:
		return o.observer, true
	}
	return observer{}, false
}

func callOfAny(ctx context.Context, _ *Engine, name string, on any, a arguments) (made, error, error) {
	var err error
	switch name {
	case "Pause", "Resume":
		one, is := on.(interface {
			Pause(context.Context) error
			Resume(context.Context) error
		})
		if !is {
			return nil, nil, errNotMine
		}
		if name == "Pause" {
			err = one.Pause(ctx)
		} else {
			err = one.Resume(ctx)
		}
	case "Close":
		// Close of this package takes what is closed for no error, which its own tests show; the engine says more.
		base, is := baseOf(on)
		if !is {
			return nil, nil, errNotMine
		}
		if err = base.core.do(ctx, "Close", base.id, fbs.RequestBodyClose, &fbs.CloseT{}); err == nil {
			err = on.(interface{ Close(context.Context) error }).Close(ctx)
		}
	case "GetStats":
		one, is := on.(interface {
			Stats(context.Context) (*Stats, error)
			Summary(context.Context) (*Stats, error)
		})
		summary := false
		if wrong := a.pick("summary", &summary); wrong != nil || !is {
			return nil, nil, fmt.Errorf("no Stats of %T: %v", on, wrong)
		}
		if summary {
			_, err = one.Summary(ctx)
		} else {
			_, err = one.Stats(ctx)
		}
	case "GetDump":
		err = dumpOf(ctx, on)
	case "KeepDecisions", "GetDecisions":
		one, is := on.(interface {
			KeepDecisions(context.Context, int) error
			Decisions(context.Context) ([]Decision, error)
		})
		rows, _, wrong := a.number("rows")
		if wrong != nil || !is {
			return nil, nil, fmt.Errorf("no decisions of %T: %v", on, wrong)
		}
		if name == "KeepDecisions" {
			err = one.KeepDecisions(ctx, int(rows))
		} else {
			_, err = one.Decisions(ctx)
		}
	default:
		return nil, nil, errNotMine
	}
	if err == errNotMine {
		return nil, nil, errNotMine
	}
	return nil, err, a.rest(&struct{}{})
}

func dumpOf(ctx context.Context, on any) (err error) {
	switch one := on.(type) {
	case *Router:
		_, err = one.Dump(ctx)
	case *WebRTCServer:
		_, err = one.Dump(ctx)
	case *WebRTCTransport:
		_, err = one.Dump(ctx)
	case *PlainTransport:
		_, err = one.Dump(ctx)
	case *PipeTransport:
		_, err = one.Dump(ctx)
	case *DirectTransport:
		_, err = one.Dump(ctx)
	case *Producer:
		_, err = one.Dump(ctx)
	case *Consumer:
		_, err = one.Dump(ctx)
	case *AudioLevelObserver:
		_, err = one.Dump(ctx)
	case *ActiveSpeakerObserver:
		_, err = one.Dump(ctx)
	default:
		err = errNotMine
	}
	return err
}

// baseOf is what all objects have in common.
func baseOf(on any) (*object, bool) {
	if transport, is := transportOf(on); is {
		return transport.object, true
	}
	if observer, is := observerOf(on); is {
		return observer.object, true
	}
	switch one := on.(type) {
	case *Router:
		return one.object, true
	case *WebRTCServer:
		return one.object, true
	case *Producer:
		return one.object, true
	case *Consumer:
		return one.object, true
	}
	return nil, false
}
