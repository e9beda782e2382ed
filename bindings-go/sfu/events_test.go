package sfu

import (
	"errors"
	"sync"
	"testing"
	"time"
)

// speaking is a room with a producer and its consumer.
type speaking struct {
	router   *Router
	direct   *DirectTransport
	producer *Producer
	consumer *Consumer
}

func speak(t testing.TB, engine *Engine) speaking {
	t.Helper()
	ctx := bounded(t)
	router := testRouter(t, engine)
	direct := must[*DirectTransport](t)(router.CreateDirectTransport(ctx, DirectTransportOptions{}))
	producer := must[*Producer](t)(direct.Produce(ctx, opusFrom(1111)))
	consumer := must[*Consumer](t)(direct.Consume(ctx, ConsumerOptions{
		Producer: producer.ID(), RTPCapabilities: router.RTPCapabilities(),
	}))
	return speaking{router, direct, producer, consumer}
}

func TestEventsComeInTheEnginesOrder(t *testing.T) {
	engine := start(t, Options{})
	ctx := bounded(t)
	room := speak(t, engine)
	const times = 200
	states := make(chan bool, 2*times)
	room.consumer.OnProducerPause(func(paused bool) { states <- paused })
	for range [times]int{} {
		check(t, room.producer.Pause(ctx))
		check(t, room.producer.Resume(ctx))
	}
	for at := 0; at < 2*times; at++ {
		if paused := receive(t, "a state", states); paused != (at%2 == 0) {
			t.Fatalf("event %d: paused is %v", at, paused)
		}
	}
}

func TestALateHandlerHearsTheLatestStateFirst(t *testing.T) {
	engine := start(t, Options{})
	ctx := bounded(t)
	room := speak(t, engine)
	seen := make(chan Event, 100)
	engine.OnEvent(func(event Event) { seen <- event })
	check(t, room.producer.Pause(ctx))
	check(t, room.producer.Resume(ctx))
	check(t, room.producer.Pause(ctx))
	for count := 0; count < 3; {
		switch receive(t, "an event", seen).(type) {
		case ProducerPaused, ProducerResumed:
			count++
		}
	}
	states := make(chan bool, 10)
	room.consumer.OnProducerPause(func(paused bool) { states <- paused })
	if !receive(t, "the state of before", states) {
		t.Error("not the latest state")
	}
	room.consumer.OnProducerPause(nil)
	check(t, room.producer.Resume(ctx))
	for {
		if _, resumed := receive(t, "the engine's handler hears it", seen).(ProducerResumed); resumed {
			break
		}
	}
	if len(states) != 0 {
		t.Error("a handler that was taken away was called")
	}
}

// TestRow075AndH25HandlersMayDoAnything: each handler closes its object, its router and at last the engine.
func TestRow075AndH25HandlersMayDoAnything(t *testing.T) {
	for _, closing := range []string{"consumer", "producer", "transport", "router", "engine", "everything", "itself"} {
		t.Run(closing, func(t *testing.T) {
			engine := start(t, Options{})
			ctx := bounded(t)
			room := speak(t, engine)
			done := make(chan error, 1)
			room.consumer.OnProducerPause(func(bool) {
				var err error
				switch closing {
				case "consumer":
					err = room.consumer.Close(ctx)
				case "producer":
					err = room.producer.Close(ctx)
				case "transport":
					err = room.direct.Close(ctx)
				case "router":
					err = room.router.Close(ctx)
				case "engine":
					err = engine.Close()
				case "everything":
					_, other := engine.CreateRouter(ctx, RouterOptions{MediaCodecs: testCodecs()})
					err = errors.Join(other, room.consumer.Close(ctx), room.router.Close(ctx), engine.Close(), engine.Close())
				case "itself":
					room.consumer.OnProducerPause(nil)
				}
				done <- err
			})
			if err := room.producer.Pause(ctx); err != nil && !errors.Is(err, ErrClosed) {
				t.Fatal(err)
			}
			check(t, receive(t, "the handler's end", done))
		})
	}
}

func TestRow075AHandlerThatSleepsHoldsNoReplyBack(t *testing.T) {
	engine := start(t, Options{})
	ctx := bounded(t)
	room := speak(t, engine)
	entered, leave := make(chan struct{}), make(chan struct{})
	var once sync.Once
	room.consumer.OnProducerPause(func(bool) { once.Do(func() { close(entered); <-leave }) })
	check(t, room.producer.Pause(ctx))
	receive(t, "the handler runs", entered)
	for range [100]int{} {
		alive(t, engine)
	}
	close(leave)
}

func TestRow077ClosingWithWorkInFlightEndsAllOfIt(t *testing.T) {
	engine := start(t, Options{})
	ctx := bounded(t)
	router := testRouter(t, engine)
	var group sync.WaitGroup
	began := make(chan struct{}, 1000)
	for range [100]int{} {
		group.Add(1)
		go func() {
			defer group.Done()
			for {
				began <- struct{}{}
				if _, err := router.CreateDirectTransport(ctx, DirectTransportOptions{}); err != nil {
					if !errors.Is(err, ErrClosed) && !errors.Is(err, ErrBusy) {
						t.Error(err)
					}
					if errors.Is(err, ErrClosed) {
						return
					}
				}
				select {
				case <-began:
				default:
				}
			}
		}()
	}
	receive(t, "calls are under way", began)
	start := time.Now()
	check(t, engine.Close())
	if took := time.Since(start); took > 4*time.Second {
		t.Errorf("closing took %s", took)
	}
	group.Wait()
	check(t, engine.Close())
}

func TestRow077NoHandlerStartsAfterClose(t *testing.T) {
	engine := start(t, Options{})
	ctx := bounded(t)
	room := speak(t, engine)
	var mu sync.Mutex
	closed, late := false, 0
	engine.OnEvent(func(Event) {
		mu.Lock()
		defer mu.Unlock()
		if closed {
			late++
		}
	})
	for range [50]int{} {
		check(t, room.producer.Pause(ctx))
		check(t, room.producer.Resume(ctx))
	}
	check(t, engine.Close())
	mu.Lock()
	closed = true
	mu.Unlock()
	engine.queue.push(engine.root, EngineDrained{})
	mu.Lock()
	defer mu.Unlock()
	// One may have been running.
	if late > 1 {
		t.Errorf("%d handlers after Close", late)
	}
}

func TestRow081ASlowHandlerLosesNoLastStateAndIsToldWhatItLost(t *testing.T) {
	q := newQueue(10)
	root := newObject(&core{queue: q})
	q.root = root
	told := make(chan Event, 1000)
	block := make(chan struct{})
	q.setAll(func(event Event) { <-block; told <- event })
	go q.run()
	// More than the queue holds: pauses of many consumers, each several times, and telemetry in between.
	const consumers, rounds = 50, 20
	for round := 0; round < rounds; round++ {
		for consumer := ID(1); consumer <= consumers; consumer++ {
			q.push(nil, Trace{Object: consumer})
			if round%2 == 0 {
				q.push(nil, ProducerPaused{consumer})
			} else {
				q.push(nil, ProducerResumed{consumer})
			}
		}
	}
	q.push(nil, ObjectClosed{Object: 1})
	q.mu.Lock()
	if held := len(q.items) + len(q.overflow); held > 10+10+consumers+1 {
		t.Errorf("%d events are held", held)
	}
	q.mu.Unlock()
	close(block)
	last, lost, traces := map[ID]Event{}, uint64(0), 0
	for lost == 0 {
		switch event := receive(t, "an event", told).(type) {
		case EventsLost:
			lost = event.Count
		case Trace:
			traces++
		default:
			last[event.Source()] = event
		}
	}
	q.stop()
	if lost+uint64(traces) != consumers*rounds {
		t.Errorf("%d lost and %d told of %d", lost, traces, consumers*rounds)
	}
	for consumer := ID(2); consumer <= consumers; consumer++ {
		if _, resumed := last[consumer].(ProducerResumed); !resumed {
			t.Errorf("consumer %d ends with %#v", consumer, last[consumer])
		}
	}
	if _, closed := last[1].(ObjectClosed); !closed {
		t.Errorf("%#v", last[1])
	}
}
