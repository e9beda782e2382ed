package sfu

import (
	"encoding/base64"
	"sync"
	"testing"
	"time"

	"libsfu.example/go/internal/fbs"
)

// TestEveryCommandHasItsCall calls all there is, and fails for a request of the schema that no call has sent with success,
// and for a reply that none has got.
func TestEveryCommandHasItsCall(t *testing.T) {
	engine := start(t, Options{TapDirectory: t.TempDir()})
	var mu sync.Mutex
	asked, answered := map[fbs.RequestBody]bool{}, map[fbs.ReplyBody]bool{}
	engine.observe = func(request fbs.RequestBody, reply *fbs.ReplyBodyT) {
		mu.Lock()
		asked[request], answered[reply.Type] = true, true
		mu.Unlock()
	}
	router := callEngine(t, engine)
	webrtc := callWebRTC(t, engine, router)
	callPlainAndPipe(t, router)
	callProducerAndConsumer(t, router, webrtc)
	callObservers(t, router, webrtc)
	check(t, webrtc.Close(bounded(t)))
	must[Left](t)(engine.Drain(bounded(t)))

	for body, name := range fbs.EnumNamesRequestBody {
		if body != fbs.RequestBodyNONE && !asked[body] {
			t.Errorf("no call sends %s", name)
		}
	}
	for body, name := range fbs.EnumNamesReplyBody {
		// A shard has no id; its dump comes within the engine's.
		if body != fbs.ReplyBodyNONE && body != fbs.ReplyBodyShardDump && !answered[body] {
			t.Errorf("no call reads %s", name)
		}
	}
}

func callEngine(t *testing.T, engine *Engine) *Router {
	ctx := bounded(t)
	if supported := must[RTPCapabilities](t)(engine.SupportedCapabilities(ctx)); len(supported.Codecs) < 3 {
		t.Errorf("few codecs: %v", supported)
	}
	if dump := must[*EngineDump](t)(engine.Dump(ctx)); len(dump.Shards) != 1 || dump.Version != Version() {
		t.Errorf("%+v", dump)
	}
	if stats := must[*Stats](t)(engine.Stats(ctx)); len(stats.Shards) != 1 || time.Since(stats.At).Abs() > time.Hour {
		t.Errorf("%+v", stats)
	}
	fragment := must[*SDPFragment](t)(engine.ParseSDPFragment(ctx, "a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n"))
	if fragment.ICEParameters == nil || fragment.ICEParameters.UsernameFragment != "abcd" {
		t.Errorf("%+v", fragment)
	}
	router := testRouter(t, engine)
	if loaded := must[RTPCapabilities](t)(router.Capabilities(ctx)); len(loaded.Codecs) != len(router.RTPCapabilities().Codecs) {
		t.Errorf("%v, made with %v", loaded, router.RTPCapabilities())
	}
	codecs := append(testCodecs(), RTPCodecCapability{Kind: Video, MimeType: "video/VP9", ClockRate: 90000})
	if loaded := must[RTPCapabilities](t)(router.UpdateMediaCodecs(ctx, codecs)); len(loaded.Codecs) <= 3 {
		t.Errorf("%v", loaded)
	}
	return router
}

func callWebRTC(t *testing.T, engine *Engine, router *Router) *WebRTCTransport {
	ctx := bounded(t)
	server := must[*WebRTCServer](t)(engine.CreateWebRTCServer(ctx, WebRTCServerOptions{ListenInfos: []ListenInfo{loopback()}}))
	transport := must[*WebRTCTransport](t)(router.CreateWebRTCTransport(ctx, WebRTCTransportOptions{
		Server: server, ICEConsentTimeout: -1, MaxIncomingBitrate: 1_000_000,
	}))
	if !transport.ICEParameters().ICELite || len(transport.ICECandidates()) == 0 || len(transport.DTLSParameters().Fingerprints) == 0 {
		t.Errorf("%+v %+v %+v", transport.ICEParameters(), transport.ICECandidates(), transport.DTLSParameters())
	}
	if dump := must[*WebRTCServerDump](t)(server.Dump(ctx)); len(dump.Transports) != 1 || dump.Transports[0] != transport.ID() {
		t.Errorf("%+v", dump)
	}
	parsed := must[*SDP](t)(router.ParseSDP(ctx, testOffer, "audio/opus"))
	if len(parsed.Sections) != 1 || parsed.Sections[0].RTPParameters == nil {
		t.Fatalf("%+v", parsed)
	}
	if role := must[DTLSRole](t)(transport.Connect(ctx, parsed.DTLSParameters)); role != DTLSServer {
		t.Errorf("%s", role)
	}
	producer := must[*Producer](t)(transport.Produce(ctx, ProducerOptions{Kind: Audio, RTPParameters: *parsed.Sections[0].RTPParameters}))
	must[string](t)(transport.CreateSDPAnswer(ctx, testOffer, []SDPAnswerSection{{MID: "0", Producer: producer.ID()}}, 1))
	must[string](t)(transport.CreateSDPFragment(ctx, ""))
	before := transport.ICEParameters()
	if after := must[ICEParameters](t)(transport.RestartICE(ctx)); after.UsernameFragment == before.UsernameFragment {
		t.Error("the same credentials after a restart")
	}
	check(t, transport.SetMaxIncomingBitrate(ctx, 0))
	check(t, transport.KeepDecisions(ctx, 10))
	must[[]Decision](t)(transport.Decisions(ctx))
	closed := make(chan TapClosed, 1)
	transport.OnTapClosed(func(tap TapClosed) { closed <- tap })
	check(t, transport.StartTap(ctx, TapOptions{Name: "call", Format: RTPDump}))
	check(t, transport.StopTap(ctx))
	if tap := receive(t, "the tap's end", closed); tap.Reason != TapStopped {
		t.Errorf("%+v", tap)
	}
	if dump := must[*WebRTCTransportDump](t)(transport.Dump(ctx)); dump.Router != router.ID() || dump.ICEState != ICENew {
		t.Errorf("%+v", dump)
	}
	if stats := must[*Stats](t)(transport.Stats(ctx)); stats.Transport == nil || stats.Transport.DTLSState != DTLSNew && stats.Transport.DTLSState != DTLSConnecting {
		t.Errorf("%+v", stats)
	}
	return transport
}

func callPlainAndPipe(t *testing.T, router *Router) {
	ctx := bounded(t)
	plain := must[*PlainTransport](t)(router.CreatePlainTransport(ctx, PlainTransportOptions{
		ListenInfo: loopback(), NoRTCPMux: true, SRTPCryptoSuite: AEADAES128GCM,
	}))
	local := plain.Local()
	if local.Port == 0 || local.RTCPPort == 0 || local.SRTPParameters == nil || local.SRTPParameters.CryptoSuite != AEADAES128GCM {
		t.Errorf("%+v", local)
	}
	key := SRTPParameters{CryptoSuite: AEADAES128GCM, KeyBase64: base64.StdEncoding.EncodeToString(make([]byte, 28))}
	check(t, plain.Connect(ctx, PlainRemote{
		IP: "127.0.0.1", Port: Ptr[uint16](5004), RTCPPort: Ptr[uint16](5005), SRTPParameters: &key,
	}))
	if dump := must[*PlainTransportDump](t)(plain.Dump(ctx)); dump.RTCPMux || dump.Tuple == nil || dump.Tuple.RemotePort != 5004 {
		t.Errorf("%+v", dump)
	}
	pipe := must[*PipeTransport](t)(router.CreatePipeTransport(ctx, PipeTransportOptions{ListenInfo: loopback(), EnableRTX: true}))
	check(t, pipe.Connect(ctx, "127.0.0.1", 5006, nil))
	if dump := must[*PipeTransportDump](t)(pipe.Dump(ctx)); !dump.RTX || dump.SRTP || dump.Tuple == nil {
		t.Errorf("%+v", dump)
	}
}

func callProducerAndConsumer(t *testing.T, router *Router, webrtc *WebRTCTransport) {
	ctx := bounded(t)
	direct := must[*DirectTransport](t)(router.CreateDirectTransport(ctx, DirectTransportOptions{}))
	first := must[*Producer](t)(direct.Produce(ctx, vp8From(1)))
	second := must[*Producer](t)(direct.Produce(ctx, vp8From(2)))
	if !must[bool](t)(router.CanConsume(ctx, first.ID(), router.RTPCapabilities())) {
		t.Error("a router's own capabilities do not fit")
	}
	consumer := must[*Consumer](t)(webrtc.Consume(ctx, ConsumerOptions{
		Producer: first.ID(), RTPCapabilities: router.RTPCapabilities(), Paused: true, PreferredLayers: &Layers{},
	}))
	if consumer.Kind() != Video || consumer.Type() != Simple || len(consumer.RTPParameters().Codecs) == 0 || consumer.Producer() != first.ID() {
		t.Errorf("%+v", consumer)
	}
	must[string](t)(webrtc.CreateSDPOffer(ctx, []ID{consumer.ID()}, 2))
	for _, pausable := range []pausable{first.pausable, consumer.pausable} {
		check(t, pausable.Pause(ctx))
		check(t, pausable.Resume(ctx))
	}
	check(t, consumer.RequestKeyFrame(ctx))
	check(t, consumer.SetPreferredLayers(ctx, nil))
	check(t, consumer.SetPriority(ctx, 200))
	check(t, consumer.KeepDecisions(ctx, 10))
	must[[]Decision](t)(consumer.Decisions(ctx))
	check(t, consumer.SetTrace(ctx, TraceRTP, TraceNACK))
	check(t, first.SetTrace(ctx, TraceRTP, TraceSR))
	if switched := must[Switched](t)(consumer.SwitchProducer(ctx, second.ID())); switched.Type != Simple {
		t.Errorf("%+v", switched)
	}
	// The switch waits for a key frame.
	if dump := must[*ConsumerDump](t)(consumer.Dump(ctx)); dump.Producer != first.ID() || dump.Priority != 200 || dump.Transport != webrtc.ID() {
		t.Errorf("%+v", dump)
	}
	if dump := must[*ProducerDump](t)(first.Dump(ctx)); len(dump.Consumers) != 1 || dump.Kind != Video || dump.Transport != direct.ID() {
		t.Errorf("%+v", dump)
	}
	if dump := must[*TransportDump](t)(direct.Dump(ctx)); len(dump.Producers) != 2 {
		t.Errorf("%+v", dump)
	}
	if dump := must[*RouterDump](t)(router.Dump(ctx)); len(dump.ConsumersOf[first.ID()]) != 1 || len(dump.Transports) < 4 {
		t.Errorf("%+v", dump)
	}
}

func callObservers(t *testing.T, router *Router, webrtc *WebRTCTransport) {
	ctx := bounded(t)
	producer := must[*Producer](t)(webrtc.Produce(ctx, opusFrom(77)))
	levels := must[*AudioLevelObserver](t)(router.CreateAudioLevelObserver(ctx, AudioLevelOptions{}))
	speaker := must[*ActiveSpeakerObserver](t)(router.CreateActiveSpeakerObserver(ctx, 0))
	for _, observer := range []observer{levels.observer, speaker.observer} {
		check(t, observer.Observe(ctx, producer.ID()))
		check(t, observer.Pause(ctx))
		dump := must[*ObserverDump](t)(observer.Dump(ctx))
		if !dump.Paused || len(dump.Producers) != 1 || dump.Interval == 0 {
			t.Errorf("%+v", dump)
		}
		check(t, observer.Unobserve(ctx, producer.ID()))
	}
}

// TestEveryEventIsTyped fails for an event of the schema that this package does not hand on.
func TestEveryEventIsTyped(t *testing.T) {
	bodies := map[fbs.EventBody]any{
		fbs.EventBodyObjectClosed:            &fbs.ObjectClosedT{},
		fbs.EventBodyIceStateChanged:         &fbs.IceStateChangedT{},
		fbs.EventBodyIceSelectedTupleChanged: &fbs.IceSelectedTupleChangedT{Tuple: &fbs.TransportTupleT{}},
		fbs.EventBodyDtlsStateChanged:        &fbs.DtlsStateChangedT{},
		fbs.EventBodyProducerPaused:          &fbs.ProducerPausedT{},
		fbs.EventBodyProducerResumed:         &fbs.ProducerResumedT{},
		fbs.EventBodyEventsLost:              &fbs.EventsLostT{},
		fbs.EventBodyLayersChanged:           &fbs.LayersChangedT{},
		fbs.EventBodyProducerScore:           &fbs.ProducerScoreT{Scores: []*fbs.EncodingScoreT{{Score: 3}}},
		fbs.EventBodyConsumerScore:           &fbs.ConsumerScoreT{ProducerScores: []byte{1}},
		fbs.EventBodyWantedLayers:            &fbs.WantedLayersT{},
		fbs.EventBodyVideoOrientationChanged: &fbs.VideoOrientationChangedT{},
		fbs.EventBodyAudioVolumes:            &fbs.AudioVolumesT{Volumes: []*fbs.AudioVolumeT{{Volume: -3}}},
		fbs.EventBodyAudioSilence:            &fbs.AudioSilenceT{},
		fbs.EventBodyDominantSpeakerChanged:  &fbs.DominantSpeakerChangedT{},
		fbs.EventBodyTraceEvent:              &fbs.TraceEventT{Rtp: &fbs.TracedRtpT{}, Report: &fbs.TracedReportT{}},
		fbs.EventBodyTransportTupleChanged:   &fbs.TransportTupleChangedT{Tuple: &fbs.TransportTupleT{}},
		fbs.EventBodyPipeSilenceChanged:      &fbs.PipeSilenceChangedT{},
		fbs.EventBodyEngineDrained:           &fbs.EngineDrainedT{},
		fbs.EventBodyStreamLimitReached:      &fbs.StreamLimitReachedT{},
		fbs.EventBodyTapClosed:               &fbs.TapClosedT{},
	}
	for body, name := range fbs.EnumNamesEventBody {
		if body == fbs.EventBodyNONE {
			continue
		}
		source := uint64(7)
		if body == fbs.EventBodyEventsLost || body == fbs.EventBodyEngineDrained {
			source = 0
		}
		event := eventFrom(&fbs.EventT{Source: source, Body: &fbs.EventBodyT{Type: body, Value: bodies[body]}})
		if event == nil {
			t.Errorf("%s has no Go type, or no line in this test", name)
		} else if event.kind() != kind(body) || event.Source() != ID(source) {
			t.Errorf("%s became %T of %s", name, event, event.Source())
		}
	}
}
