"""Objects and engines from their making to their end, in every order that a program may try."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import threading
import time
import warnings
from typing import Any, Callable

import pytest
from room import CODECS, DTLS, LOOPBACK, OPTIONS, audio, video

import libsfu
import libsfu.aio
from libsfu import Code, MediaKind, schema


def consumed(router: libsfu.Router) -> tuple[libsfu.DirectTransport, libsfu.Producer, libsfu.Consumer]:
    transport = router.create_direct_transport()
    producer = transport.produce(MediaKind.AUDIO, audio())
    return transport, producer, transport.consume(producer, router.rtp_capabilities)


def test_row_070_ids_of_nobody_are_not_found(engine: libsfu.Engine, router: libsfu.Router) -> None:
    transport, producer, consumer = consumed(router)
    consumer.close()
    for id in (consumer.id, 1, 2**64 - 1, router.id ^ 1 << 63, producer.id + 1):
        with pytest.raises(libsfu.NotFoundError) as refusal:
            engine.request(id, schema.GetDump())
        assert isinstance(refusal.value, LookupError)
    with pytest.raises(libsfu.NotFoundError):
        transport.consume(consumer.id, router.rtp_capabilities)
    for id in (-1, 2**64, "7", None, True):
        with pytest.raises(libsfu.InvalidArgumentError):
            engine.request(id, schema.GetDump())  # type: ignore[arg-type]


def test_row_071_a_second_producer_of_an_ssrc_is_refused_and_the_first_stays(router: libsfu.Router) -> None:
    transport = router.create_direct_transport()
    first = transport.produce(MediaKind.AUDIO, audio(ssrc=77))
    with pytest.raises(libsfu.AlreadyExistsError):
        transport.produce(MediaKind.AUDIO, audio(ssrc=77))
    assert first.dump().ssrcs == [77] and transport.dump().producers == [first.id]


def test_row_072_closing_twice_and_child_after_parent_is_no_error(router: libsfu.Router) -> None:
    transport, producer, consumer = consumed(router)
    consumer.close()
    consumer.close()
    transport.close()
    assert producer.closed and transport.closed and not router.closed
    producer.close()
    router.close()
    transport.close()
    with pytest.raises(libsfu.NotFoundError):
        producer.pause()


def test_an_object_that_could_not_be_closed_is_open(
    router: libsfu.Router, engine: libsfu.Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(target: int, body: Any) -> Any:
        raise libsfu.BusyError("a queue is full", code=Code.BUSY)

    with monkeypatch.context() as patched:
        patched.setattr(engine, "_call", busy)
        with pytest.raises(libsfu.BusyError):
            router.close()
    assert not router.closed and router.dump().id == router.id
    router.close()
    assert router.closed


def test_row_072_closing_while_children_are_made(engine: libsfu.Engine) -> None:
    for _ in range(10):
        router = engine.create_router(CODECS)
        told: list[Any] = []

        def make(router: libsfu.Router = router, told: list[Any] = told) -> None:
            try:
                # Bounded, since on a busy machine the closing thread may get its turn late.
                for _ in range(500):
                    router.create_direct_transport()
            except libsfu.NotFoundError as error:
                told.append(error)

        threads = [threading.Thread(target=make) for _ in range(4)]
        for thread in threads:
            thread.start()
        router.close()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
        assert len(told) <= 4
        with pytest.raises(libsfu.NotFoundError):
            router.create_direct_transport()
    assert engine.dump().shards[0].routers == []


def test_row_073_a_closed_engine_says_so_and_two_engines_do_not_meet() -> None:
    with libsfu.Engine(OPTIONS) as one, libsfu.Engine(OPTIONS) as other:
        kept = other.create_router(CODECS)
        router = one.create_router(CODECS)
        one.close()
        one.close()
        assert one.closed and router.closed and not other.closed
        for call in (one.dump, router.dump, lambda: one.create_router(CODECS), lambda: one.media.receive(1)):
            with pytest.raises(libsfu.ClosedError):
                call()  # type: ignore[operator]
        with pytest.raises(libsfu.ClosedError):
            one.on(schema.ObjectClosed, print)
        assert list(one.events()) == []
        router.close()
        assert kept.dump().id == kept.id
        closer = threading.Thread(target=other.close)
        closer.start()
        closer.join(30)
        assert other.closed


def test_row_074_thirty_two_threads_share_an_engine(engine: libsfu.Engine) -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(10):
                with engine.create_router(CODECS) as router:
                    assert router.dump().id == router.id
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert engine.dump().shards[0].routers == []


def test_row_074_a_python_signal_handler_may_call(engine: libsfu.Engine) -> None:
    # Python runs it between two steps of the main thread, which may be in a call of its own.
    seen: list[str] = []
    before = signal.signal(signal.SIGUSR1, lambda *_: seen.append(engine.dump().version))
    try:
        for _ in range(20):
            os.kill(os.getpid(), signal.SIGUSR1)
            engine.dump()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert seen and set(seen) == {libsfu.version()}


def test_row_079_calls_out_of_their_order(router: libsfu.Router) -> None:
    transport = router.create_webrtc_transport(listen_infos=[LOOPBACK])
    transport.connect(DTLS)
    with pytest.raises(libsfu.InvalidStateError):
        transport.connect(DTLS)
    first, second = transport.restart_ice(), transport.restart_ice()
    assert first != second
    plain = router.create_plain_transport(LOOPBACK, comedia=True)
    with pytest.raises(libsfu.Error) as refusal:
        plain.connect("127.0.0.1", 9)
    assert refusal.value.field
    transport.close()
    with pytest.raises(libsfu.NotFoundError):
        transport.connect(DTLS)
    _, producer, _ = consumed(router)
    for _ in range(300):
        producer.pause()
        producer.pause()
        producer.resume()
    assert not producer.dump().paused


def test_row_080_a_consumer_ends_with_its_producer_and_is_told_why(
    engine: libsfu.Engine, router: libsfu.Router
) -> None:
    transport, producer, consumer = consumed(router)
    with consumer.events() as events:
        producer.close()
        told = events.get(timeout=30)
    assert told == schema.ObjectClosed(source=consumer.id, reason=schema.CloseReason.PRODUCER_CLOSED)
    assert consumer.closed and consumer.close_reason is schema.CloseReason.PRODUCER_CLOSED
    assert not transport.closed and engine.find(consumer.id) is None


# ---- H25: what a handler closes ----


def provoke(name: str, router: libsfu.Router, transport: Any, producer: Any, consumer: Any) -> Any:
    """Makes an event of that kind happen; tells its source."""
    if name == "ObjectClosed":
        producer.close()
    elif name == "ProducerPaused":
        producer.pause()
    elif name == "ProducerResumed":
        producer.pause()
        producer.resume()
    elif name == "EngineDrained":
        router.engine.drain()
        router.close()
    else:
        raise AssertionError(name)


@pytest.mark.parametrize("name", ["ObjectClosed", "ProducerPaused", "ProducerResumed", "EngineDrained"])
@pytest.mark.parametrize("what", ["object", "parent", "engine"])
def test_h25_a_handler_may_close_the_object_its_parent_and_the_engine(name: str, what: str) -> None:
    with libsfu.Engine(OPTIONS, call_timeout=30) as engine:
        router = engine.create_router(CODECS)
        transport, producer, consumer = consumed(router)
        ran = threading.Event()

        def handler(event: Any) -> None:
            {"object": consumer, "parent": transport, "engine": engine}[what].close()
            ran.set()

        engine.on(getattr(schema, name), handler)
        try:
            provoke(name, router, transport, producer, consumer)
        except (libsfu.ClosedError, libsfu.NotFoundError):
            pass  # The handler was faster than the rest of what provokes it.
        assert ran.wait(30)


@pytest.mark.parametrize("what", ["object", "parent", "engine"])
def test_h25_an_asynchronous_handler_may_close_them_too(what: str) -> None:
    async def run() -> None:
        async with libsfu.aio.Engine(OPTIONS, call_timeout=30) as engine:
            router = await engine.create_router(CODECS)
            transport = await router.create_direct_transport()
            producer = await transport.produce(MediaKind.AUDIO, audio())
            consumer = await transport.consume(producer, router.rtp_capabilities)
            ran = asyncio.Event()

            async def handler(event: Any) -> None:
                await {"object": consumer, "parent": transport, "engine": engine}[what].close()
                ran.set()

            engine.on(schema.ProducerPaused, handler)
            await producer.pause()
            await asyncio.wait_for(ran.wait(), 30)

    asyncio.run(run())


@pytest.mark.loud
def test_row_075_a_handler_that_raises_is_logged_and_the_next_one_runs(
    router: libsfu.Router, caplog: pytest.LogCaptureFixture
) -> None:
    _, producer, consumer = consumed(router)
    ran = threading.Event()

    def wrong(event: Any) -> None:
        raise RuntimeError("the handler's own mistake")

    consumer.on(schema.ProducerPaused, wrong)
    consumer.on(schema.ProducerPaused, lambda event: ran.set())
    producer.pause()
    assert ran.wait(30)
    assert "a handler of ProducerPaused failed" in caplog.text and "own mistake" in caplog.text


def test_row_075_a_handler_that_takes_its_time_delays_nobody_else(engine: libsfu.Engine, router: libsfu.Router) -> None:
    _, producer, consumer = consumed(router)
    began, go_on = threading.Event(), threading.Event()

    def slow(event: Any) -> None:
        began.set()
        go_on.wait(30)

    consumer.on(schema.ProducerPaused, slow)
    producer.pause()
    assert began.wait(30)
    with consumer.events() as events:
        producer.resume()
        assert isinstance(events.get(30), schema.ProducerResumed)
    assert engine.dump().version
    go_on.set()


def test_row_075_a_handler_that_is_cancelled_is_called_no_more(router: libsfu.Router) -> None:
    _, producer, consumer = consumed(router)
    seen: list[Any] = []
    last = threading.Event()
    cancelled = consumer.on(schema.ProducerPaused, seen.append)
    cancelled.cancel()
    consumer.on(schema.ProducerResumed, lambda event: last.set())
    producer.pause()
    producer.resume()
    assert last.wait(30) and seen == []


# ---- Shutting down ----


def ended(calls: list[Callable[[], Any]]) -> list[threading.Thread]:
    threads = [threading.Thread(target=call) for call in calls]
    for thread in threads:
        thread.start()
    return threads


def test_row_077_shutdown_with_work_in_flight_answers_all_of_it() -> None:
    engine = libsfu.Engine(OPTIONS)
    router = engine.create_router(CODECS)
    told: list[Any] = []
    running = threading.Barrier(9)

    def work() -> None:
        running.wait()
        try:
            while True:
                router.dump()
        except libsfu.Error as error:
            told.append(error)

    threads = ended([work] * 8)
    subscription = engine.events()
    reader = threading.Thread(target=lambda: told.append(list(subscription)))
    reader.start()
    running.wait()
    began = time.monotonic()
    engine.close()
    for thread in [*threads, reader]:
        thread.join(30)
    assert len(told) == 9
    assert {type(t) for t in told} <= {libsfu.ClosedError, libsfu.NotFoundError, list}
    assert time.monotonic() - began < 30


def test_row_077_several_threads_and_a_handler_may_close_at_once() -> None:
    engine = libsfu.Engine(OPTIONS)
    router = engine.create_router(CODECS)
    _, producer, consumer = consumed(router)
    closed = threading.Event()

    def handler(event: Any) -> None:
        engine.close()
        closed.set()

    consumer.on(schema.ProducerPaused, handler)
    producer.pause()
    for thread in ended([engine.close] * 8):
        thread.join(30)
    assert closed.wait(30) and engine.closed


def test_row_077_no_handler_begins_after_close_returned(router: libsfu.Router, engine: libsfu.Engine) -> None:
    _, producer, consumer = consumed(router)
    seen: list[Any] = []
    consumer.on(schema.ProducerPaused, seen.append)
    consumer.on(schema.ProducerResumed, seen.append)
    for _ in range(200):
        producer.pause()
        producer.resume()
    engine.close()
    count = len(seen)
    assert not any(thread.name.startswith("libsfu") for thread in threading.enumerate())
    assert len(seen) == count


def test_row_077_shutdown_under_asyncio_ends_tasks_that_wait() -> None:
    async def run() -> None:
        engine = await libsfu.aio.Engine(OPTIONS).start()
        router = await engine.create_router(CODECS)

        async def iterate() -> str:
            async for _ in engine.events():
                pass
            return "ended"

        async def receive() -> str:
            async for _ in engine.media:
                pass
            return "ended"

        async def call() -> str:
            try:
                while True:
                    await router.dump()
            except libsfu.ClosedError:
                return "ended"

        tasks = [asyncio.ensure_future(task) for task in (iterate(), receive(), call(), call())]
        await router.dump()
        await asyncio.gather(engine.close(), engine.close())
        assert await asyncio.wait_for(asyncio.gather(*tasks), 30) == ["ended"] * 4
        with pytest.raises(libsfu.ClosedError):
            await router.dump()
        await engine.close()

    asyncio.run(run())


def test_a_call_whose_task_is_cancelled_leaves_nothing_behind() -> None:
    async def run() -> None:
        async with libsfu.aio.Engine(OPTIONS) as engine:
            for _ in range(20):
                task = asyncio.ensure_future(engine.create_router(CODECS))
                await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            # Requests are answered in order: the closings are behind what they close, and before the second dump.
            await engine.dump()
            await engine.dump()
            assert (await engine.dump()).shards[0].routers == []

    asyncio.run(run())


def test_a_call_that_is_not_answered_in_time_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with libsfu.Engine(OPTIONS, call_timeout=0.0) as engine:
        timeouts = 0
        for _ in range(200):
            try:
                engine.create_router(CODECS)
            except libsfu.TimeoutError as error:
                assert error.code == Code.TIMEOUT and "CreateRouter" in error.message
                timeouts += 1
        assert timeouts > 0
        engine.call_timeout = 30
        engine.dump()
        engine.dump()


def test_an_engine_that_is_dropped_is_closed_with_a_warning() -> None:
    for make in (lambda: libsfu.Engine(OPTIONS), lambda: asyncio.run(started())):
        engine: Any = make()
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            del engine
            gc.collect()
        assert [w.category for w in caught] == [ResourceWarning] and "was not closed" in str(caught[0].message)


@pytest.mark.loud
def test_an_engine_that_cannot_be_read_says_why_and_is_freed(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = libsfu.Engine(OPTIONS, call_timeout=30)
    monkeypatch.setattr(engine._pump.core, "_poll", lambda: int(Code.PANIC))
    with pytest.raises(libsfu.PanicError):
        engine.dump()
    with pytest.raises(libsfu.ClosedError):
        engine.dump()
    assert engine.closed and list(engine.events()) == []
    engine.close()
    assert engine._pump.core.freed

    async def run() -> None:
        engine = await started()
        monkeypatch.setattr(engine._core, "_poll", lambda: int(Code.PANIC))
        with pytest.raises(libsfu.PanicError):
            await engine.dump()
        await engine.close()
        assert engine._core.freed

    asyncio.run(run())


def test_a_bug_of_the_library_that_passes_does_not_end_the_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    with libsfu.Engine(OPTIONS, call_timeout=30) as engine:
        buffer = engine._pump.core._buffer
        take, panics = buffer.take, iter([Code.PANIC] * 3)
        monkeypatch.setattr(buffer, "take", lambda function, handle: next(panics, None) or take(function, handle))
        engine.dump()
        assert next(panics, None) is None


async def started() -> libsfu.aio.Engine:
    return await libsfu.aio.Engine(OPTIONS).start()


def test_an_engine_of_asyncio_starts_once_and_before_its_calls() -> None:
    async def run() -> None:
        engine = libsfu.aio.Engine(OPTIONS)
        with pytest.raises(libsfu.InvalidStateError):
            await engine.dump()
        await engine.start()
        with pytest.raises(libsfu.InvalidStateError):
            await engine.start()
        await engine.close()

    asyncio.run(run())


def test_h35_an_engine_that_cannot_start_says_why() -> None:
    for options, code, told in (
        (schema.EngineOptions(shards=60000), Code.START_INVALID_OPTIONS, "shards"),
        (schema.EngineOptions(shards=1, cpus=[60000]), Code.START_CPU_UNAVAILABLE, "60000"),
        (schema.EngineOptions(certificate_pem="no", private_key_pem="no"), Code.START_CERTIFICATE, "PEM"),
    ):
        with pytest.raises(libsfu.StartError) as refusal:
            libsfu.Engine(options)
        assert refusal.value.code == code, refusal.value
        assert told.lower() in refusal.value.message.lower()
        assert not libsfu.preflight(options)[0] or code == Code.START_CERTIFICATE
    fit, report = libsfu.preflight(OPTIONS)
    assert fit and "io_uring" in report


def test_video_goes_with_its_transport(router: libsfu.Router) -> None:
    transport = router.create_direct_transport()
    producer = transport.produce(MediaKind.VIDEO, video())
    with transport:
        assert producer.dump().kind is MediaKind.VIDEO
    assert producer.closed and repr(producer).endswith("closed>")
