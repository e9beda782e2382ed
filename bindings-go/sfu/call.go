package sfu

import (
	"context"
	"sync"

	flatbuffers "github.com/google/flatbuffers/go"

	"libsfu.example/go/internal/capi"
	"libsfu.example/go/internal/fbs"
)

// waiter is one request in flight.
type waiter struct {
	done  chan struct{}
	reply *fbs.ReplyT
	err   error
	// object is what the request makes; the pump gives it its id before any event of it is looked at.
	object *object
	// closes is what the request closes; the pump tells it, also when nobody waits any more.
	closes *object
	// abandoned: nobody waits. What the request made is closed when its reply comes.
	abandoned bool
}

func (w *waiter) finish(reply *fbs.ReplyT, err error) {
	w.reply, w.err = reply, err
	close(w.done)
}

var builders = sync.Pool{New: func() any { return flatbuffers.NewBuilder(1024) }}

// submit hands a request over. On an error nothing waits.
func (c *core) submit(target ID, kind fbs.RequestBody, body any, w *waiter) (uint64, error) {
	id := c.lastRequest.Add(1)
	// Registered first: the reply may be faster than this goroutine.
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return 0, &Error{Code: ErrClosed}
	}
	c.waiting[id] = w
	c.mu.Unlock()
	builder := builders.Get().(*flatbuffers.Builder)
	builder.Reset()
	request := &fbs.RequestT{Id: id, Target: uint64(target), Body: &fbs.RequestBodyT{Type: kind, Value: body}}
	status, why := c.send(message(builder, fbs.ContentRequest, request))
	builders.Put(builder)
	if status == capi.OK {
		return id, nil
	}
	c.mu.Lock()
	delete(c.waiting, id)
	c.mu.Unlock()
	if status == capi.NotFound {
		// The engine was freed meanwhile.
		return 0, &Error{Code: ErrClosed}
	}
	return 0, refused("", status, why)
}

// request sends a request and waits for its reply. `made` is what it makes, or nil.
func (c *core) request(ctx context.Context, op string, target ID, kind fbs.RequestBody, body any, made *object) (*fbs.ReplyBodyT, error) {
	if err := ctx.Err(); err != nil {
		return nil, named(op, err)
	}
	return c.requestOf(ctx, op, target, kind, body, &waiter{object: made})
}

// requestOf is request with a waiter that says more.
func (c *core) requestOf(ctx context.Context, op string, target ID, kind fbs.RequestBody, body any, w *waiter) (*fbs.ReplyBodyT, error) {
	w.done = make(chan struct{})
	id, err := c.submit(target, kind, body, w)
	if err != nil {
		return nil, named(op, err)
	}
	select {
	case <-w.done:
	case <-ctx.Done():
		if c.abandon(id) {
			return nil, named(op, ctx.Err())
		}
		// The reply came just now.
		<-w.done
	}
	if w.err != nil {
		return nil, named(op, w.err)
	}
	if w.reply.Code != fbs.Codeok {
		return nil, &Error{Op: op, Code: Code(w.reply.Code), Field: w.reply.Field, Message: w.reply.Text}
	}
	if c.observe != nil && w.reply.Body != nil {
		c.observe(kind, w.reply.Body)
	}
	return w.reply.Body, nil
}

// abandon lets nobody wait for a reply; false if it has come. What the request makes is closed when it comes.
func (c *core) abandon(id uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	w, waits := c.waiting[id]
	if !waits {
		return false
	}
	if w.object == nil && w.closes == nil {
		delete(c.waiting, id)
	} else {
		w.abandoned = true
	}
	return true
}

// call is request for a reply of one type.
func call[T any](ctx context.Context, c *core, op string, target ID, kind fbs.RequestBody, body any) (T, error) {
	return create[T](ctx, c, op, target, kind, body, nil)
}

// create is call for a request that makes an object.
func create[T any](ctx context.Context, c *core, op string, target ID, kind fbs.RequestBody, body any, made *object) (T, error) {
	var none T
	reply, err := c.request(ctx, op, target, kind, body, made)
	if err != nil {
		return none, err
	}
	if reply != nil {
		if value, ok := reply.Value.(T); ok {
			return value, nil
		}
	}
	return none, unexpected(op, kind.String())
}

// do is call for a request whose reply says nothing more.
func (c *core) do(ctx context.Context, op string, target ID, kind fbs.RequestBody, body any) error {
	_, err := call[*fbs.DoneT](ctx, c, op, target, kind, body)
	return err
}

// createdID is the id of what a reply's body has made; 0 if it made nothing.
func createdID(body *fbs.ReplyBodyT) ID {
	if body == nil {
		return 0
	}
	switch made := body.Value.(type) {
	case *fbs.CreatedT:
		return ID(made.Id)
	case *fbs.WebRtcTransportCreatedT:
		return ID(made.Id)
	case *fbs.PlainTransportCreatedT:
		return ID(made.Id)
	case *fbs.PipeTransportCreatedT:
		return ID(made.Id)
	case *fbs.ProducerCreatedT:
		return ID(made.Id)
	case *fbs.ConsumerCreatedT:
		return ID(made.Id)
	}
	return 0
}
