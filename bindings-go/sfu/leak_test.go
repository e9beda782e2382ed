//go:build libsfu_leaks

package sfu

import (
	"bytes"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

// lines is a log that tests read.
type lines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *lines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestLeakWarningsNameWhatWasDroppedAndNothingElse(t *testing.T) {
	log := &lines{}
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(log, nil)))
	defer slog.SetDefault(before)
	engine := start(t, Options{})
	ctx := bounded(t)
	closed := testRouter(t, engine)
	check(t, closed.Close(ctx))
	closedID := closed.ID().String()
	closed = nil
	droppedID := func() string { return testRouter(t, engine).ID().String() }()
	deadline := time.Now().Add(10 * time.Second)
	for !strings.Contains(log.String(), droppedID) {
		if time.Now().After(deadline) {
			t.Fatalf("no warning of %s:\n%s", droppedID, log.String())
		}
		runtime.GC()
		runtime.Gosched()
	}
	if strings.Contains(log.String(), closedID) || !strings.Contains(log.String(), "object=Router") {
		t.Errorf("%s", log.String())
	}
	alive(t, engine)
}
