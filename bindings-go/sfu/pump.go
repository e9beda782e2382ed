package sfu

import (
	"encoding/binary"
	"errors"

	"libsfu.example/go/internal/capi"
	"libsfu.example/go/internal/fbs"
)

// maxPanics in a row are forgiven; each is a bug of the library that its boundary caught, and the engine lives on.
const maxPanics = 16

// pump reads replies and events until the engine has ended. It runs no code of the program, so nothing that the program
// does can keep replies from coming. Between messages it is parked in Go's netpoller: no thread waits, nothing spins.
func (c *core) pump() {
	defer close(c.pumped)
	var outcome capi.Outcome
	in := intake{buffer: make([]byte, pumpBuffer), deliver: func(bytes []byte) {
		c.deliver(bytes)
		c.closeUnwanted()
	}}
	in.poll = func(buffer []byte) (int, int, capi.Status) { return outcome.Poll(c.handle, buffer) }
	// Polling happens inside, so that a wake-up between polling and waiting is not lost.
	raw, err := c.events.SyscallConn()
	if err == nil {
		err = raw.Read(func(uintptr) bool { return in.drain() })
	}
	switch {
	case in.failed != capi.OK:
		c.failAll(&Error{Code: Code(in.failed)})
	case err != nil:
		// Not seen: the descriptor is ours, and open until after the pump.
		c.failAll(&Error{Code: ErrInternal, Message: err.Error()})
	}
}

// failAll answers what waits, and takes no request any more: without a pump no reply would come.
func (c *core) failAll(why *Error) {
	c.mu.Lock()
	c.closed = true
	waiting := c.waiting
	c.waiting = map[uint64]*waiter{}
	c.mu.Unlock()
	for _, w := range waiting {
		// Each call writes its name into its own.
		one := *why
		w.finish(nil, &one)
	}
}

// intake empties an engine's queue of messages.
type intake struct {
	poll    func(buffer []byte) (written, needed int, status capi.Status)
	deliver func([]byte)
	buffer  []byte
	// panics in a row.
	panics int
	// failed is the status that ended it, unless the engine was closed.
	failed capi.Status
}

// drain takes all there is; true: nothing comes any more.
func (i *intake) drain() bool {
	for {
		written, needed, status := i.poll(i.buffer)
		if status != capi.Panic {
			i.panics = 0
		}
		switch {
		case status == capi.BufferTooSmall:
			i.buffer = make([]byte, needed)
		case status == capi.Closed || status == capi.NotFound:
			return true
		case status == capi.Panic && i.panics < maxPanics:
			i.panics++
		case status != capi.OK:
			i.failed = status
			return true
		case written > 0:
			i.deliver(i.buffer[:written])
		case needed == 0:
			return false
		}
	}
}

// deliver takes whole messages, one after the other.
func (c *core) deliver(bytes []byte) {
	for len(bytes) >= 4 {
		size := int(binary.LittleEndian.Uint32(bytes)) + 4
		if size > len(bytes) {
			return
		}
		content := fbs.GetSizePrefixedRootAsMessage(bytes[:size:size], 0).UnPack().Content
		bytes = bytes[size:]
		if content == nil {
			continue
		}
		switch value := content.Value.(type) {
		case *fbs.ReplyT:
			c.answer(value)
		case *fbs.EventT:
			c.happen(value)
		}
	}
}

func (c *core) answer(reply *fbs.ReplyT) {
	id := createdID(reply.Body)
	c.mu.Lock()
	w, waits := c.waiting[reply.Id]
	delete(c.waiting, reply.Id)
	if waits && !w.abandoned && w.object != nil && id != 0 {
		w.object.id = id
		c.objects[id] = w.object
	}
	c.mu.Unlock()
	if waits && w.closes != nil && (reply.Code == fbs.Codeok || reply.Code == fbs.Codenot_found) {
		w.closes.ended()
	}
	switch {
	case !waits:
		// Given up: a cancelled context.
	case w.abandoned:
		if id != 0 {
			c.unwanted = append(c.unwanted, id)
		}
	default:
		w.finish(reply, nil)
	}
}

// closeUnwanted closes what calls made that nobody waits for any more. Where a queue is full it is tried again after the
// next messages, which come: a full queue is one of requests that will be answered.
func (c *core) closeUnwanted() {
	for len(c.unwanted) > 0 {
		w := &waiter{done: make(chan struct{})}
		_, err := c.submit(c.unwanted[0], fbs.RequestBodyClose, &fbs.CloseT{}, w)
		if errors.Is(err, ErrBusy) {
			return
		}
		c.unwanted = c.unwanted[1:]
	}
}

func (c *core) happen(event *fbs.EventT) {
	typed := eventFrom(event)
	if typed == nil {
		// Of a newer library than this package.
		return
	}
	source := ID(event.Source)
	c.mu.Lock()
	o := c.objects[source]
	if source == 0 {
		o = c.root
	}
	closed, isClosed := typed.(ObjectClosed)
	if isClosed {
		delete(c.objects, source)
	}
	c.mu.Unlock()
	if o != nil && isClosed {
		o.gone(closed.Reason)
	}
	c.queue.push(o, typed)
}
