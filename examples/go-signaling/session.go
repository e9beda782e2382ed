package main

import (
	"context"
	"errors"
	"time"

	"github.com/coder/websocket"
)

const (
	// requestQueue is how many requests of one peer wait for their turn.
	requestQueue = 64
	// messageRate per second may a peer send in the long run, messageBurst at once: a joiner accepts every stream of a room.
	messageRate  = 200
	messageBurst = 2000
	// pingInterval and pongPatience tell a peer that is gone from one that is silent.
	pingInterval = 15 * time.Second
	pongPatience = 30 * time.Second
	// farewell is how long sending what is queued may take once the connection is to be closed, and how long saying goodbye.
	farewell = 2 * time.Second
)

// attend runs one peer's connection from its first frame to its last; then the peer has left.
func (s *service) attend(socket *websocket.Conn, hello hello) {
	s.metrics.connections.Inc()
	defer s.metrics.connections.Dec()
	socket.SetReadLimit(maxFrame)
	c := newConnection()
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	written := make(chan struct{})
	go func() {
		defer close(written)
		s.write(ctx, socket, c)
	}()
	go s.ping(ctx, socket, c)
	p, err := s.enter(ctx, hello, c)
	if err != nil {
		refused := asRefusal(err)
		s.log.Info("refused", "room", hello.room, "peer", hello.peer, "error", refused)
		c.notify("error", object{"errorCode": refused.code, "errorReason": refused.reason})
		c.close(closeForGood, refused.reason)
	} else {
		s.converse(ctx, socket, p)
		s.leave(p)
	}
	c.close(closeNormal, "")
	<-written
	// What the peer has not read by now is its loss.
	_ = socket.CloseNow()
}

// write sends what is queued until the connection is to be closed, then says why.
func (s *service) write(ctx context.Context, socket *websocket.Conn, c *connection) {
	send := func(ctx context.Context, frame []byte) bool {
		bound, cancel := context.WithTimeout(ctx, pongPatience)
		defer cancel()
		return socket.Write(bound, websocket.MessageText, frame) == nil
	}
	for {
		select {
		case frame := <-c.outgoing:
			if !send(ctx, frame) {
				c.close(closeRetry, "the connection failed")
				return
			}
			continue
		default:
		}
		select {
		case frame := <-c.outgoing:
			if !send(ctx, frame) {
				c.close(closeRetry, "the connection failed")
				return
			}
		case <-c.closing:
			// One bound for all that is queued: who reads a frame now and then must not hold the connection for hours.
			bound, cancel := context.WithTimeout(ctx, farewell)
			defer cancel()
			for range len(c.outgoing) {
				if !send(bound, <-c.outgoing) {
					// A bound that ended between two frames leaves the socket open, and the reader waiting.
					_ = socket.CloseNow()
					return
				}
			}
			sayGoodbye(socket, c)
			return
		}
	}
}

// sayGoodbye sends why the connection closes, and waits a while for the peer to say so too.
func sayGoodbye(socket *websocket.Conn, c *connection) {
	code, reason := c.why()
	// A close frame carries at most 123 bytes of reason.
	for len(reason) > 123 {
		reason = reason[:len(reason)-1]
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = socket.Close(websocket.StatusCode(code), reason)
	}()
	select {
	case <-done:
	case <-time.After(farewell):
		// It will not say goodbye any more.
		_ = socket.CloseNow()
	}
}

func (s *service) ping(ctx context.Context, socket *websocket.Conn, c *connection) {
	ticks := time.NewTicker(pingInterval)
	defer ticks.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.closing:
			return
		case <-ticks.C:
		}
		bound, cancel := context.WithTimeout(ctx, pongPatience)
		err := socket.Ping(bound)
		cancel()
		if err != nil {
			c.close(closeRetry, "nothing was heard from the peer")
			return
		}
	}
}

// converse reads frames. Requests are handled one at a time and in order; what was under way is finished before it
// returns, so that nothing is made after the peer's departure was tidied up.
func (s *service) converse(ctx context.Context, socket *websocket.Conn, p *peer) {
	requests := make(chan frame, requestQueue)
	worked := make(chan struct{})
	go func() {
		defer close(worked)
		for request := range requests {
			s.answer(ctx, p, request)
		}
	}()
	// It ends with the connection: a wish to close is the writer's, who says goodbye, which ends the reading.
	s.read(ctx, socket, p, requests)
	close(requests)
	<-worked
}

func (s *service) read(ctx context.Context, socket *websocket.Conn, p *peer, requests chan<- frame) {
	allowance := newAllowance(time.Now())
	for {
		kind, text, err := socket.Read(ctx)
		if err != nil {
			if errors.Is(err, websocket.ErrMessageTooBig) {
				p.connection.close(int(websocket.StatusMessageTooBig), "a frame is too big")
			}
			return
		}
		if kind != websocket.MessageText {
			complain(p, wrongField("frame", "binary; expected text"))
		} else {
			s.take(p, text, requests)
		}
		if wait := allowance.spend(time.Now()); wait > 0 {
			// Further frames wait in the kernel's buffers, which slows the sender down.
			select {
			case <-time.After(wait):
			case <-p.connection.closing:
			case <-ctx.Done():
				return
			}
		}
	}
}

func (s *service) take(p *peer, text []byte, requests chan<- frame) {
	read, bad := parseFrame(text)
	switch {
	case bad != nil && bad.hasID:
		p.connection.respond(bad.id, nil, bad.refusal)
	case bad != nil:
		complain(p, bad.refusal)
	case read.request:
		select {
		case requests <- read:
		default:
			p.connection.respond(read.id, nil, refuse(429, "more than %d requests under way; wait for answers", requestQueue))
		}
	case read.response:
		p.connection.complete(read.id, read.refused)
	}
}

// complain is about what cannot be answered, since it is no request.
func complain(p *peer, err error) {
	refused := asRefusal(err)
	p.connection.notify("error", object{"errorCode": refused.code, "errorReason": refused.reason})
}

// answer handles a request and answers it.
func (s *service) answer(ctx context.Context, p *peer, request frame) {
	told, err := s.handle(ctx, p, request)
	code := 200
	if err != nil {
		refused := asRefusal(err)
		code = refused.code
		s.log.Debug("request refused", "room", p.room.name, "peer", p.id, "method", request.method, "error", refused)
	}
	s.metrics.signalled(request.method, code)
	// A request that has answered by itself says nothing more.
	if told != nil || err != nil {
		p.connection.respond(request.id, told, err)
	}
}

// allowance is a token bucket over messages.
type allowance struct {
	tokens float64
	at     time.Time
}

func newAllowance(now time.Time) *allowance { return &allowance{messageBurst, now} }

// spend takes one token; it tells how long to wait for it.
func (a *allowance) spend(now time.Time) time.Duration {
	a.tokens = min(a.tokens+now.Sub(a.at).Seconds()*messageRate, messageBurst) - 1
	a.at = now
	if a.tokens >= 0 {
		return 0
	}
	return time.Duration(-a.tokens / messageRate * float64(time.Second))
}
