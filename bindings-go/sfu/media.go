package sfu

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"libsfu.example/go/internal/capi"
)

// recordHeader is what stands before each packet: the object (8 bytes) and the length (4), little-endian.
const recordHeader = 12

// MediaBufferSize holds any packet of a direct transport, and many usual ones: what to give ReadMedia.
const MediaBufferSize = 256 * 1024

// MediaBatch collects packets for direct transports, so that one call hands over many. The zero value is ready. It keeps
// copies: packets may be written over after Add.
type MediaBatch struct {
	bytes []byte
	count int
}

// Add appends an RTP packet for a producer, or an RTCP packet for a direct transport.
func (b *MediaBatch) Add(object ID, packet []byte) {
	b.bytes = binary.LittleEndian.AppendUint64(b.bytes, uint64(object))
	b.bytes = binary.LittleEndian.AppendUint32(b.bytes, uint32(len(packet)))
	b.bytes = append(b.bytes, packet...)
	b.count++
}

// Len is the number of packets.
func (b *MediaBatch) Len() int { return b.count }

// Reset empties the batch and keeps its memory.
func (b *MediaBatch) Reset() { b.bytes, b.count = b.bytes[:0], 0 }

// SendMedia hands a batch over; it does not block. `taken` packets were queued, and the error is about the one after them. A
// queue that is full gives up its oldest packets, which the statistics count as media_queue_full.
func (e *Engine) SendMedia(batch *MediaBatch) (taken int, err error) {
	return e.sendMedia("SendMedia", batch)
}

func (c *core) sendMedia(op string, batch *MediaBatch) (int, error) {
	if batch.count == 0 {
		return 0, nil
	}
	taken, status := capi.SendMedia(c.handle, batch.bytes)
	switch status {
	case capi.OK:
		return taken, nil
	case capi.NotFound:
		return taken, &Error{Op: op, Code: ErrClosed}
	}
	return taken, &Error{Op: op, Code: Code(status)}
}

var batches = sync.Pool{New: func() any { return new(MediaBatch) }}

func (o *object) send(op string, packets [][]byte) error {
	batch := batches.Get().(*MediaBatch)
	defer batches.Put(batch)
	batch.Reset()
	for _, packet := range packets {
		batch.Add(o.id, packet)
	}
	_, err := o.core.sendMedia(op, batch)
	return err
}

// SendRTP gives packets to a producer of a direct transport. All of them cross in one call; they are copied. The payload
// type and the SSRC must be those of its parameters; what fits none is dropped and counted.
func (p *Producer) SendRTP(packets ...[]byte) error { return p.send("SendRTP", packets) }

// SendRTCP gives compound packets to a direct transport: sender reports of its producers, feedback for its consumers.
func (t *DirectTransport) SendRTCP(packets ...[]byte) error { return t.send("SendRTCP", packets) }

// MediaRecords are packets that ReadMedia read; they lie in its buffer.
type MediaRecords []byte

// All calls `yield` with each packet and the object that it is from: a consumer that sends RTP, or a direct transport for
// RTCP; it ends when `yield` returns false. From Go 1.23 on it can be ranged over:
//
//	for object, packet := range records.All { ... }
func (r MediaRecords) All(yield func(object ID, packet []byte) bool) {
	for len(r) >= recordHeader {
		object := ID(binary.LittleEndian.Uint64(r))
		end := recordHeader + int(binary.LittleEndian.Uint32(r[8:]))
		if end > len(r) || !yield(object, r[recordHeader:end:end]) {
			return
		}
		r = r[end:]
	}
}

// mediaState is a core's part in direct transports.
type mediaState struct {
	// reading holds one: who sends into it reads.
	reading chan struct{}
	outcome capi.Outcome
	stopped atomic.Bool

	sinksMu sync.RWMutex
	sinks   map[ID]func([]byte)
	// unhandled ends when the first handler was set: handlers hear all packets from then on.
	unhandled context.Context
	handled   context.CancelFunc
}

func (m *mediaState) begin() {
	m.reading = make(chan struct{}, 1)
	m.unhandled, m.handled = context.WithCancel(context.Background())
}

// ReadMedia waits for packets of direct transports and reads as many as fit into `buffer`, of all direct transports of the
// engine. It parks the goroutine, not a thread. Once a handler was set by OnRTP or OnRTCP, handlers hear all packets and
// ReadMedia is refused with ErrInvalidState; so is one that waits.
func (e *Engine) ReadMedia(ctx context.Context, buffer []byte) (MediaRecords, error) {
	both, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(e.unhandled, cancel)()
	if e.unhandled.Err() != nil {
		cancel()
	}
	records, err := e.readMedia(both, buffer)
	if err != nil && ctx.Err() == nil && both.Err() != nil && !errors.Is(err, ErrClosed) {
		return nil, &Error{Op: "ReadMedia", Code: ErrInvalidState, Message: "handlers of OnRTP and OnRTCP read the packets"}
	}
	return records, err
}

func (c *core) readMedia(ctx context.Context, buffer []byte) (MediaRecords, error) {
	const op = "ReadMedia"
	select {
	case c.reading <- struct{}{}:
	case <-ctx.Done():
		return nil, named(op, ctx.Err())
	}
	defer func() { <-c.reading }()
	if err := ctx.Err(); err != nil {
		return nil, named(op, err)
	}
	raw, err := c.media.SyscallConn()
	if err != nil {
		return nil, &Error{Op: op, Code: ErrClosed}
	}
	cancelled := make(chan struct{})
	keep := context.AfterFunc(ctx, func() {
		// Wakes the reader.
		_ = c.media.SetReadDeadline(time.Unix(1, 0))
		close(cancelled)
	})
	var written, needed int
	var status capi.Status
	err = raw.Read(func(uintptr) bool {
		written, needed, status = c.outcome.PollMedia(c.handle, buffer)
		return written > 0 || needed > 0 || status != capi.OK
	})
	if !keep() {
		<-cancelled
		// The next reader has its own deadline. An engine that was closed meanwhile has none.
		_ = c.media.SetReadDeadline(time.Time{})
	}
	switch {
	case written > 0:
		return MediaRecords(buffer[:written]), nil
	case status == capi.BufferTooSmall:
		return nil, &Error{Op: op, Code: Code(status), Field: "buffer", Message: "too small for the next packet; give MediaBufferSize"}
	case status != capi.OK || c.stopped.Load() || errors.Is(err, os.ErrClosed):
		return nil, &Error{Op: op, Code: ErrClosed}
	case ctx.Err() != nil:
		return nil, named(op, ctx.Err())
	}
	return nil, named(op, err)
}

// OnRTP sets a handler of the packets that a consumer on a direct transport sends. The packet is the handler's only while it
// runs. Handlers of media run on a goroutine of their own, one at a time, in the order of the packets; one that is slow
// costs packets, the oldest ones, and nothing else. nil takes it away.
func (c *Consumer) OnRTP(handler func(packet []byte)) { c.core.setSink(c.id, handler) }

// OnRTCP sets a handler of the compound packets that the engine sends to a direct transport's program: reports, and
// requests for key frames and retransmissions. It runs as those of Consumer.OnRTP do. nil takes it away.
func (t *DirectTransport) OnRTCP(handler func(packet []byte)) { t.core.setSink(t.id, handler) }

func (c *core) setSink(id ID, handler func([]byte)) {
	c.sinksMu.Lock()
	defer c.sinksMu.Unlock()
	if handler == nil {
		delete(c.sinks, id)
		return
	}
	if c.sinks == nil {
		c.sinks = map[ID]func([]byte){}
	}
	c.sinks[id] = handler
	if c.unhandled.Err() == nil {
		c.handled()
		go c.pumpMedia()
	}
}

func (c *core) pumpMedia() {
	buffer := make([]byte, MediaBufferSize)
	for {
		records, err := c.readMedia(context.Background(), buffer)
		if err != nil {
			// Closed: the buffer holds any packet, and nothing cancels.
			return
		}
		records.All(func(object ID, packet []byte) bool {
			c.sinksMu.RLock()
			handler := c.sinks[object]
			c.sinksMu.RUnlock()
			if c.stopped.Load() {
				return false
			}
			if handler != nil {
				handler(packet)
			}
			return true
		})
	}
}

// stopMedia wakes who reads; they are told ErrClosed.
func (c *core) stopMedia() error {
	c.stopped.Store(true)
	return c.media.Close()
}
