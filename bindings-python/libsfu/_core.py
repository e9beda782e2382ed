"""One engine behind the C ABI: requests out, answers and events in. Both faces stand on it.

Told: requests, each with a `Slot` that takes its answer; bytes of media. Tells: answers to slots, events to the hub.
`drain` takes what the engine has to say; the blocking face calls it from a thread that waits for the descriptor, the
asynchronous one from its loop. Nothing here waits but `shutdown`. Limits: the requests in flight are bounded by the
engine (`BusyError`). A process that was forked by one with engines is told so by every call.
"""

from __future__ import annotations

import atexit
import ctypes
import itertools
import logging
import os
import threading
import weakref
from typing import Any, Protocol

from . import schema
from ._codec import _fbs, encode_options, encode_request, read_table
from ._ffi import ABI_VERSION, WHY, lib, refused
from ._layout import EVENTS, REPLIES
from .errors import Code, Error, ForkedError, InternalError, closed, error_of
from .media import MediaBatch

log = logging.getLogger("libsfu")

# How long closing an engine waits for its shards, milliseconds.
SHUTDOWN_MS = 2000
POLL_BUFFER = 1 << 16
# Holds any record; what does not fit comes with the next call.
MEDIA_BUFFER = 1 << 17
# So many polls in a row may meet a bug of the library, caught at its boundary, before the engine counts as lost.
MAX_PANICS = 16

# The process that made the first engine; 0 before there is one.
_owner = 0
_alive: weakref.WeakSet[Core] = weakref.WeakSet()


class Slot(Protocol):
    """Where the answer of one request goes; called once, on the thread that drains."""

    def fill(self, answer: Any) -> None:
        """Takes a body, or an `Error`."""


class Sink(Protocol):
    """Where events go; called on the thread that drains, and must not wait."""

    def publish(self, event: Any) -> None:
        """Takes an event of the schema."""


class Forget:
    """A slot for answers that nobody waits for."""

    def fill(self, answer: Any) -> None:
        """Errors are told to the log, since there is nobody else."""
        if isinstance(answer, Error) and answer.code not in (Code.CLOSED, Code.NOT_FOUND):
            log.warning("an answer that nobody waited for: %s", answer)


def check_process() -> None:
    """Raises `ForkedError` in a child of the process that has engines."""
    if _owner not in (0, os.getpid()):
        raise ForkedError(
            f"process {_owner} forked this one and has engines; only that one can use libsfu. "
            "Start engines after the fork, or start processes by 'spawn'",
            code=Code.FORKED,
        )


class Buffer:
    """Bytes that the library writes into."""

    def __init__(self, size: int) -> None:
        self.bytes = bytearray(size)
        self.pointer = (ctypes.c_uint8 * size).from_buffer(self.bytes)
        self.written, self.needed = ctypes.c_size_t(), ctypes.c_size_t()

    def take(self, function: Any, handle: int) -> int:
        """Calls sfu_engine_poll or its like; grows to the message that does not fit."""
        status = int(function(handle, self.pointer, len(self.bytes), self.written, self.needed))
        if status == Code.BUFFER_TOO_SMALL:
            self.__init__(self.needed.value)  # type: ignore[misc]
            status = int(function(handle, self.pointer, len(self.bytes), self.written, self.needed))
        return status


class Core:
    """A running engine."""

    def __init__(self, options: schema.EngineOptions | None, sink: Sink) -> None:
        """Starts the engine; blocks until its shards run. Raises `StartError`, `ForkedError`."""
        global _owner
        check_process()
        message = b"" if options is None else encode_options(options)
        handle, why = ctypes.c_uint64(), ctypes.create_string_buffer(WHY)
        status = lib.sfu_engine_new(ABI_VERSION, message, len(message), handle, why, WHY)
        if status:
            raise refused(status, why.value)
        _owner = os.getpid()
        self.handle = handle.value
        self.sink = sink
        self.event_fd = self._descriptor(lib.sfu_engine_event_fd)
        self.media_fd = self._descriptor(lib.sfu_engine_media_fd)
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Slot] = {}
        self._draining = threading.Lock()
        self._buffer = Buffer(POLL_BUFFER)
        self.closing = False
        self.more = False
        """The last `drain` left something, of which the descriptor does not tell again."""
        self.freed = False
        """It was given back: by whoever closed it, or by the interpreter's end."""
        _alive.add(self)

    def _descriptor(self, function: Any) -> int:
        fd = ctypes.c_int32()
        status = function(self.handle, fd)
        if status:
            raise refused(status)
        return fd.value

    def submit(self, target: int, body: Any, slot: Slot) -> int:
        """Hands over a request, whose number comes back; its answer goes to the slot.

        Raises what the engine refuses at once (`InvalidArgumentError`, `BusyError`, `ClosedError`, ...); then the slot
        is never filled.
        """
        check_process()
        if self.closing:
            raise closed()
        number = next(self._numbers)
        message = encode_request(number, target, body)
        # The slot is there first: the answer may be faster than this thread.
        self._waiting[number] = slot
        try:
            self.submit_bytes(message)
        except Error:
            self._waiting.pop(number, None)
            raise
        if self.freed:
            self.fail_all()
        return number

    def submit_bytes(self, message: bytes) -> None:
        """Hands over the bytes of one message, as they are."""
        check_process()
        why = ctypes.create_string_buffer(WHY)
        status = lib.sfu_engine_submit(self.handle, message, len(message), why, WHY)
        if status:
            raise closed() if status in (Code.CLOSED, Code.NOT_FOUND) else refused(status, why.value)

    def abandon(self, number: int) -> None:
        """Nobody waits for that answer any more: what the request makes is closed when it comes."""
        with self._draining:
            if number in self._waiting:
                self._waiting[number] = _Abandoned(self)

    def unwanted(self, answer: Any) -> None:
        """Closes what a request made whose caller gave up."""
        made = getattr(answer, "id", 0) if type(answer).__name__.endswith("Created") else 0
        if made and not self.closing:
            try:
                self.submit(made, schema.Close(), Forget())
            except Error as error:
                Forget().fill(error)

    def drain(self, rounds: int = 1 << 30) -> bool:
        """Takes what the engine has to say, so many buffers at most. False: it is closed, and nothing is left."""
        with self._draining:
            for _ in range(rounds):
                status = self._poll()
                if status in (Code.CLOSED, Code.NOT_FOUND):
                    return False
                if status:
                    raise refused(status)
                self._dispatch_all(self._buffer.written.value)
                self.more = self._buffer.needed.value != 0
                if not self.more:
                    return True
        return True

    def _poll(self) -> int:
        status = 0
        for _ in range(MAX_PANICS):
            status = self._buffer.take(lib.sfu_engine_poll, self.handle)
            if status != Code.PANIC:
                break
        return status

    def drain_last(self) -> None:
        """`drain` on the way out, where no failure keeps the engine from being freed."""
        try:
            self.drain()
        except Error as error:
            log.warning("the last answers of an engine could not be read: %s", error)

    def fail(self, error: Exception) -> None:
        """The engine cannot be read any more: calls fail from here on, those under way with the reason."""
        self.closing = True
        self.fail_all(error if isinstance(error, Error) else InternalError(str(error), code=Code.INTERNAL))

    def send_media(self, records: bytes) -> int:
        """Queues records for direct transports; tells how many were taken."""
        check_process()
        taken = ctypes.c_size_t()
        status = lib.sfu_engine_send_media(self.handle, records, len(records), taken)
        if status:
            raise closed() if status in (Code.CLOSED, Code.NOT_FOUND) else refused(status)
        return taken.value

    def poll_media(self) -> MediaBatch | None:
        """The packets that are there, in a buffer that the batch keeps; None: none."""
        check_process()
        if self.closing:
            raise closed()
        buffer = Buffer(MEDIA_BUFFER)
        status = buffer.take(lib.sfu_engine_poll_media, self.handle)
        if status:
            raise closed() if status in (Code.CLOSED, Code.NOT_FOUND) else refused(status)
        length = buffer.written.value
        return MediaBatch(memoryview(buffer.bytes)[:length]) if length else None

    def _dispatch_all(self, length: int) -> None:
        data, at = self._buffer.bytes, 0
        while at < length:
            size = int.from_bytes(data[at : at + 4], "little")
            try:
                self._dispatch(_fbs.Message.GetRootAs(data, at + 4))
            except Exception:  # One message that cannot be read must not take the others with it.
                log.exception("a message of the engine could not be taken")
            at += 4 + size

    def _dispatch(self, message: Any) -> None:
        kind, content = message.ContentType(), message.Content()
        if kind == _fbs.Content.Event:
            event = _fbs.Event()
            event.Init(content.Bytes, content.Pos)
            table = EVENTS.get(event.BodyType())
            if table is None:
                log.debug("an event of a newer library, tag %d", event.BodyType())
                return
            body = event.Body()
            told = read_table(table, body.Bytes, body.Pos)
            told.source = event.Source()
            self.sink.publish(told)
        elif kind == _fbs.Content.Reply:
            reply = _fbs.Reply()
            reply.Init(content.Bytes, content.Pos)
            slot = self._waiting.pop(reply.Id(), None)
            if slot is not None:
                slot.fill(_answer(reply))

    def shutdown(self, timeout_ms: int = SHUTDOWN_MS) -> bool:
        """Ends the shards; what is in flight is answered as closed by the next `drain`. False: a shard is slow."""
        check_process()
        self.closing = True
        return bool(lib.sfu_engine_shutdown(self.handle, timeout_ms) != Code.TIMEOUT)

    def free(self) -> None:
        """Gives the engine back, once; requests without an answer fail."""
        if self.freed:
            return
        check_process()
        self.closing = True
        lib.sfu_engine_free(self.handle)
        self.freed = True
        self.fail_all()
        _alive.discard(self)

    def fail_all(self, error: Error | None = None) -> None:
        """Answers what is under way, as closed unless another reason is given."""
        while self._waiting:
            try:
                _, slot = self._waiting.popitem()
            except KeyError:  # Another thread took the last one.
                return
            slot.fill(error or closed())


class _Abandoned:
    """A slot whose caller gave up."""

    def __init__(self, core: Core) -> None:
        self.core = core

    def fill(self, answer: Any) -> None:
        self.core.unwanted(answer)


def _answer(reply: Any) -> Any:
    """The body of a reply, or its error."""
    try:
        if reply.Code():
            return error_of(reply.Code(), (reply.Text() or b"").decode(), (reply.Field() or b"").decode())
        table, body = REPLIES.get(reply.BodyType()), reply.Body()
        if table is None or body is None:
            return InternalError(f"a reply of a newer library, tag {reply.BodyType()}", code=Code.INTERNAL)
        return read_table(table, body.Bytes, body.Pos)
    except Error as error:
        return error


def _at_exit() -> None:
    """Engines that were left open end before the interpreter does, so that no thread of theirs meets half of it."""
    if _owner != os.getpid():
        return
    for core in list(_alive):
        ending = getattr(core.sink, "at_exit", None)
        if ending is not None:
            ending(core)
        else:
            core.free()


atexit.register(_at_exit)
