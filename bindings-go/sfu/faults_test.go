package sfu

import (
	"context"
	"encoding/binary"
	"errors"
	"math/rand"
	"os"
	"os/exec"
	"reflect"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	flatbuffers "github.com/google/flatbuffers/go"

	"libsfu.example/go/internal/capi"
	"libsfu.example/go/internal/fbs"
)

func requestBytes(id uint64, target ID, kind fbs.RequestBody, body any) []byte {
	request := &fbs.RequestT{Id: id, Target: uint64(target), Body: &fbs.RequestBodyT{Type: kind, Value: body}}
	return message(flatbuffers.NewBuilder(256), fbs.ContentRequest, request)
}

// alive: the engine answers.
func alive(t *testing.T, engine *Engine) {
	t.Helper()
	must[*EngineDump](t)(engine.Dump(bounded(t)))
}

func TestRow067BytesThatAreNoRequestAreRefused(t *testing.T) {
	engine := start(t, Options{})
	good := requestBytes(1<<40, 0, fbs.RequestBodyCreateRouter, &fbs.CreateRouterT{MediaCodecs: []*fbs.RtpCodecCapabilityT{{MimeType: "audio/opus"}}})
	refused := func(what string, bytes []byte) {
		t.Helper()
		if status, why := capi.Submit(engine.handle, bytes); status == capi.OK || why == "" {
			t.Errorf("%s: status %d, %q", what, status, why)
		}
	}
	refused("nothing", nil)
	for length := 1; length < len(good); length++ {
		refused("truncated", good[:length])
	}
	wrong := append([]byte(nil), good...)
	copy(wrong[8:], "XXXX")
	refused("another file identifier", wrong)
	random := rand.New(rand.NewSource(67))
	for range [200]int{} {
		bytes := make([]byte, random.Intn(300))
		random.Read(bytes)
		refused("random", bytes)
		// A flipped bit may leave a request that is another one; it must only not hurt.
		flipped := append([]byte(nil), good...)
		flipped[random.Intn(len(flipped))] ^= 1 << random.Intn(8)
		capi.Submit(engine.handle, flipped)
	}
	alive(t, engine)
}

func TestRow068LengthsThatLieAreRefused(t *testing.T) {
	engine := start(t, Options{})
	good := requestBytes(1, 0, fbs.RequestBodyGetDump, &fbs.GetDumpT{})
	for _, length := range []uint32{0xffff_ffff, 0x7fff_ffff, uint32(len(good)), 0} {
		wrong := append([]byte(nil), good...)
		binary.LittleEndian.PutUint32(wrong, length)
		if status, _ := capi.Submit(engine.handle, wrong); status == capi.OK {
			t.Errorf("length %d was taken", length)
		}
	}
	// At any alignment.
	for shift := 0; shift < 8; shift++ {
		moved := append(make([]byte, shift), requestBytes(uint64(1000+shift), 0, fbs.RequestBodyGetDump, &fbs.GetDumpT{})...)
		if status, why := capi.Submit(engine.handle, moved[shift:]); status != capi.OK {
			t.Errorf("shift %d: %s", shift, why)
		}
	}
	alive(t, engine)
}

func TestRow069AMethodOfAnotherKindOfObjectIsRefused(t *testing.T) {
	engine := start(t, Options{})
	ctx := bounded(t)
	router := testRouter(t, engine)
	expect(t, pausable{router.object}.Pause(ctx), ErrInvalidArgument, ErrUnsupported, ErrNotFound, ErrInvalidState)
	expect(t, transport{router.object}.StopTap(ctx), ErrInvalidArgument, ErrUnsupported, ErrNotFound, ErrInvalidState)
	for _, body := range []*fbs.RequestBodyT{{Type: fbs.RequestBodyNONE}, {Type: 255}} {
		bytes := message(flatbuffers.NewBuilder(64), fbs.ContentRequest, &fbs.RequestT{Id: 1, Body: body})
		if status, _ := capi.Submit(engine.handle, bytes); status == capi.OK {
			t.Errorf("union type %d was taken", body.Type)
		}
	}
	alive(t, engine)
}

func TestRow070UnknownIDsAreNotFound(t *testing.T) {
	engine, other := start(t, Options{}), start(t, Options{})
	ctx := bounded(t)
	closed := testRouter(t, engine)
	check(t, closed.Close(ctx))
	elsewhere := testRouter(t, other)
	for _, id := range []ID{closed.ID(), elsewhere.ID() + 1<<20, 1, 1 << 63, ^ID(0)} {
		router := &Router{object: &object{core: engine.core, id: id, done: make(chan struct{})}}
		_, err := router.CreateDirectTransport(ctx, DirectTransportOptions{})
		expect(t, err, ErrNotFound)
	}
	for _, text := range []string{"", "1", strings.Repeat("f", 1<<20), "-00000000000000f", "zzzzzzzzzzzzzzzz"} {
		if _, err := ParseID(text); !errors.Is(err, ErrInvalidArgument) || len(err.Error()) > 200 {
			t.Errorf("%.20q: %v", text, err)
		}
	}
}

func TestRow071ARequestIDInUseIsRefusedAndTheFirstIsAnswered(t *testing.T) {
	engine := start(t, Options{})
	c := engine.core
	w := &waiter{done: make(chan struct{})}
	c.mu.Lock()
	c.waiting[1<<40] = w
	c.mu.Unlock()
	bytes := requestBytes(1<<40, 0, fbs.RequestBodyGetStats, &fbs.GetStatsT{})
	first, _ := capi.Submit(c.handle, bytes)
	second, _ := capi.Submit(c.handle, bytes)
	if first != capi.OK {
		t.Fatalf("status %d", first)
	}
	// The first may be answered already; then its id is free again.
	if second != capi.OK && Code(second) != ErrAlreadyExists {
		t.Errorf("status %d", second)
	}
	receive(t, "the first answer", w.done)
}

func TestRow072ClosingInAnyOrderIsNoError(t *testing.T) {
	engine := start(t, Options{})
	ctx := bounded(t)
	router := testRouter(t, engine)
	direct := must[*DirectTransport](t)(router.CreateDirectTransport(ctx, DirectTransportOptions{}))
	producer := must[*Producer](t)(direct.Produce(ctx, opusFrom(1)))
	reasons := make(chan CloseReason, 2)
	producer.OnClose(func(reason CloseReason) { reasons <- reason })
	check(t, direct.Close(ctx))
	receive(t, "the producer is done", producer.Done())
	if reason := receive(t, "the producer's reason", reasons); reason != TransportClosed || producer.CloseReason() != reason {
		t.Errorf("%s", reason)
	}
	check(t, producer.Close(ctx))
	check(t, direct.Close(ctx))
	check(t, router.Close(ctx))
	check(t, router.Close(ctx))
	if direct.CloseReason() != Closed {
		t.Errorf("%s", direct.CloseReason())
	}
	_, err := direct.Produce(ctx, opusFrom(2))
	expect(t, err, ErrNotFound)
}

func TestRow072ClosingWhileAChildIsMade(t *testing.T) {
	engine := start(t, Options{})
	ctx := bounded(t)
	for range [20]int{} {
		router := testRouter(t, engine)
		made := make(chan error, 8)
		for range [8]int{} {
			go func() {
				_, err := router.CreateDirectTransport(ctx, DirectTransportOptions{})
				made <- err
			}()
		}
		check(t, router.Close(ctx))
		for range [8]int{} {
			if err := receive(t, "an answer", made); err != nil {
				expect(t, err, ErrNotFound)
			}
		}
	}
}

func TestRow073AClosedEngineRefusesAndTwoEnginesDoNotMeet(t *testing.T) {
	first, second := start(t, Options{}), start(t, Options{})
	ctx := bounded(t)
	router, other := testRouter(t, first), testRouter(t, second)
	done := make(chan error, 2)
	for range [2]int{} {
		go func() { done <- first.Close() }()
	}
	check(t, receive(t, "the first Close", done))
	check(t, receive(t, "the second Close", done))
	_, err := router.Dump(ctx)
	expect(t, err, ErrClosed)
	_, err = first.CreateRouter(ctx, RouterOptions{MediaCodecs: testCodecs()})
	expect(t, err, ErrClosed)
	receive(t, "the router of a closed engine is done", router.Done())
	receive(t, "the engine is done", first.Done())
	check(t, router.Close(ctx))
	for status, what := range map[capi.Status]string{
		capi.Free(first.handle): "free", capi.Shutdown(first.handle, 0): "shutdown", capi.Wait(first.handle, 0): "wait",
	} {
		if status != capi.NotFound {
			t.Errorf("%s of a freed engine: status %d", what, status)
		}
	}
	must[*RouterDump](t)(other.Dump(ctx))
}

func TestRow074ThirtyTwoGoroutinesAtOnce(t *testing.T) {
	engine := start(t, Options{})
	ctx := bounded(t)
	var group sync.WaitGroup
	for range [32]int{} {
		group.Add(1)
		go func() {
			defer group.Done()
			for range [10]int{} {
				router, err := engine.CreateRouter(ctx, RouterOptions{MediaCodecs: testCodecs()})
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := router.Dump(ctx); err != nil {
					t.Error(err)
				}
				if err := router.Close(ctx); err != nil {
					t.Error(err)
				}
			}
		}()
	}
	group.Wait()
	if dump := must[*EngineDump](t)(engine.Dump(ctx)); len(dump.Shards[0].Routers) != 0 {
		t.Errorf("%v are left", dump.Shards[0].Routers)
	}
}

func TestRow076NullPointersAreStatuses(t *testing.T) {
	engine := start(t, Options{})
	var outcome capi.Outcome
	if status, _ := capi.Submit(engine.handle, nil); status == capi.OK {
		t.Error("no bytes were taken for a request")
	}
	if taken, status := capi.SendMedia(engine.handle, nil); taken != 0 || status != capi.OK && Code(status) != 100 {
		t.Errorf("%d packets of none, status %d", taken, status)
	}
	if written, _, _ := outcome.PollMedia(engine.handle, nil); written != 0 {
		t.Errorf("%d bytes into none", written)
	}
	alive(t, engine)
}

func TestRow078NumbersOutOfRangeNameTheirField(t *testing.T) {
	engine := start(t, Options{})
	ctx := bounded(t)
	router := testRouter(t, engine)
	direct := must[*DirectTransport](t)(router.CreateDirectTransport(ctx, DirectTransportOptions{}))
	wrong := func(change func(*ProducerOptions)) error {
		options := vp8From(5)
		change(&options)
		_, err := direct.Produce(ctx, options)
		return err
	}
	for field, err := range map[string]error{
		"payload_type": wrong(func(o *ProducerOptions) { o.RTPParameters.Codecs[0].PayloadType = 200 }),
		"clock_rate":   wrong(func(o *ProducerOptions) { o.RTPParameters.Codecs[0].ClockRate = 0 }),
		"codecs":       wrong(func(o *ProducerOptions) { o.RTPParameters.Codecs = nil }),
		"encodings":    wrong(func(o *ProducerOptions) { o.RTPParameters.Encodings = make([]RTPEncodingParameters, 4096) }),
		"ssrc": wrong(func(o *ProducerOptions) {
			o.RTPParameters.Encodings = append(o.RTPParameters.Encodings, o.RTPParameters.Encodings[0])
		}),
		"kind":       wrong(func(o *ProducerOptions) { o.Kind = "smell" }),
		"parameters": wrong(func(o *ProducerOptions) { o.RTPParameters.Codecs[0].Parameters = Parameters{"x": []int{1}} }),
	} {
		if refused := expect(t, err, ErrInvalidArgument, ErrUnsupported, ErrAlreadyExists, ErrMalformed); !strings.Contains(refused.Field, field) || refused.Message == "" || refused.Op != "Produce" {
			t.Errorf("%s: %+v", field, refused)
		}
	}
	_, err := New(Options{Shards: -1})
	expect(t, err, ErrInvalidArgument)
	_, err = New(Options{Shards: 60000})
	expect(t, err, ErrStartOptions, ErrCPUUnavailable, ErrStartResource, ErrFileLimitTooLow, ErrMemlockTooLow)
}

func TestRow079CallsOutOfOrder(t *testing.T) {
	engine := start(t, Options{})
	ctx := bounded(t)
	router := testRouter(t, engine)
	transport := must[*WebRTCTransport](t)(router.CreateWebRTCTransport(ctx, WebRTCTransportOptions{ListenInfos: []ListenInfo{loopback()}}))
	_, err := transport.Consume(ctx, ConsumerOptions{Producer: 5, RTPCapabilities: router.RTPCapabilities()})
	expect(t, err, ErrNotFound)
	must[DTLSRole](t)(transport.Connect(ctx, fingerprint()))
	_, err = transport.Connect(ctx, fingerprint())
	expect(t, err, ErrInvalidState)
	must[ICEParameters](t)(transport.RestartICE(ctx))
	producer := must[*Producer](t)(transport.Produce(ctx, opusFrom(3)))
	for range [500]int{} {
		check(t, producer.Pause(ctx))
		check(t, producer.Resume(ctx))
	}
	check(t, producer.Pause(ctx))
	check(t, producer.Pause(ctx))
	if dump := must[*ProducerDump](t)(producer.Dump(ctx)); !dump.Paused {
		t.Error("the last one did not win")
	}
	check(t, transport.Close(ctx))
	_, err = transport.Connect(ctx, fingerprint())
	expect(t, err, ErrNotFound)
}

func TestRow080AConsumerOfAClosingProducerClosesWithIt(t *testing.T) {
	engine := start(t, Options{})
	ctx := bounded(t)
	router := testRouter(t, engine)
	direct := must[*DirectTransport](t)(router.CreateDirectTransport(ctx, DirectTransportOptions{}))
	producer := must[*Producer](t)(direct.Produce(ctx, opusFrom(4)))
	options := ConsumerOptions{Producer: producer.ID(), RTPCapabilities: router.RTPCapabilities()}
	// Its own: some want to hear themselves.
	consumer := must[*Consumer](t)(direct.Consume(ctx, options))
	reasons := make(chan CloseReason, 1)
	consumer.OnClose(func(reason CloseReason) { reasons <- reason })
	check(t, producer.Close(ctx))
	if reason := receive(t, "the consumer's end", reasons); reason != ProducerClosed {
		t.Errorf("%s", reason)
	}
	_, err := direct.Consume(ctx, options)
	expect(t, err, ErrNotFound)
}

func TestRow083AFullQueueIsBusyAndEachCallIsAnsweredOnce(t *testing.T) {
	engine := start(t, Options{CommandQueue: 4})
	ctx := bounded(t)
	router := testRouter(t, engine)
	var group sync.WaitGroup
	var mu sync.Mutex
	answers := map[string]int{}
	for range [64]int{} {
		group.Add(1)
		go func() {
			defer group.Done()
			for range [100]int{} {
				_, err := router.Dump(ctx)
				mu.Lock()
				switch {
				case err == nil:
					answers["ok"]++
				case errors.Is(err, ErrBusy):
					answers["busy"]++
				default:
					answers[err.Error()]++
				}
				mu.Unlock()
			}
		}()
	}
	group.Wait()
	if answers["ok"] == 0 || answers["ok"]+answers["busy"] != 6400 {
		t.Errorf("%v", answers)
	}
	alive(t, engine)
}

func TestRow085AnotherVersionIsTold(t *testing.T) {
	if err := compatible(0, capi.HeaderSchemaVersion); !errors.Is(err, ErrABIMismatch) || !strings.Contains(err.Error(), "install") {
		t.Errorf("%v", err)
	}
	expect(t, compatible(capi.HeaderABIVersion, capi.HeaderSchemaVersion-1), ErrABIMismatch)
	check(t, compatible(capi.HeaderABIVersion+1, capi.HeaderSchemaVersion+1))
	for _, abi := range []uint32{0, capi.HeaderABIVersion + 1, 1 << 31} {
		if _, status, _ := capi.EngineNew(abi, nil); status != capi.ABIMismatch || capi.StatusText(status) == "" {
			t.Errorf("ABI %d: status %d", abi, status)
		}
	}
}

func TestRow114DescriptorsDoNotReachChildren(t *testing.T) {
	engine := start(t, Options{})
	for _, file := range []*os.File{engine.events, engine.media} {
		raw := must[syscall.RawConn](t)(file.SyscallConn())
		check(t, raw.Control(func(fd uintptr) {
			if flags, _, errno := syscall.Syscall(syscall.SYS_FCNTL, fd, syscall.F_GETFD, 0); errno != 0 || flags&syscall.FD_CLOEXEC == 0 {
				t.Errorf("%s: flags %d, %v", file.Name(), flags, errno)
			}
		}))
	}
	listed := string(must[[]byte](t)(exec.Command("ls", "-l", "/proc/self/fd").Output()))
	if strings.Contains(listed, "eventfd") || strings.Contains(listed, "io_uring") {
		t.Errorf("a child has:\n%s", listed)
	}
	alive(t, engine)
}

// TestH33EveryFieldMayBeAbsent sends each request of the schema with nothing in it, to nothing and to a router: it is
// refused, or answered, and the engine lives.
func TestH33EveryFieldMayBeAbsent(t *testing.T) {
	engine := start(t, Options{})
	router := testRouter(t, engine)
	id := uint64(1 << 41)
	for body, name := range fbs.EnumNamesRequestBody {
		if body == fbs.RequestBodyNONE || body == fbs.RequestBodyDrain || body == fbs.RequestBodyClose {
			continue
		}
		for _, target := range []ID{0, router.ID()} {
			id++
			builder := flatbuffers.NewBuilder(64)
			builder.StartObject(8)
			empty := builder.EndObject()
			fbs.RequestStart(builder)
			fbs.RequestAddId(builder, id)
			fbs.RequestAddTarget(builder, uint64(target))
			fbs.RequestAddBodyType(builder, body)
			fbs.RequestAddBody(builder, empty)
			request := fbs.RequestEnd(builder)
			fbs.MessageStart(builder)
			fbs.MessageAddContentType(builder, fbs.ContentRequest)
			fbs.MessageAddContent(builder, request)
			builder.FinishSizePrefixedWithFileIdentifier(fbs.MessageEnd(builder), []byte("LSFU"))
			w := &waiter{done: make(chan struct{})}
			engine.mu.Lock()
			engine.waiting[id] = w
			engine.mu.Unlock()
			if status, why := capi.Submit(engine.handle, builder.FinishedBytes()); status == capi.OK {
				receive(t, name+" is answered", w.done)
			} else if why == "" {
				t.Errorf("%s: status %d without a word", name, status)
			}
		}
	}
	alive(t, engine)
}

func TestH35WhatIsWrongWithAStartIsOneLine(t *testing.T) {
	_, err := New(Options{CertificatePEM: "no certificate", PrivateKeyPEM: "no key"})
	if refused := expect(t, err, ErrCertificate, ErrStartOptions); strings.Contains(refused.Error(), "\n") || refused.Message == "" {
		t.Errorf("%q", refused.Error())
	}
	report, err := Preflight(Options{Shards: 1, Unpinned: true})
	if err != nil || strings.Count(report, "\n") < 4 {
		t.Errorf("%v\n%s", err, report)
	}
}

func TestH40SessionDescriptionsAreBounded(t *testing.T) {
	engine := start(t, Options{})
	ctx := bounded(t)
	router := testRouter(t, engine)
	for what, sdp := range map[string]string{
		"nothing": "", "no description": "hello", "too long": strings.Repeat("a=x\r\n", 100_000),
		"a long line": "v=0\r\na=" + strings.Repeat("x", 300_000), "zeros": strings.Repeat("\x00", 1000),
		"sections": testOffer + strings.Repeat("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n", 5000),
	} {
		began := time.Now()
		_, err := router.ParseSDP(ctx, sdp)
		if refused := expect(t, err, ErrInvalidArgument, ErrMalformed, ErrUnsupported); refused.Message == "" {
			t.Errorf("%s: %v", what, err)
		}
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("%s took %s", what, took)
		}
	}
	_, err := engine.ParseSDPFragment(ctx, strings.Repeat("a=candidate:x\r\n", 100_000))
	expect(t, err, ErrInvalidArgument, ErrMalformed)
	alive(t, engine)
}

func TestRow084BuffersMayBeWrittenOverAfterTheCall(t *testing.T) {
	engine := start(t, Options{})
	bytes := requestBytes(1<<42, 0, fbs.RequestBodyGetDump, &fbs.GetDumpT{})
	w := &waiter{done: make(chan struct{})}
	engine.mu.Lock()
	engine.waiting[1<<42] = w
	engine.mu.Unlock()
	if status, why := capi.Submit(engine.handle, bytes); status != capi.OK {
		t.Fatal(why)
	}
	clear(bytes)
	receive(t, "the answer", w.done)
	if !reflect.DeepEqual(w.reply.Body.Type, fbs.ReplyBodyEngineDump) {
		t.Errorf("%v", w.reply.Body.Type)
	}
}

func TestACancelledCallLeavesNothingBehind(t *testing.T) {
	engine := start(t, Options{})
	ctx := bounded(t)
	for range [200]int{} {
		short, cancel := context.WithCancel(ctx)
		go cancel()
		router, err := engine.CreateRouter(short, RouterOptions{MediaCodecs: testCodecs()})
		if err != nil {
			if !errors.Is(err, context.Canceled) {
				t.Fatal(err)
			}
			continue
		}
		check(t, router.Close(ctx))
	}
	already, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := engine.Dump(already); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	// Each answer that was given up comes before the answer of a later call to the same shard, and its closing soon after.
	deadline := time.Now().Add(10 * time.Second)
	for {
		dump := must[*EngineDump](t)(engine.Dump(ctx))
		engine.mu.Lock()
		waiting := len(engine.waiting)
		engine.mu.Unlock()
		if len(dump.Shards[0].Routers) == 0 && waiting == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d routers and %d slots are left", len(dump.Shards[0].Routers), waiting)
		}
	}
}
