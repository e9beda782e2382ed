"""Events: their order, who gets which, and readers that are too slow."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from room import CODECS, OPTIONS, audio

import libsfu
import libsfu.aio
from libsfu import MediaKind, schema
from libsfu._hub import Mailbox


def test_events_come_in_the_order_of_what_happened(engine: libsfu.Engine, router: libsfu.Router) -> None:
    transport = router.create_direct_transport()
    producer = transport.produce(MediaKind.AUDIO, audio())
    consumers = [transport.consume(producer, router.rtp_capabilities) for _ in range(3)]
    kinds = (schema.ProducerPaused, schema.ProducerResumed, schema.ObjectClosed)
    with engine.events(*kinds) as everything, consumers[1].events(*kinds) as one:
        for _ in range(50):
            producer.pause()
            producer.resume()
        producer.close()
        told = [everything.get(30) for _ in range(303)]
        of_one = [one.get(30) for _ in range(101)]
        with pytest.raises(libsfu.TimeoutError):
            everything.get(0)
    for consumer in consumers:
        mine = [type(event).__name__ for event in told if event.source == consumer.id]
        assert mine == ["ProducerPaused", "ProducerResumed"] * 50 + ["ObjectClosed"]
    assert of_one == [event for event in told if event.source == consumers[1].id]


def test_close_order_children_are_told_before_the_answer_is_forgotten(engine: libsfu.Engine) -> None:
    router = engine.create_router(CODECS)
    transport = router.create_direct_transport()
    producer = transport.produce(MediaKind.AUDIO, audio())
    consumer = transport.consume(producer, router.rtp_capabilities)
    with engine.events(schema.ObjectClosed) as events:
        router.close()
        told = {event.source: event.reason for event in (events.get(30) for _ in range(3))}
        with pytest.raises(libsfu.TimeoutError):
            events.get(0)
    assert set(told) == {transport.id, producer.id, consumer.id}
    assert told[transport.id] is schema.CloseReason.ROUTER_CLOSED
    for gone in (transport, producer, consumer):
        assert gone.closed


def test_a_drained_engine_tells_when_its_last_router_is_gone(engine: libsfu.Engine, router: libsfu.Router) -> None:
    with engine.events() as events:
        assert engine.drain().routers == 1
        with pytest.raises(libsfu.ClosedError, match="drains"):
            engine.create_router(CODECS)
        router.close()
        assert events.get(30) == schema.EngineDrained(source=0)


def test_the_same_events_come_under_asyncio() -> None:
    async def run() -> None:
        async with libsfu.aio.Engine(OPTIONS, call_timeout=30) as engine:
            router = await engine.create_router(CODECS)
            transport = await router.create_direct_transport()
            producer = await transport.produce(MediaKind.AUDIO, audio())
            consumer = await transport.consume(producer, router.rtp_capabilities)
            handled: list[Any] = []
            consumer.on(schema.ProducerPaused, handled.append)
            with consumer.events(schema.ProducerPaused, schema.ProducerResumed) as events:
                for _ in range(50):
                    await producer.pause()
                    await producer.resume()
                told = [await asyncio.wait_for(events.get(), 30) for _ in range(100)]
            assert [type(event).__name__ for event in told] == ["ProducerPaused", "ProducerResumed"] * 50
            assert len(handled) == 50
            assert all(event.source == consumer.id for event in handled)

    asyncio.run(run())


def test_more_events_than_a_buffer_holds_come_without_another_one_to_tell_of_them() -> None:
    async def run() -> None:
        async with libsfu.aio.Engine(OPTIONS, call_timeout=30) as engine:
            router = await engine.create_router(CODECS)
            transport = await router.create_direct_transport()
            producer = await transport.produce(MediaKind.AUDIO, audio())
            kept = [await transport.consume(producer, router.rtp_capabilities) for _ in range(1500)]
            with engine.events(schema.ObjectClosed) as events:
                # All of them at once, some hundred kilobytes, and nothing that happens behind them.
                await producer.close()
                told = {(await asyncio.wait_for(events.get(), 30)).source for _ in kept}
            assert told == {consumer.id for consumer in kept}

    asyncio.run(run())


def test_row_081_a_slow_reader_loses_telemetry_and_keeps_states() -> None:
    box = Mailbox((), None, 4)
    for number in range(4):
        box.put(schema.IceStateChanged(source=number))
    for _ in range(1000):
        box.put(schema.IceStateChanged(source=1, state=schema.IceState.CONNECTED))
        box.put(schema.TraceEvent(source=2))
        box.put(schema.IceStateChanged(source=1, state=schema.IceState.DISCONNECTED))
    box.put(schema.ObjectClosed(source=1))
    box.put(schema.EventsLost(count=5))
    assert len(box) == 7
    told = []
    while (event := box.pop()) is not None:
        told.append(event)
    assert told == [
        schema.EventsLost(count=1005),
        *(schema.IceStateChanged(source=number) for number in range(4)),
        schema.IceStateChanged(source=1, state=schema.IceState.DISCONNECTED),
        schema.ObjectClosed(source=1),
    ]
    box.put(schema.TraceEvent(source=3))
    assert box.pop() == schema.TraceEvent(source=3)


def test_row_081_neither_calls_nor_other_readers_wait_for_a_slow_one(
    engine: libsfu.Engine, router: libsfu.Router
) -> None:
    transport = router.create_direct_transport()
    producer = transport.produce(MediaKind.AUDIO, audio())
    consumer = transport.consume(producer, router.rtp_capabilities)
    with consumer.events(limit=2) as slow, consumer.events() as quick:
        for _ in range(100):
            producer.pause()
            producer.resume()
        assert [type(quick.get(30)) for _ in range(200)] == [schema.ProducerPaused, schema.ProducerResumed] * 100
        told = []
        while len(slow):
            told.append(type(slow.get(0)))
        # The first two as they were, and of what followed each kind's latest, in the order in which they happened.
        assert told == [schema.ProducerPaused, schema.ProducerResumed] * 2
    assert consumer.dump().producer_paused is False


def test_row_081_an_engine_that_nobody_reads_keeps_every_closing() -> None:
    # The reader is held up, so that the engine's own queue of events is what fills.
    with libsfu.Engine(schema.EngineOptions(shards=1, unpinned=True, event_queue=8), call_timeout=30) as engine:
        router = engine.create_router(CODECS)
        transport = router.create_direct_transport()
        producer = transport.produce(MediaKind.AUDIO, audio())
        consumers = [transport.consume(producer, router.rtp_capabilities) for _ in range(100)]
        with engine.events(schema.ObjectClosed) as closings:
            done = threading.Event()
            with engine._pump.core._draining:
                worker = threading.Thread(target=lambda: (producer.pause(), producer.close(), done.set()))
                worker.start()
                assert not done.wait(0.1)
            assert done.wait(30)
            worker.join(30)
            told = {closings.get(30).source for _ in consumers}
        assert told == {consumer.id for consumer in consumers}


def test_subscriptions_end_with_the_engine_and_when_they_are_closed(router: libsfu.Router) -> None:
    engine = router.engine
    mine = engine.events()
    with engine.events() as other:
        pass
    assert list(other) == []
    transport = router.create_direct_transport()
    router.close()
    engine.close()
    assert [event.source for event in mine] == [transport.id]
    with pytest.raises(libsfu.ClosedError):
        mine.get()
