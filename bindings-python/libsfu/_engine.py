"""The blocking engine: calls that wait for their answers, one thread that reads for all of them.

Told: calls, on any thread. Tells: their answers, events to subscriptions and handlers. The reader sleeps on the
engine's descriptor and on one of its own, and never runs code of the user. Handlers run on a second thread, which exists
from the first handler on, one at a time and in the engine's order, so that they may call whatever they like.
"""

from __future__ import annotations

import os
import select
import threading
import time
import warnings
from collections.abc import Iterable, Iterator
from typing import Any, Callable, TypeVar

from . import schema
from ._core import SHUTDOWN_MS, Core, check_process, log
from ._hub import LIMIT, Hub, Mailbox
from ._object import Object
from ._objects import EngineCommands
from .errors import Code, Error, ForkedError, TimeoutError, closed
from .media import BytesLike, Identified, MediaBatch, records

S = TypeVar("S", bound="Subscription")


def timed_out(what: str, seconds: float | None) -> TimeoutError:
    return TimeoutError(f"{what} within {seconds} s", code=Code.TIMEOUT)


class _Call:
    """A request under way. A lock is the cheapest thing that a thread can sleep on."""

    __slots__ = ("_lock", "answer")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self.answer: Any = None

    def fill(self, answer: Any) -> None:
        self.answer = answer
        self._lock.release()

    def wait(self, timeout: float | None) -> bool:
        return self._lock.acquire(timeout=-1 if timeout is None else max(0, timeout))


class Subscription(Mailbox):
    """Events, for one reader: iterate over it, or ``get``. Ends with the engine; close it when it is not read any more.

    Keeps ``limit`` events for a slow reader; beyond that telemetry is dropped and counted by an ``EventsLost``, states
    coalesce by object and kind, and nothing else is lost.
    """

    def __init__(self, hub: Hub, types: tuple[type, ...], source: int | None, limit: int) -> None:
        super().__init__(types, source, limit)
        self._hub = hub
        self._changed = threading.Condition()
        hub.add(self)

    def deliver(self, event: Any) -> None:
        """Told by the reader."""
        with self._changed:
            self.put(event)
            self._changed.notify()

    def end(self) -> None:
        """No event comes any more; those that are here can be read."""
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def get(self, timeout: float | None = None) -> Any:
        """The next event. Raises ``TimeoutError`` after ``timeout`` seconds, ``ClosedError`` when none can come."""
        check_process()
        until = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            while True:
                event = self.pop()
                if event is not None:
                    return event
                if self.ended:
                    raise closed()
                left = None if until is None else until - time.monotonic()
                if left is not None and left <= 0:
                    raise timed_out("no event came", timeout)
                self._changed.wait(left)

    def __iter__(self) -> Iterator[Any]:
        while True:
            try:
                yield self.get()
            except Error as error:
                if error.code == Code.CLOSED:
                    return
                raise

    def close(self) -> None:
        """Takes no more events."""
        self._hub.remove(self)
        self.end()

    def __enter__(self: S) -> S:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Handler:
    """A function that is called with events."""

    def __init__(
        self, pump: _Pump, types: tuple[type, ...], source: int | None, function: Callable[[Any], Any]
    ) -> None:
        self._pump = pump
        self._box = Mailbox(types, source, 0)
        self.function = function

    def wants(self, event: Any) -> bool:
        """Whether it asked for this event. Unlike a subscription it is told of losses only if it asked."""
        return self._box.wants(event) and isinstance(event, self._box.types)

    def cancel(self) -> None:
        """It is called no more, but for a call that is under way on another thread."""
        self._pump.forget(self)


class _Pump:
    """The threads of one engine. Knows nothing of `Engine`, so that one that is dropped can be collected."""

    def __init__(self, options: schema.EngineOptions | None) -> None:
        self.hub = Hub()
        self.core = Core(options, self.hub)
        self.hub.at_exit = lambda _: self.close()
        self._stop_read, self._stop_write = os.pipe()
        self._users = 0
        self._changed = threading.Condition()
        self._handlers: list[Handler] = []
        self._events: Subscription | None = None
        self._teller: threading.Thread | None = None
        self._silenced = False
        self.ending = False
        """Somebody closes it. Not the same as the core's `closing`, which is so too when the reader has failed."""
        self._reader = threading.Thread(target=self._read, name="libsfu-reader", daemon=True)
        self._reader.start()

    def _read(self) -> None:
        poller = select.poll()
        poller.register(self.core.event_fd, select.POLLIN)
        poller.register(self._stop_read, select.POLLIN)
        try:
            while True:
                ready = [fd for fd, _ in poller.poll()]
                if not self.core.drain() or self._stop_read in ready:
                    return
        except Exception as error:
            log.exception("the reader of an engine ended; its calls fail from here on")
            self.core.fail(error)
            self.hub.end()

    # ---- Waiting for descriptors of the engine, which must not go while somebody does ----

    def wait_readable(self, fd: int, timeout: float | None) -> bool:
        """Whether the descriptor is readable within so many seconds. Raises `ClosedError` when the engine closes."""
        with self._changed:
            if self.core.closing:
                raise closed()
            self._users += 1
        try:
            poller = select.poll()
            poller.register(fd, select.POLLIN)
            poller.register(self._stop_read, select.POLLIN)
            ready = [one for one, _ in poller.poll(None if timeout is None else max(0, timeout) * 1000)]
            if self._stop_read in ready:
                raise closed()
            return fd in ready
        finally:
            with self._changed:
                self._users -= 1
                self._changed.notify_all()

    # ---- Handlers ----

    def on(self, handler: Handler) -> None:
        check_process()
        with self._changed:
            if self.core.closing:
                raise closed()
            self._handlers = [*self._handlers, handler]
            if self._teller is None:
                self._events = Subscription(self.hub, (), None, LIMIT)
                self._teller = threading.Thread(target=self._tell, name="libsfu-events", daemon=True)
                self._teller.start()

    def forget(self, handler: Handler) -> None:
        with self._changed:
            self._handlers = [kept for kept in self._handlers if kept is not handler]

    def _tell(self) -> None:
        assert self._events is not None
        for event in self._events:
            for handler in self._handlers:
                if self._silenced:
                    return
                if not handler.wants(event) or handler not in self._handlers:
                    continue
                try:
                    handler.function(event)
                except Exception:  # The handler's mistake is its author's to see, and no reason to be silent after it.
                    log.exception("a handler of %s failed", type(event).__name__)

    # ---- The end ----

    def close(self, timeout_ms: int = SHUTDOWN_MS) -> None:
        """Ends everything, in this order: shards, answers, events, handlers, the engine, its threads."""
        check_process()
        with self._changed:
            if self.ending:
                return
            self.ending = self.core.closing = True
        until = time.monotonic() + timeout_ms / 1000
        if not self.core.shutdown(timeout_ms):
            log.warning("a shard had not ended after %d ms", timeout_ms)
        os.write(self._stop_write, b"x")
        this = threading.current_thread()
        if self._reader is not this:
            self._reader.join()
        self.core.drain_last()
        self.hub.end()
        if self._teller is not None and self._teller is not this:
            self._teller.join(max(0.0, until - time.monotonic()))
        # A handler that takes its time is left to it, but no other one begins.
        self._silenced = True
        with self._changed:
            while self._users:
                self._changed.wait()
        self.core.free()
        os.close(self._stop_write)
        os.close(self._stop_read)


class Media:
    """Packets of the engine's direct transports, all of them together."""

    def __init__(self, pump: _Pump) -> None:
        self._pump = pump

    def send(self, packets: Iterable[tuple[int | Identified, BytesLike]]) -> int:
        """Gives packets, each with a producer (RTP) or a direct transport (RTCP); tells how many were queued.

        They are copied before it returns. A full queue gives up its oldest packets, which statistics count as
        ``media_queue_full``. Raises ``InvalidArgumentError`` for an empty packet or one above 65,507 bytes.
        """
        return self._pump.core.send_media(records(packets))

    def receive(self, timeout: float | None = None) -> MediaBatch:
        """The next packets, at least one. Raises ``TimeoutError`` after ``timeout`` seconds, ``ClosedError``.

        One reader at a time: several share the packets out.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            batch = self._pump.core.poll_media()
            if batch is not None:
                return batch
            left = None if until is None else until - time.monotonic()
            if not self._pump.wait_readable(self._pump.core.media_fd, left):
                raise timed_out("no packet came", timeout)

    def __iter__(self) -> Iterator[MediaBatch]:
        """Batches until the engine is closed."""
        while True:
            try:
                yield self.receive()
            except Error as error:
                if error.code == Code.CLOSED:
                    return
                raise


class Engine(EngineCommands):
    """An engine, whose calls block until they are answered. Any thread may use it.

    ``call_timeout`` bounds every call, in seconds; None is no bound, which is safe since the engine answers each request
    it takes. Use it as a context manager, or ``close`` it; one that is still open when the interpreter ends is closed.
    Raises ``StartError`` with cause and remedy if it cannot start, ``ForkedError`` in a child of a process with engines.
    """

    def __init__(self, options: schema.EngineOptions | None = None, *, call_timeout: float | None = None) -> None:
        self.call_timeout = call_timeout
        self._pump = _Pump(options)
        self._hub = self._pump.hub
        self.media = Media(self._pump)

    def __repr__(self) -> str:
        return f"<Engine {self._pump.core.handle:#x}{' closed' if self.closed else ''}>"

    @property
    def closed(self) -> bool:
        """It is closed, or closes right now."""
        return self._pump.core.closing

    def _call(self, target: int, body: Any) -> Any:
        core, call = self._pump.core, _Call()
        number = core.submit(target, body, call)
        try:
            answered = call.wait(self.call_timeout)
        except BaseException:
            core.abandon(number)
            if call.wait(0):
                core.unwanted(call.answer)
            raise
        if not answered:
            core.abandon(number)
            if not call.wait(0):
                raise timed_out(f"{type(body).__name__} was not answered", self.call_timeout)
        if isinstance(call.answer, Error):
            raise call.answer
        return call.answer

    def request(self, target: int, body: Any) -> Any:
        """Sends any request of the schema to an object's id, 0 being the engine; tells the body of its reply."""
        return self._call(target, body)

    def find(self, id: int) -> Object | None:
        """The object of an id, as long as somebody holds it."""
        found: Object | None = self._hub.objects.get(id)
        return found

    def events(self, *types: type, source: int | Identified | None = None, limit: int = LIMIT) -> Subscription:
        """Events from now on, of these types and of this object; none given: all."""
        check_process()
        return Subscription(self._hub, types, _source(source), limit)

    def on(self, type: type, handler: Callable[[Any], Any], *, source: int | Identified | None = None) -> Handler:
        """Calls ``handler`` with each event of that type, on the engine's thread for events.

        One handler runs at a time, in the engine's order. It may make any call, closing the engine included; while it
        does, other handlers wait, and media and other threads' calls do not. What it raises goes to the log "libsfu".
        """
        made = Handler(self._pump, (type,), _source(source), handler)
        self._pump.on(made)
        return made

    def close(self, timeout: float = SHUTDOWN_MS / 1000) -> None:
        """Ends the engine: peers are told, calls under way raise ``ClosedError``, no handler begins after it returns.

        Takes at most ``timeout`` seconds and what a handler that is running takes within them. Closing twice, or on
        several threads, is no error: the others return at once.
        """
        self._pump.close(int(timeout * 1000))

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.close()
        except ForkedError:
            pass  # A child leaves the block of its parent, whose engine goes on.

    def __del__(self) -> None:
        pump = getattr(self, "_pump", None)
        if pump is None or pump.ending:
            return
        try:
            check_process()
        except Error:
            return  # A forked child has only a copy of what belongs to its parent.
        warnings.warn(f"{self!r} was not closed", ResourceWarning, stacklevel=2, source=self)
        # The collector may run on any thread, in the middle of anything that closing needs.
        threading.Thread(target=pump.close, name="libsfu-close", daemon=True).start()


def _source(source: int | Identified | None) -> int | None:
    return source if source is None or isinstance(source, int) else source.id
