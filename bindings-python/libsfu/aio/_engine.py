"""The engine for asyncio: no thread at all, the loop watches the engine's descriptors.

Told: calls, on the loop's thread. Tells: their answers as futures, events to subscriptions and handlers. Each turn of
the loop takes a bounded part of what is there, so that a flood of events does not starve it. Starting and closing, which
wait for the engine's own threads, run in the loop's default executor.
"""

from __future__ import annotations

import asyncio
import inspect
import warnings
from collections.abc import AsyncIterator, Iterable
from typing import Any, Callable, TypeVar

from .. import schema
from .._core import SHUTDOWN_MS, Core, check_process, log
from .._hub import LIMIT, Hub, Mailbox
from ..errors import Code, Error, ForkedError, InvalidStateError, TimeoutError, closed
from ..media import BytesLike, Identified, MediaBatch, records
from ._object import Object
from ._objects import EngineCommands

S = TypeVar("S", bound="Subscription")
E = TypeVar("E", bound="Engine")


class _Call:
    """A request under way."""

    __slots__ = ("core", "future")

    def __init__(self, core: Core, future: asyncio.Future[Any]) -> None:
        self.core, self.future = core, future

    def fill(self, answer: Any) -> None:
        if self.future.get_loop().is_closed():
            return  # Nobody is left.
        if self.future.done():
            self.core.unwanted(answer)  # Its caller was cancelled.
        elif isinstance(answer, Error):
            self.future.set_exception(answer)
        else:
            self.future.set_result(answer)


class Subscription(Mailbox):
    """Events, for one reader: ``async for`` over it, or ``await get()``. Ends with the engine.

    Keeps ``limit`` events for a slow reader; beyond that telemetry is dropped and counted by an ``EventsLost``, states
    coalesce by object and kind, and nothing else is lost.
    """

    def __init__(self, hub: Hub, types: tuple[type, ...], source: int | None, limit: int) -> None:
        super().__init__(types, source, limit)
        self._hub = hub
        self._ready = asyncio.Event()
        hub.add(self)

    def deliver(self, event: Any) -> None:
        """Told by the engine, on the loop's thread."""
        self.put(event)
        self._ready.set()

    def end(self) -> None:
        """No event comes any more; those that are here can be read."""
        self.ended = True
        self._ready.set()

    async def get(self) -> Any:
        """The next event. Raises ``ClosedError`` when none can come any more."""
        check_process()
        while True:
            event = self.pop()
            if event is not None:
                return event
            if self.ended:
                raise closed()
            self._ready.clear()
            await self._ready.wait()

    async def __aiter__(self) -> AsyncIterator[Any]:
        while True:
            try:
                event = await self.get()
            except Error as error:
                if error.code == Code.CLOSED:
                    return
                raise
            yield event

    def close(self) -> None:
        """Takes no more events."""
        self._hub.remove(self)
        self.end()

    def __enter__(self: S) -> S:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Handler(Mailbox):
    """A function or coroutine function that is called with events."""

    def __init__(
        self, engine: Engine, types: tuple[type, ...], source: int | None, function: Callable[[Any], Any]
    ) -> None:
        super().__init__(types, source, 0)
        self._engine = engine
        self._cancelled = False
        self.function = function

    def wants(self, event: Any) -> bool:
        """Whether it asked for this event."""
        return super().wants(event) and isinstance(event, self.types)

    def deliver(self, event: Any) -> None:
        """Never within a call of the engine: in a later turn of the loop."""
        self._engine._loop.call_soon(self._run, event)

    def _run(self, event: Any) -> None:
        if self._cancelled:
            return
        try:
            result = self.function(event)
        except Exception:
            log.exception("a handler of %s failed", type(event).__name__)
            return
        if inspect.isawaitable(result):
            task = asyncio.ensure_future(result)
            self._engine._tasks.add(task)
            task.add_done_callback(self._engine._task_done)

    def end(self) -> None:
        """The engine is closed."""
        self._cancelled = True

    def cancel(self) -> None:
        """It is called no more."""
        self._cancelled = True
        self._engine._hub.remove(self)


class Media:
    """Packets of the engine's direct transports, all of them together."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._waiting: asyncio.Future[None] | None = None

    def send(self, packets: Iterable[tuple[int | Identified, BytesLike]]) -> int:
        """Gives packets, each with a producer (RTP) or a direct transport (RTCP); tells how many were queued.

        It does not wait. A full queue gives up its oldest packets, which statistics count as ``media_queue_full``.
        Raises ``InvalidArgumentError`` for an empty packet or one above 65,507 bytes.
        """
        return self._engine._core.send_media(records(packets))

    async def receive(self) -> MediaBatch:
        """The next packets, at least one. Raises ``ClosedError``; ``InvalidStateError`` for a second reader."""
        engine = self._engine
        while True:
            batch = engine._core.poll_media()
            if batch is not None:
                return batch
            if self._waiting is not None:
                raise InvalidStateError("another task receives already; have one reader", code=Code.INVALID_STATE)
            self._waiting = engine._loop.create_future()
            engine._loop.add_reader(engine._core.media_fd, self._readable)
            try:
                await self._waiting
            finally:
                self._waiting = None
                if not engine._released:
                    engine._loop.remove_reader(engine._core.media_fd)

    def _readable(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _end(self) -> None:
        if self._waiting is not None:
            self._engine._loop.remove_reader(self._engine._core.media_fd)
            if not self._waiting.done():
                self._waiting.set_exception(closed())

    async def __aiter__(self) -> AsyncIterator[MediaBatch]:
        """Batches until the engine is closed."""
        while True:
            try:
                batch = await self.receive()
            except Error as error:
                if error.code == Code.CLOSED:
                    return
                raise
            yield batch


class Engine(EngineCommands):
    """An engine of one event loop: ``async with Engine() as engine``, or ``await engine.start()`` and ``close``.

    ``call_timeout`` bounds every call, in seconds; None is no bound, which is safe since the engine answers each request
    it takes. A call whose task is cancelled may still take place; what it makes is closed again.
    """

    _core: Core
    _loop: asyncio.AbstractEventLoop

    def __init__(self, options: schema.EngineOptions | None = None, *, call_timeout: float | None = None) -> None:
        self.call_timeout = call_timeout
        self._options = options
        self._hub = Hub()
        self._started = False
        self._released = False
        self._end: asyncio.Future[None] | None = None
        self._tasks: set[asyncio.Future[Any]] = set()
        self.media = Media(self)

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open" if self._started else "not started"
        return f"<Engine {state}>"

    @property
    def closed(self) -> bool:
        """It is closed, or closes right now."""
        return self._started and self._core.closing

    async def start(self: E) -> E:
        """Starts it. Raises ``StartError`` with cause and remedy, ``ForkedError``, ``InvalidStateError``."""
        if self._started:
            raise InvalidStateError("the engine was started already; make a new one", code=Code.INVALID_STATE)
        check_process()
        self._started = True
        self._loop = asyncio.get_running_loop()
        starting = self._loop.run_in_executor(None, Core, self._options, self._hub)
        try:
            self._core = await asyncio.shield(starting)
        except asyncio.CancelledError:
            starting.add_done_callback(_free_unwanted)
            self._started = False
            raise
        except BaseException:
            self._started = False
            raise
        self._loop.add_reader(self._core.event_fd, self._readable)
        return self

    def _readable(self) -> None:
        if self._released:
            return
        try:
            alive = self._core.drain(rounds=1)
        except Exception as error:
            log.exception("the engine cannot be read any more; its calls fail from here on")
            alive = False
            self._core.fail(error)
            self._hub.end()
        if not alive:
            self._loop.remove_reader(self._core.event_fd)
        elif self._core.more:
            # The descriptor tells of new messages only, and the loop's other work has its turn first.
            self._loop.call_soon(self._readable)

    async def _call(self, target: int, body: Any) -> Any:
        if not self._started:
            raise InvalidStateError("the engine is not started; use 'async with' or start()", code=Code.INVALID_STATE)
        future = self._loop.create_future()
        number = self._core.submit(target, body, _Call(self._core, future))
        try:
            if self.call_timeout is None:
                return await future
            return await asyncio.wait_for(future, self.call_timeout)
        except asyncio.TimeoutError as error:
            if isinstance(error, Error):
                raise
            self._core.abandon(number)
            text = f"{type(body).__name__} was not answered within {self.call_timeout} s"
            raise TimeoutError(text, code=Code.TIMEOUT) from None
        except asyncio.CancelledError:
            self._core.abandon(number)
            if future.done() and not future.cancelled() and future.exception() is None:
                self._core.unwanted(future.result())
            raise

    async def request(self, target: int, body: Any) -> Any:
        """Sends any request of the schema to an object's id, 0 being the engine; tells the body of its reply."""
        return await self._call(target, body)

    def find(self, id: int) -> Object | None:
        """The object of an id, as long as somebody holds it."""
        found: Object | None = self._hub.objects.get(id)
        return found

    def events(self, *types: type, source: int | Identified | None = None, limit: int = LIMIT) -> Subscription:
        """Events from now on, of these types and of this object; none given: all."""
        check_process()
        return Subscription(self._hub, types, _source(source), limit)

    def on(self, type: type, handler: Callable[[Any], Any], *, source: int | Identified | None = None) -> Handler:
        """Calls ``handler``, a function or a coroutine function, with each event of that type, in the engine's order.

        Functions run on the loop, coroutines as tasks of their own that begin in order. What they raise goes to the log
        "libsfu".
        """
        made = Handler(self, (type,), _source(source), handler)
        self._hub.add(made)
        return made

    def _task_done(self, task: asyncio.Future[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.error("a handler failed", exc_info=task.exception())

    async def close(self, timeout: float = SHUTDOWN_MS / 1000) -> None:
        """Ends the engine: peers are told, calls under way raise ``ClosedError``. Closing twice is no error."""
        if not self._started:
            return
        check_process()
        if self._end is None:
            self._end = asyncio.ensure_future(self._close(int(timeout * 1000)))
        await asyncio.shield(self._end)

    async def _close(self, timeout_ms: int) -> None:
        self._core.closing = True
        if not await self._loop.run_in_executor(None, self._core.shutdown, timeout_ms):
            log.warning("a shard had not ended after %d ms", timeout_ms)
        self._core.drain_last()
        self._core.fail_all()
        self._loop.remove_reader(self._core.event_fd)
        self.media._end()
        self._released = True
        self._hub.end()
        await self._loop.run_in_executor(None, self._core.free)

    async def __aenter__(self: E) -> E:
        return await self.start()

    async def __aexit__(self, *_: object) -> None:
        try:
            await self.close()
        except ForkedError:
            pass  # A child leaves the block of its parent, whose engine goes on.

    def __del__(self) -> None:
        core = getattr(self, "_core", None)
        if core is None or core.freed or self._end is not None:
            return
        try:
            check_process()
        except Error:
            return  # A forked child has only a copy of what belongs to its parent.
        warnings.warn(f"{self!r} was not closed", ResourceWarning, stacklevel=2, source=self)
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._loop.remove_reader, core.event_fd)
        core.free()


def _free_unwanted(starting: asyncio.Future[Core]) -> None:
    """An engine whose start nobody waited for."""
    if not starting.cancelled() and starting.exception() is None:
        starting.result().free()


def _source(source: int | Identified | None) -> int | None:
    return source if source is None or isinstance(source, int) else source.id
