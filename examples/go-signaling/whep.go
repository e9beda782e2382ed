package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"libsfu.example/go/sfu"
)

// WHEP: each section of a watcher's offer that receives holds one producer of its kind. They are filled in the order in
// which the producers came; those that find no section wait. A section without a producer is agreed on all the same: a late
// producer takes the first free section of its kind, without a new description. `?producer=` (ids, parted by commas)
// restricts what is watched. With an empty body the service offers what is there at that moment; such a watcher gets no
// later producers.

// maxWanted ids in `?producer=`.
const maxWanted = 64

// wanted are the producers that the address asks for; nil: all.
func wanted(query url.Values) (map[sfu.ID]bool, error) {
	if !query.Has("producer") {
		return nil, nil
	}
	list := strings.Split(query.Get("producer"), ",")
	if len(list) > maxWanted {
		return nil, wrongField("producer", "more than %d ids", maxWanted)
	}
	out := map[sfu.ID]bool{}
	for _, text := range list {
		id, err := sfu.ParseID(strings.TrimSpace(text))
		if err != nil {
			return nil, wrongField("producer", "%q is no id of 16 hexadecimal digits", text)
		}
		out[id] = true
	}
	return out, nil
}

// section of a watcher.
type section struct {
	mid          string
	kind         sfu.MediaKind
	capabilities sfu.RTPCapabilities
	// producer and consumer in it; 0: none.
	producer, consumer sfu.ID
}

// watcher is what a watcher has and wants.
type watcher struct {
	*streams
	peer      *peer
	transport *sfu.WebRTCTransport
	wanted    map[sfu.ID]bool
	sections  []*section
	// seen producers in the order in which they came.
	seen []sfu.ID
	// unfit: sections and producers that have no codec in common.
	unfit map[pair]bool
}

// pair of a section, by its mid, and a producer.
type pair struct {
	mid      string
	producer sfu.ID
}

func (s *streams) whep(answer http.ResponseWriter, request *http.Request) error {
	room := request.PathValue("room")
	if err := checkText("room", room, maxID); err != nil {
		return err
	}
	asked, err := wanted(request.URL.Query())
	if err != nil {
		return err
	}
	offer := ""
	if request.ContentLength != 0 {
		if offer, _, err = body(answer, request, sdpType); err != nil {
			return err
		}
	} else if _, err := io.Copy(io.Discard, http.MaxBytesReader(answer, request.Body, maxBody)); err != nil {
		return &problem{status: http.StatusBadRequest, detail: err.Error()}
	}
	// Who watches does not open rooms.
	if s.find(room) == nil {
		return &problem{status: http.StatusNotFound, detail: fmt.Sprintf("room %q: nobody is in it; publish first", room), retry: 2}
	}
	p, err := s.enter(s.ctx, hello{room: room, peer: "whep-" + randomText(4)}, newConnection())
	if err != nil {
		return err
	}
	go discard(p.connection)
	if offer == "" {
		made, sdp, err := s.offerRoom(p, asked)
		if err != nil {
			return s.refused(p, err)
		}
		s.start(made)
		return made.created(answer, sdp)
	}
	made, sdp, watching, err := s.watchOffer(p, offer, asked)
	if err != nil {
		return s.refused(p, err)
	}
	s.start(made)
	go watching.run()
	return made.created(answer, sdp)
}

func (s *streams) watchOffer(p *peer, offer string, asked map[sfu.ID]bool) (*resource, string, *watcher, error) {
	description, err := p.room.router.ParseSDP(s.ctx, offer)
	if err != nil {
		return nil, "", nil, err
	}
	w := &watcher{streams: s, peer: p, wanted: asked, unfit: map[pair]bool{}}
	for _, one := range description.Sections {
		if one.RTPCapabilities != nil && len(w.sections) < maxSections {
			w.sections = append(w.sections, &section{mid: one.MID, kind: sfu.MediaKind(one.Media), capabilities: *one.RTPCapabilities})
		}
	}
	if len(w.sections) == 0 {
		return nil, "", nil, nothing(description, "nothing is received; offer a=recvonly")
	}
	// From here on whatever is produced wakes the watcher.
	p.room.mu.Lock()
	p.watch = make(chan struct{}, 1)
	p.room.mu.Unlock()
	if w.transport, err = s.streamTransport(s.ctx, p, true); err != nil {
		return nil, "", nil, err
	}
	if _, err := w.transport.Connect(s.ctx, description.DTLSParameters); err != nil {
		return nil, "", nil, err
	}
	w.fill()
	var sections []sfu.SDPAnswerSection
	for _, one := range w.sections {
		sections = append(sections, sfu.SDPAnswerSection{MID: one.mid, Consumer: one.consumer, Open: one.consumer == 0})
	}
	sdp, err := w.transport.CreateSDPAnswer(s.ctx, offer, sections, 1)
	if err != nil {
		return nil, "", nil, err
	}
	return newResource("whep", p, w.transport, description.ICEParameters.UsernameFragment), sdp, w, nil
}

// run fills free sections whenever something changed, until the watcher leaves.
func (w *watcher) run() {
	for {
		select {
		case <-w.peer.watch:
			w.fill()
		case <-w.peer.connection.closing:
			return
		}
	}
}

func (w *watcher) fill() {
	room := w.peer.room
	room.mu.Lock()
	offers := room.offersOfOthers(w.peer)
	for _, one := range w.sections {
		if w.peer.consumers[one.consumer] == nil {
			one.producer, one.consumer = 0, 0
		}
	}
	room.mu.Unlock()
	find := func(id sfu.ID) *offer {
		for at := range offers {
			if offers[at].producer.ID() == id {
				return &offers[at]
			}
		}
		return nil
	}
	w.seen = slices.DeleteFunc(w.seen, func(id sfu.ID) bool { return find(id) == nil })
	maps.DeleteFunc(w.unfit, func(one pair, _ bool) bool { return find(one.producer) == nil })
	for _, one := range offers {
		if !slices.Contains(w.seen, one.producer.ID()) {
			w.seen = append(w.seen, one.producer.ID())
		}
	}
	for _, id := range w.seen {
		held := slices.ContainsFunc(w.sections, func(one *section) bool { return one.producer == id })
		if one := find(id); one != nil && !held && (w.wanted == nil || w.wanted[id]) {
			w.place(*one)
		}
	}
}

// place puts a producer into the first free section that has a codec for it.
func (w *watcher) place(one offer) {
	id := one.producer.ID()
	for _, free := range w.sections {
		unfit := pair{free.mid, id}
		if free.consumer != 0 || free.kind != one.producer.Kind() || w.unfit[unfit] {
			continue
		}
		consumer, err := w.consume(w.peer, w.transport, one, sfu.ConsumerOptions{
			Producer: id, RTPCapabilities: free.capabilities, MID: free.mid, Numbering: sfu.PeerNumbering,
		}, true)
		if consumer != nil {
			free.producer, free.consumer = id, consumer.ID()
			return
		}
		if !errors.Is(err, sfu.ErrUnsupported) && !errors.Is(err, sfu.ErrInvalidArgument) {
			// Not for want of a codec: the next change may find it possible.
			return
		}
		w.unfit[unfit] = true
	}
}

// offerRoom offers what is in a room.
func (s *streams) offerRoom(p *peer, asked map[sfu.ID]bool) (*resource, string, error) {
	transport, err := s.streamTransport(s.ctx, p, false)
	if err != nil {
		return nil, "", err
	}
	p.room.mu.Lock()
	offers := p.room.offersOfOthers(p)
	p.room.mu.Unlock()
	var consumers []sfu.ID
	for _, one := range offers {
		if asked != nil && !asked[one.producer.ID()] || len(consumers) == maxSections {
			continue
		}
		options := sfu.ConsumerOptions{Producer: one.producer.ID(), RTPCapabilities: p.room.router.RTPCapabilities()}
		if consumer, _ := s.consume(p, transport, one, options, true); consumer != nil {
			consumers = append(consumers, consumer.ID())
		}
	}
	if len(consumers) == 0 {
		return nil, "", &problem{status: http.StatusConflict, detail: "nothing is published in the room that could be offered", retry: 2}
	}
	sdp, err := transport.CreateSDPOffer(s.ctx, consumers, 1)
	if err != nil {
		return nil, "", err
	}
	return newResource("whep", p, transport, ""), sdp, nil
}

// answered takes the watcher's answer to our offer: consumers of sections that it does not take are closed.
func (s *streams) answered(r *resource, answer string) error {
	p := r.peer
	description, err := p.room.router.ParseSDP(s.ctx, answer)
	if err != nil {
		return err
	}
	taken := map[string]bool{}
	for _, one := range description.Sections {
		if one.RTPCapabilities != nil {
			taken[one.MID] = true
		}
	}
	if len(taken) == 0 {
		return nothing(description, "nothing of the offer is received")
	}
	if _, err := r.transport.Connect(s.ctx, description.DTLSParameters); err != nil {
		return err
	}
	r.ice.Lock()
	r.ufrag = description.ICEParameters.UsernameFragment
	r.ice.Unlock()
	p.room.mu.Lock()
	var refused []*consumerEntry
	for id, entry := range p.consumers {
		if !taken[entry.RTPParameters().MID] {
			refused = append(refused, entry)
			delete(p.consumers, id)
		}
	}
	p.room.mu.Unlock()
	for _, entry := range refused {
		s.closed(entry.Close(s.ctx), "consumer", p.id)
	}
	return nil
}
