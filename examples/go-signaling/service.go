package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"strconv"
	"sync"
	"time"

	"libsfu.example/go/sfu"
)

const (
	// maxID is the most characters of a room's or a peer's id.
	maxID = 64
	// maxReplicas is the most consumers made of one producer for one peer.
	maxReplicas = 50
)

// hello is what a connection's address says.
type hello struct {
	room, peer string
	replicas   int
}

func readHello(query url.Values) (hello, error) {
	out := hello{room: query.Get("roomId"), peer: query.Get("peerId")}
	for _, one := range []struct{ name, value string }{{"roomId", out.room}, {"peerId", out.peer}} {
		if !query.Has(one.name) {
			return out, wrongField(one.name, "missing in the address")
		}
		if err := checkText(one.name, one.value, maxID); err != nil {
			return out, err
		}
	}
	if query.Has("consumerReplicas") {
		number, err := strconv.Atoi(query.Get("consumerReplicas"))
		if err != nil || number < 0 || number > maxReplicas {
			return out, wrongField("consumerReplicas", "expected 0 to %d", maxReplicas)
		}
		out.replicas = number
	}
	return out, nil
}

// service is who is in which room. Placement of rooms on shards is the engine's: each new router goes to the least loaded.
type service struct {
	engine *sfu.Engine
	// server is the WebRTC server; the transports of all rooms share its ports.
	server *sfu.WebRTCServer
	// shards of the engine.
	shards  int
	config  *config
	log     *slog.Logger
	metrics *metrics
	// work is under way until its context ends: with the service.
	ctx context.Context

	// mu: rooms are made under it, so that two who open the same room get the same router.
	mu       sync.Mutex
	rooms    map[string]*room
	draining bool
	// emptied is told when a room closed.
	emptied chan struct{}
}

// census is how many rooms and peers there are.
func (s *service) census() (rooms, peers int) {
	for _, room := range s.openRooms() {
		rooms++
		peers += room.size()
	}
	return rooms, peers
}

func (s *service) openRooms() []*room {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]*room, 0, len(s.rooms))
	for _, room := range s.rooms {
		out = append(out, room)
	}
	return out
}

// find is a room that somebody is in, or nil.
func (s *service) find(name string) *room {
	s.mu.Lock()
	defer s.mu.Unlock()
	if room := s.rooms[name]; room != nil && !room.isDead() {
		return room
	}
	return nil
}

func (r *room) isDead() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dead
}

// enter takes a new peer into a room, which is made for its first.
func (s *service) enter(ctx context.Context, hello hello, connection *connection) (*peer, error) {
	p := newPeer(hello.peer, hello.replicas, connection)
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rooms[hello.room]
	if r == nil || r.isDead() {
		made, err := s.open(ctx, hello.room)
		if err != nil {
			return nil, err
		}
		r = made
		s.rooms[hello.room] = r
	}
	replaced, err := r.add(p, s.config.maxPeers)
	if err != nil {
		return nil, err
	}
	if replaced != nil {
		replaced.connection.close(closeForGood, "peerId: the same peer connected again")
	}
	s.log.Info("entered", "room", r.name, "peer", p.id)
	return p, nil
}

// open makes a room. The service is locked.
func (s *service) open(ctx context.Context, name string) (*room, error) {
	if s.draining {
		return nil, refuse(503, "roomId: the service is stopping and opens no rooms any more")
	}
	if len(s.rooms) >= s.config.maxRooms {
		return nil, refuse(503, "roomId: %d rooms are open, the most", len(s.rooms))
	}
	router, err := s.engine.CreateRouter(ctx, sfu.RouterOptions{MediaCodecs: roomCodecs()})
	if err != nil {
		return nil, err
	}
	r := &room{name: name, router: router, peers: map[string]*peer{}}
	// One speaker, everything above near silence, often enough for a face to light up while it speaks.
	r.speakers, err = router.CreateAudioLevelObserver(ctx, sfu.AudioLevelOptions{Interval: 800 * time.Millisecond})
	if err != nil {
		s.closed(router.Close(ctx), "router", name)
		return nil, err
	}
	r.speakers.OnVolumes(func(volumes []sfu.Volume) { r.tellSpeaker(volumes) })
	router.OnClose(func(reason sfu.CloseReason) {
		s.log.Error("the room's router closed", "room", name, "reason", reason)
		r.mu.Lock()
		r.dead = true
		r.mu.Unlock()
		for _, p := range r.everybody() {
			p.connection.close(closeRetry, "the room closed: "+string(reason))
		}
	})
	s.log.Info(fmt.Sprintf("opened on shard %d", router.ID().Shard()), "room", name)
	return r, nil
}

// tellSpeaker tells the peers of a room who speaks now.
func (r *room) tellSpeaker(volumes []sfu.Volume) {
	r.mu.Lock()
	defer r.mu.Unlock()
	told := object{"peerId": nil}
	if len(volumes) > 0 {
		told = nil
		for _, p := range r.peers {
			if p.producers[volumes[0].Producer] != nil {
				told = object{"peerId": p.id, "volume": volumes[0].Volume}
			}
		}
	}
	// The speaker may have just left: the next window tells who speaks now.
	if told != nil {
		r.notifyOthers(nil, "activeSpeaker", told)
	}
}

// closed notes what could not be closed: most likely it was gone already.
func (s *service) closed(err error, what, whose string) {
	if err != nil {
		s.log.Debug("not closed", "what", what, "of", whose, "error", err)
	}
}

// leave sees a peer out: its transports close, and with the last peer the room.
func (s *service) leave(p *peer) {
	r := p.room
	s.mu.Lock()
	empty := r.remove(p)
	if empty && s.rooms[r.name] == r {
		delete(s.rooms, r.name)
	}
	s.mu.Unlock()
	_, why := p.connection.why()
	s.log.Info("left", "room", r.name, "peer", p.id, "reason", why)
	r.mu.Lock()
	transports := p.transports
	p.transports, p.producers, p.consumers = map[sfu.ID]*transportEntry{}, map[sfu.ID]*producerEntry{}, map[sfu.ID]*consumerEntry{}
	r.mu.Unlock()
	for _, transport := range transports {
		s.closed(transport.Close(s.ctx), "transport", p.id)
	}
	if empty {
		s.closed(r.router.Close(s.ctx), "router", r.name)
		s.log.Info("room closed", "room", r.name)
	}
	select {
	case s.emptied <- struct{}{}:
	default:
	}
}

// drain opens no rooms any more and waits until those that are open have emptied, or the context ends.
func (s *service) drain(ctx context.Context) {
	s.mu.Lock()
	s.draining = true
	s.mu.Unlock()
	rooms, peers := s.census()
	s.log.Info(fmt.Sprintf("draining for at most %d s: rooms %d, peers %d", seconds(s.config.drain), rooms, peers))
	s.waitEmpty(ctx, s.config.drain)
}

func seconds(duration time.Duration) int { return int(duration.Seconds()) }

func (s *service) waitEmpty(ctx context.Context, limit time.Duration) {
	for {
		if rooms, _ := s.census(); rooms == 0 {
			return
		}
		select {
		case <-s.emptied:
		case <-ctx.Done():
			rooms, peers := s.census()
			s.log.Warn(fmt.Sprintf("still open after %d s: rooms %d, peers %d", seconds(limit), rooms, peers))
			return
		}
	}
}

// closeAll closes every connection and waits, for a while, until all have left.
func (s *service) closeAll(ctx context.Context) {
	for _, room := range s.openRooms() {
		for _, p := range room.everybody() {
			p.connection.close(closeGoingAway, "the service stops")
		}
	}
	s.waitEmpty(ctx, goodbye)
}

// watchTransport drops a peer whose media path failed.
func (s *service) watchTransport(p *peer, transport *sfu.WebRTCTransport) {
	drop := func(why string) {
		s.log.Info(p.id+": dropped: "+why, "room", p.room.name)
		p.connection.close(closeRetry, why)
	}
	transport.OnICEStateChange(func(state sfu.ICEState) {
		if state == sfu.ICEDisconnected {
			drop("ICE disconnected")
		}
	})
	transport.OnDTLSStateChange(func(state sfu.DTLSState, reason string) {
		if state == sfu.DTLSFailed {
			drop("DTLS failed: " + reason)
		}
	})
	transport.OnStreamLimit(func(limit int) {
		s.log.Warn("a peer brings more SSRCs than are kept", "peer", p.id, "limit", limit)
	})
	s.watchClosing(p, transport)
}

// watchClosing drops a peer whose transport was closed by something else than its leaving.
func (s *service) watchClosing(p *peer, transport interface{ OnClose(func(sfu.CloseReason)) }) {
	transport.OnClose(func(reason sfu.CloseReason) {
		p.connection.close(closeRetry, "its transport closed: "+string(reason))
	})
}

// watchProducer tells a publisher how its media arrives and what is wanted of it.
func (s *service) watchProducer(p *peer, producer *sfu.Producer) {
	id := producer.ID()
	producer.OnScore(func(scores []sfu.EncodingScore) {
		p.connection.notify("producerScore", object{"producerId": id, "score": scores})
	})
	producer.OnWantedLayers(func(layers *sfu.Layers) {
		p.connection.notify("producerWantedLayers", withLayers(object{"producerId": id}, layers))
	})
	producer.OnClose(func(sfu.CloseReason) {
		p.room.mu.Lock()
		delete(p.producers, id)
		p.room.mu.Unlock()
	})
}

// withLayers adds the layers; both are null when nothing is sent, or wanted.
func withLayers(to object, layers *sfu.Layers) object {
	to["spatialLayer"], to["temporalLayer"] = nil, nil
	if layers != nil {
		to["spatialLayer"], to["temporalLayer"] = layers.Spatial, layers.Temporal
	}
	return to
}
