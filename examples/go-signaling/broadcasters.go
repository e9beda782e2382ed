package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"

	"libsfu.example/go/sfu"
)

const (
	// maxBroadcasterTransports of one broadcaster.
	maxBroadcasterTransports = 16
	// maxBroadcasterConsumers of one broadcaster.
	maxBroadcasterConsumers = 256
)

// broadcaster is a headless publisher or recorder over HTTP: ffmpeg, GStreamer and their like, by plain RTP. It is a peer of
// the room without a connection, which leaves by DELETE or with its room. Left out: data channels.
type broadcaster struct {
	peer         *peer
	capabilities *sfu.RTPCapabilities

	mu    sync.Mutex
	plain []*plainEntry
	// consuming is how many consumers there are, or are being made.
	consuming int
}

// plainEntry is what a session description needs of a plain transport.
type plainEntry struct {
	*sfu.PlainTransport
	remote    sfu.PlainRemote
	consumers []*sfu.Consumer
}

type broadcasters struct {
	*service
	mu  sync.Mutex
	all map[string]*broadcaster
}

func newBroadcasters(s *service) *broadcasters {
	return &broadcasters{service: s, all: map[string]*broadcaster{}}
}

// key of a broadcaster: no id holds a NUL.
func key(room, id string) string { return room + "\x00" + id }

func (b *broadcasters) routes(mux *http.ServeMux) {
	mux.HandleFunc("GET /rooms/{room}", b.answer(func(request *http.Request, _ data) (any, error) {
		if room := b.find(request.PathValue("room")); room != nil {
			return room.router.RTPCapabilities(), nil
		}
		return nil, refuse(404, "roomId: nobody is in it")
	}))
	const one = "/rooms/{room}/broadcasters/{id}"
	mux.HandleFunc("POST /rooms/{room}/broadcasters", b.answer(b.come))
	mux.HandleFunc("DELETE "+one, b.answer(b.with(func(_ context.Context, found *broadcaster, _ *http.Request, _ data) (any, error) {
		found.peer.connection.close(closeForGood, "left")
		return object{}, nil
	})))
	mux.HandleFunc("GET "+one+"/sdp", b.describe)
	mux.HandleFunc("POST "+one+"/transports", b.answer(b.with(b.makeOne)))
	mux.HandleFunc("POST "+one+"/transports/{transport}/connect", b.answer(b.with(b.connectOne)))
	mux.HandleFunc("POST "+one+"/transports/{transport}/producers", b.answer(b.with(b.produceOn)))
	mux.HandleFunc("POST "+one+"/transports/{transport}/consume", b.answer(b.with(b.consumeOn)))
}

// answer reads the body, if there is one, and writes what the handler tells. A page of another origin must not act for whom
// it has open.
func (b *broadcasters) answer(handle func(*http.Request, data) (any, error)) http.HandlerFunc {
	return func(answer http.ResponseWriter, request *http.Request) {
		var read data
		var told any
		var err error
		if request.Method == http.MethodPost && !strings.HasSuffix(request.URL.Path, "/consume") {
			read, err = jsonBody(answer, request)
		}
		if request.Method != http.MethodGet && !b.originAllowed(request) {
			err = refuse(403, "Origin: not allowed here; see --origin")
		}
		if err == nil {
			told, err = handle(request, read)
		}
		if err != nil {
			refused := asRefusal(err)
			writeJSON(answer, refused.code, object{"error": refused.reason})
			return
		}
		writeJSON(answer, http.StatusOK, told)
	}
}

func (b *broadcasters) lookUp(request *http.Request) (*broadcaster, error) {
	room, id := request.PathValue("room"), request.PathValue("id")
	b.mu.Lock()
	defer b.mu.Unlock()
	if found := b.all[key(room, id)]; found != nil {
		return found, nil
	}
	return nil, refuse(404, "broadcasterId: %q is not in room %q", id, room)
}

func (b *broadcasters) with(handle func(context.Context, *broadcaster, *http.Request, data) (any, error)) func(*http.Request, data) (any, error) {
	return func(request *http.Request, read data) (any, error) {
		found, err := b.lookUp(request)
		if err != nil {
			return nil, err
		}
		return handle(request.Context(), found, request, read)
	}
}

func (b *broadcasters) come(request *http.Request, d data) (any, error) {
	room := request.PathValue("room")
	if err := checkText("roomId", room, maxID); err != nil {
		return nil, err
	}
	id, err := d.text("id", maxName)
	if err != nil {
		return nil, err
	}
	joined := &introduction{}
	if joined.displayName, err = d.text("displayName", maxName); err != nil {
		return nil, err
	}
	if joined.device, err = d.opaque("device", maxOpaque); err != nil {
		return nil, err
	}
	made := &broadcaster{}
	if !d.absent("rtpCapabilities") {
		made.capabilities = &sfu.RTPCapabilities{}
		if err := d.take("rtpCapabilities", made.capabilities); err != nil {
			return nil, err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.all[key(room, id)] != nil {
		return nil, refuse(409, "id: %q is in the room already", id)
	}
	p, err := b.enter(request.Context(), hello{room: room, peer: id}, newConnection())
	if err != nil {
		return nil, err
	}
	made.peer = p
	b.all[key(room, id)] = made
	// What is told to it goes nowhere. Others are offered by request only, so the room is told of no capabilities.
	go b.see(made)
	if _, _, err := p.room.join(p, joined); err != nil {
		return nil, err
	}
	b.present(p)
	return object{"peers": p.room.withProducers(p)}, nil
}

// withProducers are the others of a room as newcomers are told of them, with what they publish.
func (r *room) withProducers(but *peer) []object {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := []object{}
	for _, other := range r.others(but) {
		told := other.introduce()
		if told == nil {
			continue
		}
		producers := []object{}
		for _, one := range other.offers() {
			producers = append(producers, object{"id": one.producer.ID(), "kind": one.producer.Kind()})
		}
		told["producers"] = producers
		out = append(out, told)
	}
	return out
}

// see sees a broadcaster out when it is closed, by whomever.
func (b *broadcasters) see(one *broadcaster) {
	discard(one.peer.connection)
	b.mu.Lock()
	name := key(one.peer.room.name, one.peer.id)
	if b.all[name] == one {
		delete(b.all, name)
	}
	b.mu.Unlock()
	b.leave(one.peer)
}

func (b *broadcasters) makeOne(ctx context.Context, one *broadcaster, _ *http.Request, d data) (any, error) {
	p := one.peer
	p.room.mu.Lock()
	many := len(p.transports) >= maxBroadcasterTransports
	p.room.mu.Unlock()
	if many {
		return nil, refuse(503, "the broadcaster has %d transports, the most", maxBroadcasterTransports)
	}
	kind, err := d.text("type", 16)
	if err != nil {
		return nil, err
	}
	switch kind {
	case "plain":
		return b.makePlain(ctx, one, d)
	case "webrtc":
		transport, err := b.makeTransport(ctx, p.room, consent, false)
		if err != nil {
			return nil, err
		}
		b.watchTransport(p, transport)
		if _, err := b.adopt(p, transport, false); err != nil {
			return nil, err
		}
		return describe(transport), nil
	}
	return nil, wrongField("type", "%q; expected plain or webrtc", kind)
}

func (b *broadcasters) makePlain(ctx context.Context, one *broadcaster, d data) (any, error) {
	mux, err := d.flag("rtcpMux")
	if err != nil {
		return nil, err
	}
	options := sfu.PlainTransportOptions{ListenInfo: b.config.plain(), NoRTCPMux: !mux, Comedia: true}
	if !d.absent("comedia") {
		if options.Comedia, err = d.flag("comedia"); err != nil {
			return nil, err
		}
	}
	if !d.absent("srtpCryptoSuite") {
		if err := d.take("srtpCryptoSuite", &options.SRTPCryptoSuite); err != nil {
			return nil, err
		}
	}
	transport, err := one.peer.room.router.CreatePlainTransport(ctx, options)
	if err != nil {
		return nil, err
	}
	b.watchClosing(one.peer, transport)
	if _, err := b.adopt(one.peer, transport, false); err != nil {
		return nil, err
	}
	one.mu.Lock()
	one.plain = append(one.plain, &plainEntry{PlainTransport: transport})
	one.mu.Unlock()
	local := transport.Local()
	told := object{
		"id": transport.ID(), "ip": local.IP, "port": local.Port, "rtcpPort": nil, "srtpParameters": local.SRTPParameters,
	}
	if local.RTCPPort != 0 {
		told["rtcpPort"] = local.RTCPPort
	}
	return told, nil
}

// transport is one of the broadcaster's, and its plain entry if it is plain.
func (one *broadcaster) transport(request *http.Request) (*transportEntry, *plainEntry, error) {
	text := request.PathValue("transport")
	id, err := sfu.ParseID(text)
	if err != nil {
		return nil, nil, unknown("transportId", text)
	}
	one.peer.room.mu.Lock()
	entry := one.peer.transports[id]
	one.peer.room.mu.Unlock()
	if entry == nil {
		return nil, nil, unknown("transportId", text)
	}
	one.mu.Lock()
	defer one.mu.Unlock()
	at := slices.IndexFunc(one.plain, func(plain *plainEntry) bool { return plain.ID() == id })
	if at < 0 {
		return entry, nil, nil
	}
	return entry, one.plain[at], nil
}

func (b *broadcasters) connectOne(ctx context.Context, one *broadcaster, request *http.Request, d data) (any, error) {
	entry, plain, err := one.transport(request)
	if err != nil {
		return nil, err
	}
	if plain == nil {
		var remote sfu.DTLSParameters
		if err := d.take("dtlsParameters", &remote); err != nil {
			return nil, err
		}
		_, err := entry.webrtc().Connect(ctx, remote)
		return object{}, err
	}
	var remote sfu.PlainRemote
	for field, into := range map[string]any{
		"ip": &remote.IP, "port": &remote.Port, "rtcpPort": &remote.RTCPPort, "srtpParameters": &remote.SRTPParameters,
	} {
		if !d.absent(field) {
			if err := d.take(field, into); err != nil {
				return nil, err
			}
		}
	}
	if err := plain.Connect(ctx, remote); err != nil {
		return nil, err
	}
	one.mu.Lock()
	plain.remote = remote
	one.mu.Unlock()
	return object{}, nil
}

func (b *broadcasters) produceOn(ctx context.Context, one *broadcaster, request *http.Request, d data) (any, error) {
	entry, _, err := one.transport(request)
	if err != nil {
		return nil, err
	}
	var options sfu.ProducerOptions
	if err := d.take("kind", &options.Kind); err != nil {
		return nil, err
	}
	if err := d.take("rtpParameters", &options.RTPParameters); err != nil {
		return nil, err
	}
	appData, err := d.opaque("appData", maxOpaque)
	if err != nil {
		return nil, err
	}
	appData["peerId"] = one.peer.id
	producer, err := entry.Produce(ctx, options)
	if err != nil {
		return nil, err
	}
	if err := b.publish(ctx, one.peer, producer, appData); err != nil {
		return nil, err
	}
	return object{"id": producer.ID()}, nil
}

func (b *broadcasters) consumeOn(ctx context.Context, one *broadcaster, request *http.Request, _ data) (any, error) {
	entry, plain, err := one.transport(request)
	if err != nil {
		return nil, err
	}
	query := request.URL.Query()
	if !query.Has("producerId") {
		return nil, wrongField("producerId", "missing in the address")
	}
	text := query.Get("producerId")
	_, producer := one.peer.room.publisherOf(text)
	if producer == nil {
		return nil, unknown("producerId", text)
	}
	if one.capabilities == nil {
		return nil, refuse(409, "rtpCapabilities: the broadcaster gave none when it came; it cannot receive")
	}
	if !one.reserve() {
		return nil, refuse(503, "the broadcaster has %d consumers, the most", maxBroadcasterConsumers)
	}
	consumer, err := entry.Consume(ctx, sfu.ConsumerOptions{Producer: producer.ID(), RTPCapabilities: *one.capabilities})
	if err != nil {
		one.release(nil, nil)
		return nil, err
	}
	if plain != nil {
		one.mu.Lock()
		plain.consumers = append(plain.consumers, consumer)
		one.mu.Unlock()
	}
	// With its producer, or with its transport.
	consumer.OnClose(func(sfu.CloseReason) { one.release(plain, consumer) })
	return object{
		"id": consumer.ID(), "producerId": text, "kind": consumer.Kind(), "rtpParameters": consumer.RTPParameters(),
		"type": consumer.Type(),
	}, nil
}

// reserve counts one more consumer, if there may be one.
func (one *broadcaster) reserve() bool {
	one.mu.Lock()
	defer one.mu.Unlock()
	if one.consuming >= maxBroadcasterConsumers {
		return false
	}
	one.consuming++
	return true
}

// release counts one less, which the plain transport forgets.
func (one *broadcaster) release(plain *plainEntry, consumer *sfu.Consumer) {
	one.mu.Lock()
	defer one.mu.Unlock()
	one.consuming--
	if plain != nil {
		plain.consumers = slices.DeleteFunc(plain.consumers, func(other *sfu.Consumer) bool { return other == consumer })
	}
}

// describe tells what the plain transports send, as a file that ffmpeg, VLC and GStreamer open (RFC 8866, RFC 4568).
func (b *broadcasters) describe(answer http.ResponseWriter, request *http.Request) {
	one, err := b.lookUp(request)
	if err != nil {
		refused := asRefusal(err)
		writeJSON(answer, refused.code, object{"error": refused.reason})
		return
	}
	text := one.sessionDescription()
	if text == "" {
		writeJSON(answer, http.StatusConflict, object{"error": "nothing is consumed on a transport that is connected"})
		return
	}
	answer.Header().Set("Content-Type", sdpType)
	_, _ = answer.Write([]byte(text))
}

func (one *broadcaster) sessionDescription() string {
	one.mu.Lock()
	defer one.mu.Unlock()
	var text strings.Builder
	for _, plain := range one.plain {
		if plain.remote.IP == "" || plain.remote.Port == nil {
			continue
		}
		for _, consumer := range plain.consumers {
			if text.Len() == 0 {
				to := netAddress(plain.remote.IP)
				fmt.Fprintf(&text, "v=0\r\no=- 0 0 IN %s\r\ns=%s\r\nc=IN %s\r\nt=0 0\r\n", to, one.peer.id, to)
			}
			describeStream(&text, plain, consumer)
		}
	}
	return text.String()
}

func netAddress(ip string) string {
	if strings.Contains(ip, ":") && net.ParseIP(ip) != nil {
		return "IP6 " + ip
	}
	return "IP4 " + ip
}

func describeStream(text *strings.Builder, plain *plainEntry, consumer *sfu.Consumer) {
	codecs := consumer.RTPParameters().Codecs
	at := slices.IndexFunc(codecs, func(c sfu.RTPCodecParameters) bool {
		return !strings.HasSuffix(strings.ToLower(c.MimeType), "/rtx")
	})
	if at < 0 {
		return
	}
	codec, srtp, profile := codecs[at], plain.Local().SRTPParameters, "RTP/AVP"
	if srtp != nil {
		profile = "RTP/SAVP"
	}
	line := func(format string, arguments ...any) { fmt.Fprintf(text, format+"\r\n", arguments...) }
	line("m=%s %d %s %d", consumer.Kind(), *plain.remote.Port, profile, codec.PayloadType)
	line("c=IN %s", netAddress(plain.remote.IP))
	if plain.remote.RTCPPort != nil {
		line("a=rtcp:%d", *plain.remote.RTCPPort)
	} else {
		line("a=rtcp-mux")
	}
	_, encoding, _ := strings.Cut(codec.MimeType, "/")
	if codec.Channels > 1 {
		line("a=rtpmap:%d %s/%d/%d", codec.PayloadType, encoding, codec.ClockRate, codec.Channels)
	} else {
		line("a=rtpmap:%d %s/%d", codec.PayloadType, encoding, codec.ClockRate)
	}
	var parameters []string
	for name, value := range codec.Parameters {
		parameters = append(parameters, fmt.Sprintf("%s=%v", name, value))
	}
	slices.Sort(parameters)
	if len(parameters) > 0 {
		line("a=fmtp:%d %s", codec.PayloadType, strings.Join(parameters, ";"))
	}
	if srtp != nil {
		line("a=crypto:1 %s inline:%s", srtp.CryptoSuite, srtp.KeyBase64)
	}
	line("a=sendonly")
}
