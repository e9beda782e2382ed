package sfu

import (
	"encoding/binary"
	"errors"

	"libsfu.example/go/internal/capi"
	"libsfu.example/go/internal/fbs"
)

// pump reads replies and events until the engine has ended. It runs no code of the program, so nothing that the program
// does can keep replies from coming. Between messages it is parked in Go's netpoller: no thread waits, nothing spins.
func (c *core) pump() {
	defer close(c.pumped)
	var outcome capi.Outcome
	buffer := make([]byte, pumpBuffer)
	drained := func(uintptr) bool {
		for {
			written, needed, status := outcome.Poll(c.handle, buffer)
			switch {
			case status == capi.BufferTooSmall:
				buffer = make([]byte, needed)
			case status != capi.OK:
				return true
			case written > 0:
				c.deliver(buffer[:written])
				c.closeUnwanted()
			case needed == 0:
				return false
			}
		}
	}
	// Polling happens inside, so that a wake-up between polling and waiting is not lost.
	raw, err := c.events.SyscallConn()
	if err == nil {
		err = raw.Read(drained)
	}
	if err != nil {
		// Not seen: the descriptor is ours, and open until after the pump. Without a pump no reply would come.
		c.mu.Lock()
		c.closed = true
		waiting := c.waiting
		c.waiting = map[uint64]*waiter{}
		c.mu.Unlock()
		for _, w := range waiting {
			w.finish(nil, &Error{Code: ErrInternal, Message: err.Error()})
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
