package sfu

import (
	"context"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"libsfu.example/go/internal/capi"
	"libsfu.example/go/internal/fbs"
)

// Engine is a running libsfu engine. Its methods may be called from any goroutine, handlers included. It must be closed.
type Engine struct {
	*core
}

// core is what goroutines and objects hold; the program holds an Engine, so that a forgotten one can be told of.
type core struct {
	handle uint64
	// files are duplicates of the engine's descriptors, known to Go's netpoller.
	events, media *os.File
	lastRequest   atomic.Uint64

	mu      sync.Mutex
	waiting map[uint64]*waiter
	objects map[ID]*object
	// closed: no request is taken any more.
	closed bool

	queue *queue
	root  *object
	// pumped is closed when the pump has ended.
	pumped chan struct{}
	once   sync.Once
	ended  error

	// unwanted objects are to be closed; the pump's own.
	unwanted []ID

	mediaState
	// send hands a message to the library; tests stand in for it.
	send func([]byte) (capi.Status, string)
	// observe is told of each call that succeeds; for tests.
	observe func(fbs.RequestBody, *fbs.ReplyBodyT)
}

const (
	// shutdownPatience is how long the shards may take to end.
	shutdownPatience = 2 * time.Second
	pumpBuffer       = 64 * 1024
)

// New starts an engine. When the machine is not fit, the error says in one line what is wrong and what to do; its code
// is one of those above 200, such as ErrMemlockTooLow.
func New(options Options) (*Engine, error) {
	if err := compatible(capi.ABIVersion(), capi.SchemaVersion()); err != nil {
		return nil, err
	}
	bytes, err := options.message()
	if err != nil {
		return nil, named("New", err)
	}
	handle, status, why := capi.EngineNew(capi.HeaderABIVersion, bytes)
	if status != capi.OK {
		return nil, &Error{Op: "New", Code: Code(status), Message: why}
	}
	c := newCore(options.eventQueue())
	c.handle = handle
	c.send = func(message []byte) (capi.Status, string) { return capi.Submit(handle, message) }
	if err := c.openFiles(); err != nil {
		capi.Free(handle)
		return nil, &Error{Op: "New", Code: ErrStartResource, Message: err.Error()}
	}
	go c.pump()
	go c.queue.run()
	engine := &Engine{c}
	watchEngine(engine)
	return engine, nil
}

// newCore is one without an engine behind it.
func newCore(events int) *core {
	c := &core{
		waiting: map[uint64]*waiter{},
		objects: map[ID]*object{},
		queue:   newQueue(events),
		pumped:  make(chan struct{}),
	}
	c.mediaState.begin()
	c.root = newObject(c)
	c.queue.root = c.root
	return c
}

// openFiles gives the netpoller descriptors of its own: the engine's are neither read nor closed by us.
func (c *core) openFiles() error {
	open := func(fd int, status capi.Status, name string) (*os.File, error) {
		if status != capi.OK {
			return nil, &Error{Code: Code(status)}
		}
		own, _, errno := syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_DUPFD_CLOEXEC, 0)
		if errno != 0 {
			return nil, os.NewSyscallError("fcntl", errno)
		}
		return os.NewFile(own, name), nil
	}
	fd, status := capi.EventFD(c.handle)
	events, err := open(fd, status, "sfu-events")
	if err != nil {
		return err
	}
	fd, status = capi.MediaFD(c.handle)
	media, err := open(fd, status, "sfu-media")
	if err != nil {
		return errors.Join(err, events.Close())
	}
	c.events, c.media = events, media
	return nil
}

// Close ends the engine: its peers are told, calls under way fail with ErrClosed, its memory is freed. It takes two
// seconds at most. After it no handler is started any more; one that is running, and may be the caller, can finish. Closing
// twice gives the same answer twice.
func (e *Engine) Close() error {
	e.once.Do(func() { e.ended = e.close() })
	return e.ended
}

func (c *core) close() error {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	status := capi.Shutdown(c.handle, uint32(shutdownPatience.Milliseconds()))
	// What was in flight is answered by now; the pump ends when it has read it.
	<-c.pumped
	c.queue.stop()
	media := c.stopMedia()
	c.mu.Lock()
	waiting, objects := c.waiting, c.objects
	c.waiting, c.objects = map[uint64]*waiter{}, map[ID]*object{}
	c.mu.Unlock()
	for _, w := range waiting {
		w.finish(nil, &Error{Code: ErrClosed})
	}
	for _, o := range objects {
		o.gone(EngineClosed)
	}
	c.root.gone(EngineClosed)
	freed := capi.Free(c.handle)
	errs := []error{c.events.Close(), media}
	for _, status := range []capi.Status{status, freed} {
		if status != capi.OK {
			errs = append(errs, &Error{Op: "Close", Code: Code(status)})
		}
	}
	return errors.Join(errs...)
}

// Left is what is left of an engine that drains.
type Left struct{ Routers, Transports, Producers, Consumers int }

// Drain lets the engine take no new router; rooms that are open go on. OnDrained tells when the last router is gone.
func (e *Engine) Drain(ctx context.Context) (Left, error) {
	reply, err := call[*fbs.DrainingT](ctx, e.core, "Drain", 0, fbs.RequestBodyDrain, &fbs.DrainT{})
	if err != nil {
		return Left{}, err
	}
	return Left{
		Routers: int(reply.Routers), Transports: int(reply.Transports),
		Producers: int(reply.Producers), Consumers: int(reply.Consumers),
	}, nil
}

// SupportedCapabilities is what libsfu supports.
func (e *Engine) SupportedCapabilities(ctx context.Context) (RTPCapabilities, error) {
	reply, err := call[*fbs.RouterCapabilitiesT](ctx, e.core, "SupportedCapabilities", 0,
		fbs.RequestBodyGetSupportedCapabilities, &fbs.GetSupportedCapabilitiesT{})
	if err != nil {
		return RTPCapabilities{}, err
	}
	return capabilitiesFrom(reply.RtpCapabilities), nil
}

// OnEvent sets a handler of all events of the engine, which hears each after the object's own handler; nil takes it away.
func (e *Engine) OnEvent(handler func(Event)) { e.queue.setAll(handler) }

// OnDrained sets a handler that is called when the engine drains and its last router is gone.
func (e *Engine) OnDrained(handler func()) {
	on(e.root, handler == nil, func(EngineDrained) { handler() })
}

// OnEventsLost sets a handler that is told how many telemetry events were dropped, since this program was slower than
// they came. State events are never lost.
func (e *Engine) OnEventsLost(handler func(count uint64)) {
	on(e.root, handler == nil, func(lost EventsLost) { handler(lost.Count) })
}

// Done is closed when the engine was closed.
func (e *Engine) Done() <-chan struct{} { return e.root.done }
