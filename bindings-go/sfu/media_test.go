package sfu

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"runtime"
	"strconv"
	"testing"
	"time"
)

func TestPacketsOfADirectTransportComeOutInOrder(t *testing.T) {
	engine := start(t, Options{})
	room := speak(t, engine)
	const count = 2000
	type header struct {
		sequence uint16
		ssrc     uint32
		length   int
	}
	got := make(chan header, count)
	room.consumer.OnRTP(func(packet []byte) {
		got <- header{binary.BigEndian.Uint16(packet[2:]), binary.BigEndian.Uint32(packet[8:]), len(packet)}
	})
	wanted := must[*ConsumerDump](t)(room.consumer.Dump(bounded(t))).SSRC
	var packets [][]byte
	for at := 0; at < count; at++ {
		packets = append(packets, rtp(111, uint16(at), uint32(at*960), 1111, 100))
		if len(packets) == 50 {
			check(t, room.producer.SendRTP(packets...))
			packets = packets[:0]
			// Half a queue at a time: what is full gives up packets.
			for range [50]int{} {
				packet := receive(t, "a packet", got)
				if packet.ssrc != wanted || packet.length < 112 {
					t.Fatalf("%+v, wanted SSRC %d", packet, wanted)
				}
			}
		}
	}
	stats := must[*Stats](t)(room.producer.Stats(bounded(t)))
	if len(stats.Streams) != 1 || stats.Streams[0].Packets != count || stats.Streams[0].PacketsLost != 0 {
		t.Errorf("%+v", stats.Streams)
	}
}

func TestReadMediaWaitsAndItsContextEndsIt(t *testing.T) {
	engine := start(t, Options{})
	room := speak(t, engine)
	buffer := make([]byte, MediaBufferSize)
	short, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if _, err := engine.ReadMedia(short, buffer); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("%v", err)
	}
	var batch MediaBatch
	batch.Add(room.producer.ID(), rtp(111, 1, 960, 1111, 20))
	batch.Add(room.producer.ID(), rtp(111, 2, 1920, 1111, 20))
	if taken := must[int](t)(engine.SendMedia(&batch)); taken != 2 || batch.Len() != 2 {
		t.Errorf("%d", taken)
	}
	count := 0
	for count < 2 {
		records := must[MediaRecords](t)(engine.ReadMedia(bounded(t), buffer))
		records.All(func(object ID, packet []byte) bool {
			if object == room.consumer.ID() {
				count++
			}
			return true
		})
	}
	room.direct.OnRTCP(func([]byte) {})
	_, err := engine.ReadMedia(bounded(t), buffer)
	expect(t, err, ErrInvalidState)
}

func TestAReaderBehindAnotherOneEndsWithItsContextAndHandlersEndReaders(t *testing.T) {
	engine := start(t, Options{})
	room := speak(t, engine)
	first := make(chan error, 1)
	go func() {
		_, err := engine.ReadMedia(bounded(t), make([]byte, MediaBufferSize))
		first <- err
	}()
	for len(engine.reading) == 0 {
		runtime.Gosched()
	}
	short, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	if _, err := engine.ReadMedia(short, make([]byte, MediaBufferSize)); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	got := make(chan struct{}, 10)
	room.consumer.OnRTP(func([]byte) { got <- struct{}{} })
	expect(t, receive(t, "the reader's end", first), ErrInvalidState)
	check(t, room.producer.SendRTP(rtp(111, 1, 960, 1111, 20)))
	receive(t, "a packet", got)
}

func TestABufferThatIsTooSmallIsSaidSo(t *testing.T) {
	engine := start(t, Options{})
	room := speak(t, engine)
	check(t, room.producer.SendRTP(rtp(111, 1, 960, 1111, 1000)))
	_, err := engine.ReadMedia(bounded(t), make([]byte, 100))
	if refused := expect(t, err, Code(103)); refused.Field != "buffer" {
		t.Errorf("%+v", refused)
	}
	must[MediaRecords](t)(engine.ReadMedia(bounded(t), make([]byte, MediaBufferSize)))
}

func TestClosingEndsReaders(t *testing.T) {
	engine := start(t, Options{})
	ended := make(chan error, 1)
	go func() {
		_, err := engine.ReadMedia(context.Background(), make([]byte, MediaBufferSize))
		ended <- err
	}()
	check(t, engine.Close())
	expect(t, receive(t, "the reader's end", ended), ErrClosed)
	_, err := engine.SendMedia(&MediaBatch{bytes: make([]byte, 12), count: 1})
	expect(t, err, ErrClosed)
}

func TestARecordThatLiesIsRefused(t *testing.T) {
	engine := start(t, Options{})
	room := speak(t, engine)
	var batch MediaBatch
	batch.Add(room.producer.ID(), rtp(111, 1, 960, 1111, 20))
	batch.bytes = append(batch.bytes, 1, 2, 3)
	taken, err := engine.SendMedia(&batch)
	expect(t, err, ErrMalformed)
	if taken != 1 {
		t.Errorf("%d", taken)
	}
}

func TestPlainRTPComesInByUDPAndGoesOutByDirectTransport(t *testing.T) {
	engine := start(t, Options{})
	ctx := bounded(t)
	router := testRouter(t, engine)
	plain := must[*PlainTransport](t)(router.CreatePlainTransport(ctx, PlainTransportOptions{ListenInfo: loopback(), Comedia: true}))
	learned := make(chan TransportTuple, 1)
	plain.OnTupleChange(func(tuple TransportTuple, _ bool) { learned <- tuple })
	producer := must[*Producer](t)(plain.Produce(ctx, opusFrom(4242)))
	direct := must[*DirectTransport](t)(router.CreateDirectTransport(ctx, DirectTransportOptions{}))
	consumer := must[*Consumer](t)(direct.Consume(ctx, ConsumerOptions{Producer: producer.ID(), RTPCapabilities: router.RTPCapabilities()}))
	got := make(chan struct{}, 100)
	consumer.OnRTP(func([]byte) { got <- struct{}{} })
	socket := must[net.Conn](t)(net.Dial("udp", net.JoinHostPort("127.0.0.1", strconv.Itoa(int(plain.Local().Port)))))
	defer socket.Close()
	for at := uint16(0); at < 10; at++ {
		must[int](t)(socket.Write(rtp(111, at, uint32(at)*960, 4242, 50)))
	}
	for range [10]int{} {
		receive(t, "a packet", got)
	}
	if tuple := receive(t, "the peer's address", learned); tuple.RemoteAddress != "127.0.0.1" {
		t.Errorf("%+v", tuple)
	}
}
