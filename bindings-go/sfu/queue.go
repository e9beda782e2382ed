package sfu

import "sync"

// queue holds events between the pump and the handlers, which run on a goroutine of their own, one at a time and in
// order. It is bounded: beyond `limit` events the latest of each kind and object is kept, and telemetry is dropped and
// counted, until the handlers have caught up.
type queue struct {
	mu    sync.Mutex
	ready *sync.Cond
	items []item
	limit int
	// overflow holds what came since the queue was full; latest tells where a state of an object is in it.
	overflow []item
	latest   map[stateKey]int
	dropped  uint64
	stopped  bool
	all      func(Event)
	// root hears what is about the engine.
	root *object
}

type item struct {
	object *object
	event  Event
	// late: nobody heard it when it came, and now the object has a handler. The object keeps it.
	late bool
}

type stateKey struct {
	source ID
	kind   kind
	late   bool
}

// tupleOfRTCP is no kind of the schema.
const tupleOfRTCP kind = 255

func newQueue(limit int) *queue {
	q := &queue{limit: limit, latest: map[stateKey]int{}}
	q.ready = sync.NewCond(&q.mu)
	return q
}

func (q *queue) setAll(handler func(Event)) {
	q.mu.Lock()
	q.all = handler
	q.mu.Unlock()
}

func (q *queue) push(o *object, event Event) { q.put(item{object: o, event: event}) }

func (q *queue) put(one item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stopped {
		return
	}
	what := one.event.kind().group()
	if lost, told := one.event.(EventsLost); told && len(q.overflow) > 0 {
		q.dropped += lost.Count
		return
	}
	switch {
	case len(q.items) < q.limit && len(q.overflow) == 0:
		q.items = append(q.items, one)
	case what.telemetry():
		q.dropped++
	default:
		if tuple, told := one.event.(TransportTupleChanged); told && tuple.RTCP {
			// A second state beside that of RTP.
			what = tupleOfRTCP
		}
		key := stateKey{one.event.Source(), what, one.late}
		if place, held := q.latest[key]; held {
			q.overflow[place] = one
		} else {
			q.latest[key] = len(q.overflow)
			q.overflow = append(q.overflow, one)
		}
	}
	q.ready.Signal()
}

// next waits for events; false when the queue was stopped.
func (q *queue) next(batch []item) ([]item, func(Event), bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.stopped && len(q.items) == 0 && len(q.overflow) == 0 && q.dropped == 0 {
		q.ready.Wait()
	}
	if q.stopped {
		return nil, nil, false
	}
	if len(q.items) > 0 {
		batch, q.items = q.items, batch[:0]
		return batch, q.all, true
	}
	batch, q.overflow = q.overflow, nil
	clear(q.latest)
	if q.dropped > 0 {
		batch = append(batch, item{object: q.root, event: EventsLost{Count: q.dropped}})
		q.dropped = 0
	}
	return batch, q.all, true
}

// run calls handlers until the queue is stopped.
func (q *queue) run() {
	var batch []item
	for {
		var all func(Event)
		var more bool
		batch, all, more = q.next(batch)
		if !more {
			return
		}
		for at := range batch {
			if q.isStopped() {
				return
			}
			one := batch[at]
			batch[at] = item{}
			switch {
			case one.late:
				one.object.handleLate(one.event.kind())
				continue
			case one.object != nil:
				one.object.handle(one.event)
			}
			if all != nil {
				all(one.event)
			}
		}
	}
}

func (q *queue) isStopped() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.stopped
}

// stop lets no further handler start. It does not wait: it may be called by one.
func (q *queue) stop() {
	q.mu.Lock()
	q.stopped = true
	q.items, q.overflow = nil, nil
	q.ready.Broadcast()
	q.mu.Unlock()
}
