package sfu

import (
	"context"
	"errors"
	"sync"

	"libsfu.example/go/internal/fbs"
)

// object is what all objects of an engine have in common; the exported ones embed it.
type object struct {
	core *core
	id   ID
	done chan struct{}

	mu       sync.Mutex
	closed   bool
	reason   CloseReason
	handlers map[kind]func(Event)
	// unheard holds the latest event of each kind that had no handler when it came.
	unheard map[kind]Event
}

func newObject(c *core) *object { return &object{core: c, done: make(chan struct{})} }

// ID names the object, also to other objects of its engine.
func (o *object) ID() ID { return o.id }

// Done is closed when the object was closed, by whomever.
func (o *object) Done() <-chan struct{} { return o.done }

// CloseReason says why the object was closed; empty while it is open.
func (o *object) CloseReason() CloseReason {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.reason
}

// Close closes the object and all that belongs to it. Closing what is closed is no error. When the context ends first the
// object is closed all the same, a little later: Done tells.
func (o *object) Close(ctx context.Context) error {
	select {
	case <-o.done:
		return nil
	default:
	}
	if err := ctx.Err(); err != nil {
		return named("Close", err)
	}
	_, err := o.core.requestOf(ctx, "Close", o.id, fbs.RequestBodyClose, &fbs.CloseT{}, &waiter{closes: o})
	if err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrClosed) {
		return err
	}
	o.ended()
	return nil
}

// ended: Close has closed it, whoever waited for that.
func (o *object) ended() {
	o.core.mu.Lock()
	delete(o.core.objects, o.id)
	o.core.mu.Unlock()
	o.gone(Closed)
}

// OnClose sets a handler that is called when something else than Close has closed the object: its transport, its router,
// the producer it consumes, a bug. nil takes it away.
func (o *object) OnClose(handler func(CloseReason)) {
	on(o, handler == nil, func(closed ObjectClosed) { handler(closed.Reason) })
}

func (o *object) gone(reason CloseReason) {
	o.core.setSink(o.id, nil)
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.closed {
		o.closed, o.reason = true, reason
		close(o.done)
	}
}

// handle is called by the queue.
func (o *object) handle(event Event) {
	what := event.kind().group()
	o.mu.Lock()
	handler := o.handlers[what]
	if handler == nil && !what.telemetry() {
		if o.unheard == nil {
			o.unheard = map[kind]Event{}
		}
		o.unheard[what] = event
	} else {
		delete(o.unheard, what)
	}
	o.mu.Unlock()
	if handler != nil {
		handler(event)
	}
}

// handleLate hears what nobody heard when it came; nothing if a later one was heard since.
func (o *object) handleLate(what kind) {
	what = what.group()
	o.mu.Lock()
	event, handler := o.unheard[what], o.handlers[what]
	if handler != nil {
		delete(o.unheard, what)
	}
	o.mu.Unlock()
	if event != nil && handler != nil {
		handler(event)
	}
}

// on sets the handler of one kind of event. It first hears the latest one that nobody has heard.
func on[E Event](o *object, remove bool, handler func(E)) {
	var none E
	onGroup(o, none.kind(), remove, func(event Event) {
		if typed, ok := event.(E); ok {
			handler(typed)
		}
	})
}

// onGroup is on for kinds that follow each other, such as paused and resumed.
func onGroup(o *object, what kind, remove bool, handler func(Event)) {
	what = what.group()
	o.mu.Lock()
	if o.handlers == nil {
		o.handlers = map[kind]func(Event){}
	}
	if remove {
		delete(o.handlers, what)
	} else {
		o.handlers[what] = handler
	}
	event := o.unheard[what]
	o.mu.Unlock()
	if event != nil && !remove {
		o.core.queue.put(item{object: o, event: event, late: true})
	}
}

// pausable is what can be paused.
type pausable struct{ *object }

// Pause lets no media pass until Resume. Pausing twice is no error.
func (p pausable) Pause(ctx context.Context) error {
	return p.core.do(ctx, "Pause", p.id, fbs.RequestBodyPause, &fbs.PauseT{})
}

// Resume undoes Pause. Consumers of video begin with a key frame, which is asked for.
func (p pausable) Resume(ctx context.Context) error {
	return p.core.do(ctx, "Resume", p.id, fbs.RequestBodyResume, &fbs.ResumeT{})
}
