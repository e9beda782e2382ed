package sfu

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkRoundTrip is a command and its reply on an idle engine; p50 and p99 are told beside the mean.
func BenchmarkRoundTrip(b *testing.B) {
	engine := start(b, Options{})
	router := testRouter(b, engine)
	ctx := bounded(b)
	took := make([]time.Duration, 0, b.N)
	b.ResetTimer()
	for at := 0; at < b.N; at++ {
		began := time.Now()
		if _, err := router.Summary(ctx); err != nil {
			b.Fatal(err)
		}
		took = append(took, time.Since(began))
	}
	b.StopTimer()
	sort.Slice(took, func(i, j int) bool { return took[i] < took[j] })
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1000, "us-p50")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1000, "us-p99")
}

// BenchmarkParallelCalls is how many commands pass with sixteen callers.
func BenchmarkParallelCalls(b *testing.B) {
	engine := start(b, Options{})
	router := testRouter(b, engine)
	ctx := bounded(b)
	b.SetParallelism(8)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := router.Summary(ctx); err != nil {
				b.Error(err)
				return
			}
		}
	})
}

// BenchmarkEvents is how many events a handler hears: a producer with many consumers is paused and resumed, and each
// consumer tells of it. None may be lost.
func BenchmarkEvents(b *testing.B) {
	const consumers = 100
	engine := start(b, Options{})
	room := speak(b, engine)
	ctx := bounded(b)
	var heard atomic.Uint64
	caught := make(chan struct{}, 1)
	var wanted atomic.Uint64
	count := func(bool) {
		if heard.Add(1) == wanted.Load() {
			caught <- struct{}{}
		}
	}
	room.consumer.OnProducerPause(count)
	for at := 1; at < consumers; at++ {
		consumer := must[*Consumer](b)(room.direct.Consume(ctx, ConsumerOptions{
			Producer: room.producer.ID(), RTPCapabilities: room.router.RTPCapabilities(),
		}))
		consumer.OnProducerPause(count)
	}
	b.ResetTimer()
	began := time.Now()
	for at := 0; at < b.N; at++ {
		wanted.Add(2 * consumers)
		check(b, room.producer.Pause(ctx))
		check(b, room.producer.Resume(ctx))
		<-caught
	}
	b.StopTimer()
	if heard.Load() != uint64(b.N*2*consumers) {
		b.Fatalf("%d of %d", heard.Load(), b.N*2*consumers)
	}
	b.ReportMetric(float64(heard.Load())/time.Since(began).Seconds(), "events/s")
}

// BenchmarkDirectTransport is how many packets of 1200 bytes go into a producer of this program and come out of a consumer
// of it, in batches of 50, of which four are under way, so that none is lost.
func BenchmarkDirectTransport(b *testing.B) {
	const batch, ahead = 50, 4
	engine := start(b, Options{})
	room := speak(b, engine)
	whole := make(chan struct{}, ahead+1)
	count := 0
	room.consumer.OnRTP(func([]byte) {
		if count++; count%batch == 0 {
			whole <- struct{}{}
		}
	})
	packets := make([][]byte, batch)
	for at := range packets {
		packets[at] = rtp(111, 0, 0, 1111, 1188)
	}
	sequence := uint16(0)
	before := ownCPU(b)
	b.ResetTimer()
	began := time.Now()
	batches := (b.N + batch - 1) / batch
	for sent, came := 0, 0; came < batches; {
		if sent < batches && sent-came < ahead {
			for _, packet := range packets {
				binary.BigEndian.PutUint16(packet[2:], sequence)
				binary.BigEndian.PutUint32(packet[4:], uint32(sequence)*960)
				sequence++
			}
			check(b, room.producer.SendRTP(packets...))
			sent++
			continue
		}
		select {
		case <-whole:
			came++
		case <-time.After(5 * time.Second):
			b.Fatalf("%d batches of %d came whole", came, sent)
		}
	}
	b.StopTimer()
	passed := float64(batches * batch)
	b.ReportMetric(passed/time.Since(began).Seconds(), "packets/s")
	b.ReportMetric(float64((ownCPU(b)-before).Microseconds())/passed, "cpu-us/packet")
}

// BenchmarkIdle is what an idle engine costs: CPU of the threads that are not its shards, in a second. A binding that
// spins would take a core.
func BenchmarkIdle(b *testing.B) {
	engine := start(b, Options{})
	room := speak(b, engine)
	room.consumer.OnRTP(func([]byte) {})
	awake := func() {
		if _, err := engine.Dump(bounded(b)); err != nil {
			b.Fatal(err)
		}
	}
	awake()
	for at := 0; at < b.N; at++ {
		before := ownCPU(b)
		<-time.After(time.Second)
		b.ReportMetric(float64((ownCPU(b) - before).Microseconds()), "cpu-us/s")
	}
}

// ownCPU is the CPU time of this process but for the threads of shards.
func ownCPU(b *testing.B) time.Duration {
	tasks, err := filepath.Glob("/proc/self/task/*")
	if err != nil || len(tasks) == 0 {
		b.Fatal("no threads in /proc: ", err)
	}
	var sum time.Duration
	for _, task := range tasks {
		name, err := os.ReadFile(task + "/comm")
		if err != nil || strings.HasPrefix(string(name), "sfu-") {
			// Ended just now, or the engine's own.
			continue
		}
		text, err := os.ReadFile(task + "/schedstat")
		if err != nil {
			continue
		}
		var nanoseconds int64
		if _, err := fmt.Sscan(string(text), &nanoseconds); err != nil {
			b.Fatal(strconv.Quote(string(text)), err)
		}
		sum += time.Duration(nanoseconds)
	}
	return sum
}
