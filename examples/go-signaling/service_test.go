package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"libsfu.example/go/sfu"
)

// begin is a service of the test's own.
func begin(t *testing.T, words ...string) (*service, *httptest.Server) {
	t.Helper()
	words = append([]string{"--rtc-port", "0", "--unpinned", "--shards", "1"}, words...)
	config, err := readConfig(words, func(string) (string, bool) { return "", false })
	if err != nil {
		t.Fatal(err)
	}
	engine, err := sfu.New(config.engine())
	if err != nil {
		t.Fatal(err)
	}
	working, end := context.WithCancel(context.Background())
	s := &service{
		engine: engine, config: config, log: slog.New(slog.NewTextHandler(io.Discard, nil)), metrics: newMetrics(),
		ctx: working, rooms: map[string]*room{}, emptied: make(chan struct{}, 1),
	}
	if err := s.startServer(working); err != nil {
		t.Fatal(err)
	}
	s.metrics.registry.MustRegister(collector{s})
	page := map[string]asset{"index.html": {[]byte("a page"), mediaType("index.html"), `"1"`}}
	w := &web{service: s, page: page, broadcasters: newBroadcasters(s), streams: newStreams(s)}
	server := httptest.NewServer(w.routes())
	t.Cleanup(func() {
		leaving, stop := context.WithTimeout(working, 10*time.Second)
		defer stop()
		s.closeAll(leaving)
		if rooms, peers := s.census(); rooms+peers > 0 {
			t.Errorf("%d rooms and %d peers are left", rooms, peers)
		}
		server.Close()
		if err := engine.Close(); err != nil {
			t.Error(err)
		}
		end()
	})
	return s, server
}

// member speaks protoo.
type member struct {
	t      *testing.T
	socket *websocket.Conn
	last   int
	heard  []map[string]any
}

func dial(t *testing.T, server *httptest.Server, query string) *member {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	address := strings.Replace(server.URL, "http", "ws", 1) + "/?" + query
	socket, _, err := websocket.Dial(ctx, address, &websocket.DialOptions{Subprotocols: []string{subprotocol}})
	if err != nil {
		t.Fatal(err)
	}
	socket.SetReadLimit(1 << 20)
	t.Cleanup(func() { _ = socket.CloseNow() })
	return &member{t: t, socket: socket}
}

// hear reads until a frame is the one that is looked for; requests of the service are accepted on the way.
func (m *member) hear(what string, is func(map[string]any) bool) map[string]any {
	m.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for at := 0; ; at++ {
		for at >= len(m.heard) {
			_, text, err := m.socket.Read(ctx)
			if err != nil {
				m.t.Fatalf("%s: %v", what, err)
			}
			var frame map[string]any
			if err := json.Unmarshal(text, &frame); err != nil {
				m.t.Fatal(err)
			}
			if frame["request"] == true {
				m.send(map[string]any{"response": true, "id": frame["id"], "ok": true, "data": map[string]any{}})
			}
			m.heard = append(m.heard, frame)
		}
		if is(m.heard[at]) {
			return m.heard[at]
		}
	}
}

func (m *member) send(frame map[string]any) {
	m.t.Helper()
	text, err := json.Marshal(frame)
	if err != nil {
		m.t.Fatal(err)
	}
	if err := m.socket.Write(context.Background(), websocket.MessageText, text); err != nil {
		m.t.Fatal(err)
	}
}

func (m *member) ask(method string, data any) map[string]any {
	m.t.Helper()
	m.last++
	id := float64(m.last)
	m.send(map[string]any{"request": true, "id": id, "method": method, "data": data})
	return m.hear("the answer to "+method, func(frame map[string]any) bool { return frame["response"] == true && frame["id"] == id })
}

func (m *member) get(method string, data any) map[string]any {
	m.t.Helper()
	answer := m.ask(method, data)
	if answer["ok"] != true {
		m.t.Fatalf("%s: %v", method, answer)
	}
	told, _ := answer["data"].(map[string]any)
	return told
}

func (m *member) told(method string) map[string]any {
	m.t.Helper()
	return m.hear(method, func(frame map[string]any) bool { return frame["method"] == method })["data"].(map[string]any)
}

func (m *member) join(name string) (transport string) {
	m.t.Helper()
	capabilities := m.get("getRouterRtpCapabilities", nil)
	m.get("join", map[string]any{"displayName": name, "device": map[string]any{}, "rtpCapabilities": capabilities})
	return m.get("createWebRtcTransport", map[string]any{"consuming": true, "producing": true})["id"].(string)
}

var opus = map[string]any{
	"codecs":    []any{map[string]any{"mimeType": "audio/opus", "payloadType": 111, "clockRate": 48000, "channels": 2}},
	"encodings": []any{map[string]any{"ssrc": 1234}}, "rtcp": map[string]any{"cname": "x"},
}

func TestTwoPeersMeetAndPart(t *testing.T) {
	_, server := begin(t)
	ada, grace := dial(t, server, "roomId=r&peerId=ada"), dial(t, server, "roomId=r&peerId=grace")
	sending := ada.join("Ada")
	grace.join("Grace")
	if data := ada.told("newPeer"); data["id"] != "grace" || data["displayName"] != "Grace" {
		t.Errorf("%v", data)
	}
	producer := ada.get("produce", map[string]any{"transportId": sending, "kind": "audio", "rtpParameters": opus, "appData": map[string]any{"source": "mic"}})["id"]
	offered := grace.told("newConsumer")
	if offered["peerId"] != "ada" || offered["producerId"] != producer || offered["appData"].(map[string]any)["source"] != "mic" || offered["rtpParameters"].(map[string]any)["mid"] == nil {
		t.Errorf("%v", offered)
	}
	ada.get("pauseProducer", map[string]any{"producerId": producer})
	if data := grace.told("consumerPaused"); data["consumerId"] != offered["id"] {
		t.Errorf("%v", data)
	}
	rows := ada.ask("getTransportStats", map[string]any{"transportId": sending})["data"].([]any)
	if row := rows[0].(map[string]any); row["type"] != "webrtc-transport" || row["iceState"] != "new" || row["transportId"] != sending {
		t.Errorf("%v", row)
	}
	ada.get("closeProducer", map[string]any{"producerId": producer})
	if data := grace.told("consumerClosed"); data["consumerId"] != offered["id"] {
		t.Errorf("%v", data)
	}
	ada.get("changeDisplayName", map[string]any{"displayName": "Lovelace"})
	if data := grace.told("peerDisplayNameChanged"); data["oldDisplayName"] != "Ada" {
		t.Errorf("%v", data)
	}
	_ = ada.socket.Close(websocket.StatusNormalClosure, "")
	if data := grace.told("peerClosed"); data["peerId"] != "ada" {
		t.Errorf("%v", data)
	}
}

func TestOneServerListensForAllShardsByUDPAndTCP(t *testing.T) {
	_, server := begin(t, "--shards", "2")
	for _, room := range []string{"one", "two"} {
		ada := dial(t, server, "peerId=ada&roomId="+room)
		for forced, protocols := range map[bool][]string{false: {"udp", "tcp"}, true: {"tcp"}} {
			made := ada.get("createWebRtcTransport", map[string]any{"forceTcp": forced})
			var found []string
			for _, one := range made["iceCandidates"].([]any) {
				found = append(found, one.(map[string]any)["protocol"].(string))
			}
			if !slices.Equal(found, protocols) {
				t.Errorf("forceTcp %v: %v", forced, found)
			}
		}
	}
}

func TestRow078WrongRequestsNameTheirField(t *testing.T) {
	_, server := begin(t, "--rtc-protocol", "udp")
	ada := dial(t, server, "roomId=r&peerId=ada")
	for _, one := range []struct {
		method string
		data   any
		code   float64
		field  string
	}{
		{"noSuchThing", nil, 404, "method"},
		{"join", map[string]any{}, 400, "displayName"},
		{"join", map[string]any{"displayName": 7}, 400, "displayName"},
		{"join", map[string]any{"displayName": strings.Repeat("x", 1000)}, 400, "displayName"},
		{"join", map[string]any{"displayName": "Ada", "rtpCapabilities": []any{}}, 400, "rtpCapabilities"},
		{"createWebRtcTransport", map[string]any{"forceTcp": true}, 501, "forceTcp"},
		{"connectWebRtcTransport", map[string]any{"transportId": "nonsense"}, 404, "transportId"},
		{"pauseConsumer", map[string]any{"consumerId": ""}, 400, "consumerId"},
		{"produce", map[string]any{"transportId": "x"}, 409, "produce"},
	} {
		answer := ada.ask(one.method, one.data)
		if reason, _ := answer["errorReason"].(string); answer["errorCode"] != one.code || !strings.HasPrefix(reason, one.field) {
			t.Errorf("%s %v: %v", one.method, one.data, answer)
		}
	}
	transport := ada.join("Ada")
	answer := ada.ask("produce", map[string]any{"transportId": transport, "kind": "audio", "rtpParameters": map[string]any{"codecs": []any{map[string]any{"mimeType": "audio/opus", "payloadType": 111, "clockRate": 1}}, "encodings": []any{map[string]any{"ssrc": 1}}}})
	if reason, _ := answer["errorReason"].(string); answer["ok"] != false || !strings.Contains(reason, "rtpParameters.codecs[0]") {
		t.Errorf("%v", answer)
	}
}

func TestFramesThatAreNoneAreRefused(t *testing.T) {
	for text, field := range map[string]string{
		"": "frame", "[]": "frame", "{}": "frame", "null": "frame", `{"request":true,"method":"x"}`: "id",
		`{"request":true,"id":4294967296,"method":"x"}`: "id", `{"request":true,"id":1}`: "method",
		`{"request":true,"id":1,"method":"x","data":[1]}`: "data", `{"response":true}`: "id", `{"notification":true}`: "method",
		strings.Repeat("[", 100_000): "frame",
	} {
		if _, bad := parseFrame([]byte(text)); bad == nil || !strings.HasPrefix(asRefusal(bad.refusal).reason, field) {
			t.Errorf("%.60s: %+v", text, bad)
		}
	}
}

func FuzzFrame(f *testing.F) {
	f.Add([]byte(`{"request":true,"id":1,"method":"join","data":{"displayName":"Ada"}}`))
	f.Add([]byte(`{"response":true,"id":1,"ok":false,"errorCode":404,"errorReason":"no"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		read, bad := parseFrame(text)
		if bad != nil {
			if asRefusal(bad.refusal).reason == "" {
				t.Error("refused without a word")
			}
			return
		}
		_, _ = read.data.text("displayName", 5)
		_, _ = read.data.flag("displayName")
		_ = read.data.take("displayName", &sfu.RTPParameters{})
	})
}

func send(t *testing.T, method, address, kind, text string, headers ...string) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequest(method, address, strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if kind != "" {
		request.Header.Set("Content-Type", kind)
	}
	for at := 0; at < len(headers); at += 2 {
		request.Header.Set(headers[at], headers[at+1])
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	read, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer, string(read)
}

func sdpOf(direction, ufrag string) string {
	return "v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=group:BUNDLE 0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n" +
		"c=IN IP4 0.0.0.0\r\na=mid:0\r\na=" + direction + "\r\na=rtcp-mux\r\na=ice-ufrag:" + ufrag +
		"\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\na=setup:actpass\r\na=fingerprint:sha-256 " +
		strings.TrimSuffix(strings.Repeat("AB:", 32), ":") + "\r\na=rtpmap:111 opus/48000/2\r\na=ssrc:1111 cname:x\r\n"
}

func TestAStreamIsPublishedWatchedRestartedAndEnded(t *testing.T) {
	s, server := begin(t, "--whip-token", "secret")
	watch := server.URL + "/whep/room%20one"
	if answer, _ := send(t, "POST", watch, sdpType, sdpOf("recvonly", "wwww")); answer.StatusCode != 404 {
		t.Errorf("watching nobody: %s", answer.Status)
	}
	publish := server.URL + "/whip/room%20one?displayName=Ada"
	offer := sdpOf("sendonly", "aaaa")
	if answer, text := send(t, "POST", publish, sdpType, offer); answer.StatusCode != 401 || answer.Header.Get("WWW-Authenticate") != "Bearer" {
		t.Errorf("%s %s", answer.Status, text)
	}
	bearer := []string{"Authorization", "Bearer secret"}
	for want, one := range map[int][2]string{415: {"text/plain", offer}, 400: {sdpType, "nonsense"}, 422: {sdpType, sdpOf("recvonly", "aaaa")}} {
		if answer, text := send(t, "POST", publish, one[0], one[1], bearer...); answer.StatusCode != want || !strings.Contains(text, "detail") {
			t.Errorf("wanted %d: %s %s", want, answer.Status, text)
		}
	}
	answer, sdp := send(t, "POST", publish, sdpType, offer, bearer...)
	if answer.StatusCode != 201 || !strings.Contains(sdp, "a=recvonly") {
		t.Fatalf("%s %s", answer.Status, sdp)
	}
	resource := server.URL + answer.Header.Get("Location")
	if rooms, peers := s.census(); rooms != 1 || peers != 1 {
		t.Errorf("%d rooms, %d peers", rooms, peers)
	}
	// Both ways of watching: by an offer of the watcher, and by one of the service.
	watched, sdp := send(t, "POST", watch, sdpType, sdpOf("recvonly", "wwww"))
	if watched.StatusCode != 201 || !strings.Contains(sdp, "a=sendonly") {
		t.Errorf("%s %s", watched.Status, sdp)
	}
	offered, sdp := send(t, "POST", watch, "", "")
	if offered.StatusCode != 201 || !strings.Contains(sdp, "a=setup:actpass") {
		t.Errorf("%s %s", offered.Status, sdp)
	}
	if answer, text := send(t, "PATCH", server.URL+offered.Header.Get("Location"), sdpType, strings.Replace(sdpOf("recvonly", "vvvv"), "actpass", "active", 1)); answer.StatusCode != 204 {
		t.Errorf("%s %s", answer.Status, text)
	}
	tag := answer.Header.Get("ETag")
	same := "a=ice-ufrag:aaaa\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n"
	other := "a=ice-ufrag:bbbb\r\na=ice-pwd:abcdefghijklmnopqrstuvwx\r\n"
	for _, one := range []struct {
		fragment, match string
		want            int
	}{{same, "", 428}, {same, `"x"`, 412}, {same, tag, 204}, {other, tag, 409}, {same, "*", 400}, {other, "*", 200}} {
		headers := bearer
		if one.match != "" {
			headers = append(headers[:2:2], "If-Match", one.match)
		}
		if answer, text := send(t, "PATCH", resource, fragmentType, one.fragment, headers...); answer.StatusCode != one.want {
			t.Errorf("%s with %s: %s %s", one.fragment[:16], one.match, answer.Status, text)
		}
	}
	if answer, _ := send(t, "PUT", resource, "", "", bearer...); answer.StatusCode != 405 || answer.Header.Get("Allow") == "" {
		t.Errorf("%s", answer.Status)
	}
	if answer, _ := send(t, "DELETE", resource, "", "", bearer...); answer.StatusCode != 200 {
		t.Errorf("%s", answer.Status)
	}
	if answer, _ := send(t, "DELETE", resource, "", "", bearer...); answer.StatusCode != 404 {
		t.Errorf("%s", answer.Status)
	}
}

func TestABroadcasterPublishesPlainRTPAndIsWatched(t *testing.T) {
	_, server := begin(t)
	post := func(path string, value any, want int) map[string]any {
		t.Helper()
		var text bytes.Buffer
		if err := json.NewEncoder(&text).Encode(value); err != nil {
			t.Fatal(err)
		}
		answer, read := send(t, "POST", server.URL+path, "application/json", text.String())
		if answer.StatusCode != want {
			t.Fatalf("%s: %s %s", path, answer.Status, read)
		}
		var out map[string]any
		if err := json.Unmarshal([]byte(read), &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	able := sfu.RTPCapabilities{Codecs: []sfu.RTPCodecCapability{
		{Kind: sfu.Audio, MimeType: "audio/opus", ClockRate: 48000, Channels: 2, PreferredPayloadType: sfu.Ptr[uint8](100)},
	}}
	caster := map[string]any{"id": "cam", "displayName": "Camera", "device": map[string]any{}, "rtpCapabilities": able}
	post("/rooms/r/broadcasters", caster, 200)
	post("/rooms/r/broadcasters", caster, 409)
	transport := post("/rooms/r/broadcasters/cam/transports", map[string]any{"type": "plain"}, 200)
	if transport["port"] == 0.0 || transport["rtcpPort"] == nil {
		t.Errorf("%v", transport)
	}
	path := fmt.Sprintf("/rooms/r/broadcasters/cam/transports/%s", transport["id"])
	producer := post(path+"/producers", map[string]any{"kind": "audio", "rtpParameters": opus}, 200)["id"]
	back := post("/rooms/r/broadcasters/cam/transports", map[string]any{"type": "plain", "comedia": false, "rtcpMux": true}, 200)
	path = fmt.Sprintf("/rooms/r/broadcasters/cam/transports/%s", back["id"])
	post(path+"/connect", map[string]any{"ip": "127.0.0.1", "port": 5004}, 200)
	post(path+"/consume?producerId="+producer.(string), nil, 200)
	post(path+"/consume?producerId=0000000000000001", nil, 404)
	answer, sdp := send(t, "GET", server.URL+"/rooms/r/broadcasters/cam/sdp", "", "")
	if answer.StatusCode != 200 || !strings.Contains(sdp, "m=audio 5004 RTP/AVP ") || !strings.Contains(sdp, "opus/48000/2") {
		t.Errorf("%s %s", answer.Status, sdp)
	}
	if answer, _ := send(t, "DELETE", server.URL+"/rooms/r/broadcasters/cam", "", "", "Origin", "https://evil.example"); answer.StatusCode != 403 {
		t.Errorf("%s", answer.Status)
	}
	if answer, _ := send(t, "DELETE", server.URL+"/rooms/r/broadcasters/cam", "", ""); answer.StatusCode != 200 {
		t.Errorf("%s", answer.Status)
	}
}

func TestWhatIsMadeForAPeerThatLeftIsClosed(t *testing.T) {
	s, _ := begin(t)
	p, err := s.enter(s.ctx, hello{room: "r", peer: "ada"}, newConnection())
	if err != nil {
		t.Fatal(err)
	}
	defer s.leave(p)
	make := func() *sfu.WebRTCTransport {
		transport, err := s.makeTransport(s.ctx, p.room, consent, false)
		if err != nil {
			t.Fatal(err)
		}
		return transport
	}
	kept := make()
	if _, err := s.adopt(p, kept, false); err != nil {
		t.Fatal(err)
	}
	options := sfu.ProducerOptions{Kind: sfu.Audio, RTPParameters: sfu.RTPParameters{
		Codecs:    []sfu.RTPCodecParameters{{MimeType: "audio/opus", PayloadType: 111, ClockRate: 48000, Channels: 2}},
		Encodings: []sfu.RTPEncodingParameters{{SSRC: sfu.Ptr[uint32](1234)}},
	}}
	producer, err := kept.Produce(s.ctx, options)
	if err != nil {
		t.Fatal(err)
	}
	// As a second connection of the same peer has it depart.
	p.room.mu.Lock()
	p.room.depart(p)
	p.room.mu.Unlock()
	late := make()
	if _, err := s.adopt(p, late, false); asRefusal(err).code != 410 {
		t.Errorf("%v", err)
	}
	if err := s.publish(s.ctx, p, producer, object{}); asRefusal(err).code != 410 {
		t.Errorf("%v", err)
	}
	for name, done := range map[string]<-chan struct{}{"transport": late.Done(), "producer": producer.Done()} {
		select {
		case <-done:
		default:
			t.Errorf("the %s is open", name)
		}
	}
}

func TestABroadcasterHasABoundOfConsumersAndForgetsThem(t *testing.T) {
	one, plain, gone := &broadcaster{}, &plainEntry{}, &sfu.Consumer{}
	for range maxBroadcasterConsumers {
		if !one.reserve() {
			t.Fatal("too early")
		}
	}
	plain.consumers = []*sfu.Consumer{gone, {}}
	if one.reserve() {
		t.Error("beyond the bound")
	}
	one.release(plain, gone)
	if !one.reserve() || len(plain.consumers) != 1 || plain.consumers[0] == gone {
		t.Errorf("%v", plain.consumers)
	}
}

func TestMetricsHealthAndPageAreServed(t *testing.T) {
	_, server := begin(t, "--metrics-rooms", "5")
	ada := dial(t, server, "roomId=r&peerId=ada")
	ada.join("Ada")
	_, text := send(t, "GET", server.URL+"/metrics", "", "")
	for _, line := range []string{
		`sfu_rooms 1`, `sfu_peers 1`, `sfu_shard_objects{kind="routers",shard="0"} 1`, `sfu_room_objects{kind="peers",room="r"} 1`,
		`sfu_signalling_requests_total{code="200",method="join"} 1`, `sfu_signalling_connections 1`, `sfu_shard_cpu_seconds_total{mode="user",shard="0"}`,
	} {
		if !strings.Contains(text, line) {
			t.Errorf("%s is not in\n%s", line, text)
		}
	}
	answer, text := send(t, "GET", server.URL+"/health", "", "")
	var health map[string]any
	if err := json.Unmarshal([]byte(text), &health); err != nil || health["status"] != "ok" || health["rooms"] != 1.0 {
		t.Errorf("%s %s", answer.Status, text)
	}
	if answer, text := send(t, "GET", server.URL+"/", "", ""); text != "a page" || answer.Header.Get("Content-Security-Policy") == "" {
		t.Errorf("%s %s", answer.Status, text)
	}
	if answer, _ := send(t, "GET", server.URL+"/", "", "", "If-None-Match", `"1"`); answer.StatusCode != 304 {
		t.Errorf("%s", answer.Status)
	}
	if answer, _ := send(t, "GET", server.URL+"/..%2fgo.mod", "", ""); answer.StatusCode != 404 {
		t.Errorf("%s", answer.Status)
	}
}

func TestADrainingServiceOpensNoRooms(t *testing.T) {
	s, server := begin(t, "--max-peers", "1")
	ada := dial(t, server, "roomId=r&peerId=ada")
	ada.join("Ada")
	full := dial(t, server, "roomId=r&peerId=grace")
	if data := full.told("error"); !strings.Contains(data["errorReason"].(string), "full") {
		t.Errorf("%v", data)
	}
	soon, cancel := context.WithTimeout(s.ctx, 10*time.Millisecond)
	defer cancel()
	s.drain(soon)
	late := dial(t, server, "roomId=other&peerId=alan")
	if data := late.told("error"); data["errorCode"] != 503.0 {
		t.Errorf("%v", data)
	}
	if ada.get("getRouterRtpCapabilities", nil) == nil {
		t.Error("who is in a call may end it")
	}
}

func TestConfigurationIsReadFromFlagsAndEnvironment(t *testing.T) {
	environment := map[string]string{"SFU_RTC_IP": "127.0.0.1,::1", "SFU_MAX_PEERS": "7", "SFU_SHARDS": "3"}
	look := func(name string) (string, bool) { value, given := environment[name]; return value, given }
	config, err := readConfig([]string{"--shards", "2", "--origin", "https://a.example", "--origin", "https://b.example"}, look)
	if err != nil || config.shards != 2 || config.maxPeers != 7 || len(config.rtcIP) != 2 || len(config.origins) != 2 {
		t.Errorf("%+v %v", config, err)
	}
	for _, words := range [][]string{
		{"--log", "loud"}, {"--tls-cert", "x"}, {"--rtc-ip", "nowhere"}, {"--announced-address", "a,b"}, {"--max-rooms", "0"},
		{"more"}, {"--rtc-port", "70000"}, {"--log-format", "xml"},
	} {
		if _, err := readConfig(words, func(string) (string, bool) { return "", false }); err == nil {
			t.Errorf("%v was taken", words)
		}
	}
}
