"""Packets of direct transports, and RTP headers."""

from __future__ import annotations

import asyncio
import random
import threading
from typing import Any

import pytest
from room import CODECS, OPTIONS, audio

import libsfu
import libsfu.aio
from libsfu import MediaKind, RtpPacket
from libsfu.media import MediaBatch, records

SSRC = 4711


def packets(count: int, first: int = 0) -> list[bytes]:
    return [
        RtpPacket(111, (first + n) % 65536, 960 * n % 2**32, SSRC, n.to_bytes(4, "big") + bytes(40)).build()
        for n in range(count)
    ]


def test_packets_go_through_an_engine_in_order(engine: libsfu.Engine, router: libsfu.Router) -> None:
    transport = router.create_direct_transport()
    producer = transport.produce(MediaKind.AUDIO, audio(ssrc=SSRC))
    consumer = transport.consume(producer, router.rtp_capabilities)
    sent = packets(500)
    assert engine.media.send((producer, packet) for packet in sent) == 500
    taken: list[RtpPacket] = []
    while len(taken) < 500:
        batch = engine.media.receive(timeout=30)
        taken.extend(RtpPacket.parse(packet) for packet in batch.of(consumer) if not is_rtcp(packet))
    assert [int.from_bytes(packet.payload[:4], "big") for packet in taken] == list(range(500))
    assert {packet.ssrc for packet in taken} == {consumer.rtp_parameters.encodings[0].ssrc}
    assert {packet.payload_type for packet in taken} == {consumer.rtp_parameters.codecs[0].payload_type}
    with pytest.raises(libsfu.TimeoutError):
        while True:
            engine.media.receive(timeout=0)
    assert producer.stats().streams[0].packets == 500


def is_rtcp(packet: memoryview) -> bool:
    return 192 <= packet[1] <= 223


def test_packets_go_through_an_engine_under_asyncio() -> None:
    async def run() -> None:
        async with libsfu.aio.Engine(OPTIONS, call_timeout=30) as engine:
            router = await engine.create_router(CODECS)
            transport = await router.create_direct_transport()
            producer = await transport.produce(MediaKind.AUDIO, audio(ssrc=SSRC))
            consumer = await transport.consume(producer, router.rtp_capabilities)
            reader = asyncio.ensure_future(engine.media.receive())
            await asyncio.sleep(0)
            with pytest.raises(libsfu.InvalidStateError):
                await engine.media.receive()
            engine.media.send([(producer, packet) for packet in packets(100)])
            taken = len(list((await reader).of(consumer)))
            async for batch in engine.media:
                taken += sum(not is_rtcp(packet) for packet in batch.of(consumer))
                if taken >= 100:
                    break
            assert taken == 100
            waiting = asyncio.ensure_future(engine.media.receive())
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

    asyncio.run(run())


def test_row_084_buffers_are_copied_on_entry_and_views_outlive_their_batch(
    engine: libsfu.Engine, router: libsfu.Router
) -> None:
    transport = router.create_direct_transport()
    producer = transport.produce(MediaKind.AUDIO, audio(ssrc=SSRC))
    transport.consume(producer, router.rtp_capabilities)
    given = bytearray(packets(1)[0])
    engine.media.send([(producer, memoryview(given))])
    given[:] = bytes(len(given))
    view = next(packet for _, packet in engine.media.receive(30) if not is_rtcp(packet))
    assert view.readonly and RtpPacket.parse(view).payload[:4] == bytes(4)
    kept = bytes(view)
    engine.media.send((producer, packet) for packet in packets(200, first=1))
    engine.media.receive(30)
    engine.close()
    assert bytes(view) == kept


def test_a_waiting_reader_is_told_of_the_end() -> None:
    engine = libsfu.Engine(OPTIONS)
    told: list[Any] = []
    began = threading.Event()

    def read() -> None:
        began.set()
        told.extend(engine.media)
        told.append("ended")

    reader = threading.Thread(target=read)
    reader.start()
    began.wait(30)
    engine.close()
    reader.join(30)
    assert told == ["ended"]


def test_a_batch_reads_as_arrays_without_copying() -> None:
    numpy = pytest.importorskip("numpy", reason="the package does without numpy; only this view of a batch needs it")
    batch = MediaBatch(records([(7, b"abc"), (9, b"defgh")]))
    ids, offsets, lengths, data = batch.numpy()
    assert ids.tolist() == [7, 9] and lengths.tolist() == [3, 5]
    assert bytes(data[offsets[1] : offsets[1] + lengths[1]]) == b"defgh"
    assert not data.flags.owndata and not data.flags.writeable
    assert numpy.shares_memory(data, numpy.frombuffer(batch.data, numpy.uint8))


def test_packets_that_cannot_be_are_named(engine: libsfu.Engine) -> None:
    for packet in (b"", bytes(65508)):
        with pytest.raises(libsfu.InvalidArgumentError) as refusal:
            engine.media.send([(1, b"x"), (1, packet)])
        assert refusal.value.field == "packets[1]"
    with pytest.raises(libsfu.InvalidArgumentError):
        engine.media.send([(2**64, b"x")])
    assert engine.media.send([]) == 0


def test_headers_come_back_as_they_were_built() -> None:
    luck = random.Random(3550)
    for _ in range(500):
        one = luck.random() < 0.5
        ids = range(1, 15) if one else range(1, 256)
        size = (1, 16) if one else (0, 40)
        extensions: Any = {id: luck.randbytes(luck.randint(*size)) for id in luck.sample(ids, luck.randint(0, 3))}
        packet = RtpPacket(
            luck.randrange(128),
            luck.randrange(1 << 16),
            luck.randrange(1 << 32),
            luck.randrange(1 << 32),
            luck.randbytes(luck.randrange(50)),
            marker=luck.random() < 0.5,
            csrcs=[luck.randrange(1 << 32) for _ in range(luck.randrange(16))],
            extensions=extensions,
        )
        assert RtpPacket.parse(packet.build()) == packet
    with pytest.raises(libsfu.InvalidArgumentError):
        RtpPacket(128, 0, 0, 0, b"").build()


def test_row_067_bytes_that_are_no_rtp_never_do_more_than_raise() -> None:
    luck = random.Random(5285)
    for _ in range(5000):
        data = luck.randbytes(luck.randrange(60))
        if data and luck.random() < 0.8:
            data = bytes([0x80 | data[0] & 0x3F]) + data[1:]
        try:
            RtpPacket.parse(data)
        except libsfu.InvalidArgumentError:
            pass
