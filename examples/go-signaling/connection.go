package main

import (
	"context"
	"sync"
	"time"
)

const (
	// outgoingFrames are queued for a peer. A joiner of a full room is sent one for each stream of it at once.
	outgoingFrames = 4096
	// pendingRequests of ours may wait for a peer's answer.
	pendingRequests = 4096
	// answerPatience is how long a peer may take to answer.
	answerPatience = 20 * time.Second
)

// WebSocket close codes.
const (
	closeNormal    = 1000
	closeGoingAway = 1001
	// closeForGood: protoo clients do not come back after it.
	closeForGood = 4000
	// closeRetry: the media path failed or the peer was too slow; it may come back.
	closeRetry = 4001
)

// connection is our end of a peer's protoo connection: what is sent, what is waited for, and the wish to close. A peer that
// reads too slowly is closed.
type connection struct {
	outgoing chan []byte
	closing  chan struct{}

	mu     sync.Mutex
	closed bool
	code   int
	reason string
	last   uint32
	asked  map[uint32]chan error
}

func newConnection() *connection {
	return &connection{
		outgoing: make(chan []byte, outgoingFrames), closing: make(chan struct{}), asked: map[uint32]chan error{},
	}
}

// close wishes it to be closed; the first reason stays.
func (c *connection) close(code int, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.closed, c.code, c.reason = true, code, reason
		close(c.closing)
	}
}

func (c *connection) why() (int, string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.code, c.reason
}

func (c *connection) send(frame []byte) {
	select {
	case c.outgoing <- frame:
	default:
		c.close(closeRetry, "the peer reads its messages too slowly")
	}
}

func (c *connection) notify(method string, data any) { c.send(notificationFrame(method, data)) }

func (c *connection) respond(id uint32, data any, err error) { c.send(responseFrame(id, data, err)) }

// request asks the peer and waits until it has accepted.
func (c *connection) request(ctx context.Context, method string, data any) error {
	c.mu.Lock()
	if len(c.asked) >= pendingRequests {
		c.mu.Unlock()
		return refuse(503, "the peer does not answer its requests")
	}
	c.last++
	id, answer := c.last, make(chan error, 1)
	c.asked[id] = answer
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.asked, id)
		c.mu.Unlock()
	}()
	c.send(requestFrame(id, method, data))
	late := time.NewTimer(answerPatience)
	defer late.Stop()
	select {
	case err := <-answer:
		return err
	case <-c.closing:
		return refuse(410, "the connection closed")
	case <-ctx.Done():
		return ctx.Err()
	case <-late.C:
		return refuse(408, "%s: no answer within %s", method, answerPatience)
	}
}

// complete takes a peer's answer; one to nothing is ignored.
func (c *connection) complete(id uint32, refused *refusal) {
	c.mu.Lock()
	answer, waits := c.asked[id]
	delete(c.asked, id)
	c.mu.Unlock()
	if !waits {
		return
	}
	if refused != nil {
		answer <- refused
	} else {
		answer <- nil
	}
}
