package main

import (
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"libsfu.example/go/sfu"
)

const (
	// connectPatience is how long DTLS may take to connect.
	connectPatience = 30 * time.Second
	// listenEvery is how often it is looked whether the peer is heard of.
	listenEvery = 5 * time.Second
	// silence: a peer that is not heard of for so long is gone. Consent by ICE checks is not asked for: GStreamer and others
	// over libnice send none once they are connected, but keep-alives each 25 s.
	silence = 30 * time.Second
)

// resource is what a POST makes: a peer in a room, known by an address that cannot be guessed, until it is deleted or its
// connection ends.
type resource struct {
	kind      string
	id        string
	peer      *peer
	transport *sfu.WebRTCTransport
	gone      chan struct{}

	// ice: restarts are one after the other.
	ice sync.Mutex
	// tag of the ICE session (RFC 9725, section 4.3.1), and the client's user name; empty until its description came.
	tag, ufrag string
}

func newResource(kind string, p *peer, transport *sfu.WebRTCTransport, ufrag string) *resource {
	return &resource{
		kind: kind, id: randomText(16), peer: p, transport: transport, gone: make(chan struct{}), tag: randomText(8),
		ufrag: ufrag,
	}
}

// created answers 201, with the description.
func (r *resource) created(answer http.ResponseWriter, sdp string) error {
	header := answer.Header()
	header.Set("Content-Type", sdpType)
	header.Set("ETag", `"`+r.tag+`"`)
	header.Set("Location", "/"+r.kind+"/"+url.PathEscape(r.peer.room.name)+"/"+r.id)
	answer.WriteHeader(http.StatusCreated)
	// Who asked may have gone; silence ends what it asked for.
	_, _ = answer.Write([]byte(sdp))
	return nil
}

// start registers it and sees to its end.
func (s *streams) start(r *resource) {
	s.mu.Lock()
	s.resources[r.id] = r
	s.mu.Unlock()
	go func() {
		s.see(r)
		s.mu.Lock()
		delete(s.resources, r.id)
		s.mu.Unlock()
		s.leave(r.peer)
		close(r.gone)
	}()
}

// see watches it until its connection is to be closed.
func (s *streams) see(r *resource) {
	c := r.peer.connection
	select {
	case <-c.closing:
		return
	case <-s.ctx.Done():
		return
	case <-time.After(connectPatience):
	}
	dump, err := r.transport.Dump(s.ctx)
	if err != nil || dump.DTLSState != sfu.DTLSConnected {
		c.close(closeRetry, "not connected within "+connectPatience.String())
	}
	ticks := time.NewTicker(listenEvery)
	defer ticks.Stop()
	heard, since := uint64(0), time.Now()
	for {
		select {
		case <-c.closing:
			return
		case <-s.ctx.Done():
			return
		case <-ticks.C:
		}
		if now := r.heard(s.ctx); now != heard {
			heard, since = now, time.Now()
		} else if time.Since(since) >= silence {
			c.close(closeRetry, "silent for "+silence.String())
		}
	}
}

// heard is how many datagrams came from the peer's address, of whatever use.
func (r *resource) heard(ctx context.Context) uint64 {
	stats, err := r.transport.Stats(ctx)
	if err != nil || stats.Transport == nil {
		return 0
	}
	sum := stats.Transport.PacketsReceived
	for _, refused := range stats.Drops {
		sum += refused
	}
	return sum
}

// end ends it, and waits until it has left.
func (r *resource) end() {
	r.peer.connection.close(closeForGood, "its resource was deleted")
	select {
	case <-r.gone:
	case <-time.After(goodbye):
	}
}

// trickle takes a fragment: candidates, which an ICE-lite agent has no use for, or a restart (RFC 9725, section 4.3).
func (s *streams) trickle(r *resource, answer http.ResponseWriter, match string, given bool, text string) error {
	fragment, err := s.engine.ParseSDPFragment(s.ctx, text)
	if err != nil {
		return err
	}
	r.ice.Lock()
	defer r.ice.Unlock()
	restart := fragment.ICEParameters != nil && fragment.ICEParameters.UsernameFragment != r.ufrag
	any, current := strings.TrimSpace(match) == "*", matches(match, r.tag)
	switch {
	case !given:
		return &problem{status: http.StatusPreconditionRequired, detail: "If-Match: is missing; give the ETag, or * with new credentials for a restart"}
	case !any && !current:
		return &problem{status: http.StatusPreconditionFailed, detail: "If-Match: the ICE session is another one by now"}
	case any && !restart:
		return &problem{status: http.StatusBadRequest, detail: "If-Match: * is for restarts, and the fragment has no new a=ice-ufrag and a=ice-pwd"}
	case current && restart:
		return &problem{status: http.StatusConflict, detail: "a=ice-ufrag is not that of this ICE session; a restart needs If-Match: *"}
	case current:
		answer.WriteHeader(http.StatusNoContent)
		return nil
	}
	if _, err := r.transport.RestartICE(s.ctx); err != nil {
		return err
	}
	made, err := r.transport.CreateSDPFragment(s.ctx, fragment.MID)
	if err != nil {
		return err
	}
	r.tag, r.ufrag = randomText(8), fragment.ICEParameters.UsernameFragment
	s.log.Info("restarted ICE", "peer", r.peer.id)
	answer.Header().Set("Content-Type", fragmentType)
	answer.Header().Set("ETag", `"`+r.tag+`"`)
	_, _ = answer.Write([]byte(made))
	return nil
}

// matches tells whether an If-Match header names the tag (RFC 9110, section 13.1.1).
func matches(header, tag string) bool {
	for _, one := range strings.Split(header, ",") {
		if strings.TrimSpace(one) == `"`+tag+`"` {
			return true
		}
	}
	return false
}
