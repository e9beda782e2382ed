package main

import (
	"slices"
	"strings"
	"sync"

	"libsfu.example/go/sfu"
)

// room is one router and who is in it. Whatever relates several peers (who has joined, who publishes what, who has a
// transport to receive on) changes under its one lock, so that each pair of publisher and subscriber meets exactly once. The
// lock is never held over a call of the engine.
type room struct {
	name     string
	router   *sfu.Router
	speakers *sfu.AudioLevelObserver

	mu    sync.Mutex
	peers map[string]*peer
	// dead: its router is gone, and whoever comes next gets a new room of this name.
	dead bool
}

// peer is one member. What is below `room` changes under the room's lock.
type peer struct {
	id         string
	connection *connection
	// replicas: each consumer is made this many times more, for load.
	replicas int
	room     *room

	joined     *introduction
	transports map[sfu.ID]*transportEntry
	producers  map[sfu.ID]*producerEntry
	consumers  map[sfu.ID]*consumerEntry
	left       bool
	// watch: it fills its sections by itself when this tells of a change; such a peer need not join.
	watch chan struct{}
}

// introduction is what join said.
type introduction struct {
	displayName string
	device      object
	// capabilities; nil: the peer receives nothing.
	capabilities *sfu.RTPCapabilities
}

type transportEntry struct {
	sfu.Transport
	consuming bool
	// at is the order in which they came.
	at int
}

// webrtc is the transport, if it is one for WebRTC.
func (t *transportEntry) webrtc() *sfu.WebRTCTransport {
	transport, _ := t.Transport.(*sfu.WebRTCTransport)
	return transport
}

type producerEntry struct {
	*sfu.Producer
	appData object
}

type consumerEntry struct {
	*sfu.Consumer
	// paused: the peer itself wants it so.
	paused bool
	// accepted by the peer.
	accepted bool
	// news is what is to be told of it once it is accepted: the latest of each method.
	news map[string]object
}

// offer is a producer that a peer is to consume.
type offer struct {
	publisher *peer
	producer  *sfu.Producer
	appData   object
}

func newPeer(id string, replicas int, c *connection) *peer {
	return &peer{
		id: id, connection: c, replicas: replicas, transports: map[sfu.ID]*transportEntry{},
		producers: map[sfu.ID]*producerEntry{}, consumers: map[sfu.ID]*consumerEntry{},
	}
}

// introduce is how others are told of it; nil before it has joined. The room is locked.
func (p *peer) introduce() object {
	if p.joined == nil {
		return nil
	}
	return object{"id": p.id, "displayName": p.joined.displayName, "device": p.joined.device}
}

// consumingTransport is the one that consumers are made on, or nil. The room is locked.
func (p *peer) consumingTransport() *transportEntry {
	var first *transportEntry
	for _, transport := range p.transports {
		if transport.consuming && (first == nil || transport.at < first.at) {
			first = transport
		}
	}
	return first
}

func (p *peer) receives() bool {
	return !p.left && p.consumingTransport() != nil &&
		(p.watch != nil || p.joined != nil && p.joined.capabilities != nil)
}

func (p *peer) offers() []offer {
	var out []offer
	for _, entry := range p.producers {
		out = append(out, offer{p, entry.Producer, entry.appData})
	}
	slices.SortFunc(out, func(a, b offer) int { return strings.Compare(a.producer.ID().String(), b.producer.ID().String()) })
	return out
}

// others are those in the room but one, by id. The room is locked.
func (r *room) others(but *peer) []*peer {
	var out []*peer
	for _, peer := range r.peers {
		if peer != but {
			out = append(out, peer)
		}
	}
	slices.SortFunc(out, func(a, b *peer) int { return strings.Compare(a.id, b.id) })
	return out
}

func (r *room) offersOfOthers(but *peer) []offer {
	var out []offer
	for _, other := range r.others(but) {
		out = append(out, other.offers()...)
	}
	return out
}

func (r *room) offersTo(p *peer) []offer {
	if !p.receives() {
		return nil
	}
	return r.offersOfOthers(p)
}

func (r *room) size() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.peers)
}

func (r *room) everybody() []*peer {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.others(nil)
}

// add takes a peer in; it tells which one of the same id it replaced.
func (r *room) add(p *peer, most int) (*peer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.peers[p.id]
	if old == nil && len(r.peers) >= most {
		return nil, refuse(503, "roomId: the room is full (%d peers)", most)
	}
	p.room = r
	r.peers[p.id] = p
	if old != nil {
		r.depart(old)
	}
	return old, nil
}

// remove lets a peer out; others are told if it had joined. It tells whether the room is empty now.
func (r *room) remove(p *peer) (empty bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.peers[p.id] == p {
		delete(r.peers, p.id)
	}
	r.depart(p)
	return len(r.peers) == 0
}

func (r *room) depart(p *peer) {
	first := !p.left
	p.left = true
	if first && p.joined != nil {
		r.notifyOthers(p, "peerClosed", object{"peerId": p.id})
	}
}

// notifyOthers tells all who have joined, but one. The room is locked.
func (r *room) notifyOthers(but *peer, method string, data object) {
	for _, other := range r.others(but) {
		if other.joined != nil {
			other.connection.notify(method, data)
		}
	}
}

// join marks a peer as joined. It tells the introductions of those who have joined before, and what it is to consume.
func (r *room) join(p *peer, joined *introduction) ([]object, []offer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.joined != nil {
		return nil, nil, refuse(409, "join: the peer has joined already")
	}
	p.joined = joined
	introductions := []object{}
	for _, other := range r.others(p) {
		if told := other.introduce(); told != nil {
			introductions = append(introductions, told)
		}
	}
	return introductions, r.offersTo(p), nil
}

// addTransport gives a peer a transport, unless it has left or has too many. It tells what it is to consume, should it have
// waited for this.
func (r *room) addTransport(p *peer, transport sfu.Transport, consuming bool) ([]offer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.left {
		return nil, hasLeft()
	}
	if len(p.transports) >= maxBroadcasterTransports {
		return nil, refuse(503, "the peer has %d transports, the most", maxBroadcasterTransports)
	}
	hadOne := p.consumingTransport() != nil
	p.transports[transport.ID()] = &transportEntry{transport, consuming, len(p.transports)}
	if !consuming || hadOne {
		return nil, nil
	}
	return r.offersTo(p), nil
}

// hasLeft is about what was made for a peer while it left.
func hasLeft() error { return refuse(410, "the peer has left") }

// addProducer gives a peer a producer, unless it has left or has too many. It tells who is to consume it.
func (r *room) addProducer(p *peer, producer *sfu.Producer, appData object) (offer, []*peer, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.left {
		return offer{}, nil, hasLeft()
	}
	if len(p.producers) >= maxProducers {
		return offer{}, nil, refuse(503, "the peer has %d producers, the most", maxProducers)
	}
	p.producers[producer.ID()] = &producerEntry{producer, appData}
	var subscribers []*peer
	for _, other := range r.others(p) {
		if other.receives() {
			subscribers = append(subscribers, other)
		}
	}
	return offer{p, producer, appData}, subscribers, nil
}

// tellConsumer tells a peer of its consumer, once it knows it.
func (r *room) tellConsumer(p *peer, id sfu.ID, method string, data object) {
	data["consumerId"] = id
	r.mu.Lock()
	entry := p.consumers[id]
	told := entry != nil && entry.accepted
	if entry != nil && !told {
		entry.news[method] = data
	}
	r.mu.Unlock()
	if told {
		p.connection.notify(method, data)
	}
}

// accept: the peer knows the consumer now. It tells whether to resume it, and sends what was kept.
func (r *room) accept(p *peer, id sfu.ID) (resume bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	entry := p.consumers[id]
	if entry == nil {
		return false
	}
	entry.accepted = true
	methods := make([]string, 0, len(entry.news))
	for method := range entry.news {
		methods = append(methods, method)
	}
	slices.Sort(methods)
	for _, method := range methods {
		p.connection.notify(method, entry.news[method])
	}
	entry.news = nil
	return !entry.paused
}
