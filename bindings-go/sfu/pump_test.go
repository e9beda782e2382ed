package sfu

import (
	"errors"
	"testing"

	"libsfu.example/go/internal/capi"
	"libsfu.example/go/internal/fbs"
)

// polls gives one status after the other, the last one for ever.
func polls(statuses ...capi.Status) func([]byte) (int, int, capi.Status) {
	return func([]byte) (int, int, capi.Status) {
		status := statuses[0]
		if len(statuses) > 1 {
			statuses = statuses[1:]
		}
		return 0, 0, status
	}
}

func TestThePumpTellsAnEndFromAFailure(t *testing.T) {
	for _, one := range []struct {
		name   string
		polled []capi.Status
		ended  bool
		failed capi.Status
	}{
		{"nothing more", []capi.Status{capi.OK}, false, capi.OK},
		{"closed", []capi.Status{capi.Closed}, true, capi.OK},
		{"freed", []capi.Status{capi.NotFound}, true, capi.OK},
		{"a bug that passes", []capi.Status{capi.Panic, capi.Panic, capi.OK}, false, capi.OK},
		{"a bug that stays", []capi.Status{capi.Panic}, true, capi.Panic},
		{"another failure", []capi.Status{capi.OK + 104}, true, capi.OK + 104},
	} {
		in := intake{poll: polls(one.polled...), deliver: func([]byte) {}}
		if ended := in.drain(); ended != one.ended || in.failed != one.failed {
			t.Errorf("%s: ended %v, failed %d", one.name, ended, in.failed)
		}
	}
}

func TestAFailedPumpLetsNobodyWait(t *testing.T) {
	engine := start(t, Options{})
	waits := []*waiter{{done: make(chan struct{})}, {done: make(chan struct{})}}
	engine.mu.Lock()
	for at, w := range waits {
		engine.waiting[1<<40+uint64(at)] = w
	}
	engine.mu.Unlock()
	engine.failAll(&Error{Code: ErrPanic})
	for _, w := range waits {
		receive(t, "an answer", w.done)
		if !errors.Is(w.err, ErrPanic) {
			t.Errorf("%v", w.err)
		}
	}
	_, err := engine.Dump(bounded(t))
	expect(t, err, ErrClosed)
}

func TestAnObjectWhoseCloseWasNotWaitedForIsTold(t *testing.T) {
	engine := start(t, Options{})
	router := testRouter(t, engine)
	w := &waiter{closes: router.object, done: make(chan struct{})}
	id := uint64(1 << 40)
	engine.mu.Lock()
	engine.waiting[id] = w
	engine.mu.Unlock()
	if !engine.abandon(id) {
		t.Fatal("it waits")
	}
	if status, why := capi.Submit(engine.handle, requestBytes(id, router.ID(), fbs.RequestBodyClose, &fbs.CloseT{})); status != capi.OK {
		t.Fatal(why)
	}
	receive(t, "the router's end", router.Done())
	if router.CloseReason() != Closed {
		t.Errorf("%q", router.CloseReason())
	}
}
