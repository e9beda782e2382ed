"""What can go wrong, as exceptions.

Every exception of the package is an :class:`Error` with a ``code`` (the number of the C ABI), the ``field`` that was
wrong in the caller's words (empty if none was) and a ``message`` of one sentence with the value and the remedy.
"""

from __future__ import annotations

import builtins
import enum
from typing import Callable


class Code(enum.IntEnum):
    """Statuses of ``libsfu.h``. Numbers are never changed or used again."""

    OK = 0
    MALFORMED = 1
    INVALID_ARGUMENT = 2
    NOT_FOUND = 3
    INVALID_STATE = 4
    ALREADY_EXISTS = 5
    UNSUPPORTED = 6
    BUSY = 7
    RESOURCE_EXHAUSTED = 8
    ADDRESS_UNAVAILABLE = 9
    CLOSED = 10
    INTERNAL = 11
    NULL_POINTER = 100
    ABI_MISMATCH = 101
    TIMEOUT = 102
    BUFFER_TOO_SMALL = 103
    FORKED = 104
    PANIC = 105
    TOO_MANY_ENGINES = 106
    START_INVALID_OPTIONS = 201
    START_KERNEL_TOO_OLD = 202
    START_IO_URING_UNAVAILABLE = 203
    START_MEMLOCK_TOO_LOW = 204
    START_FILE_LIMIT_TOO_LOW = 205
    START_CPU_UNAVAILABLE = 206
    START_ADDRESS_UNAVAILABLE = 207
    START_NO_ENTROPY = 208
    START_CERTIFICATE = 209
    START_RESOURCE = 210
    START_INTERNAL = 211


class Error(Exception):
    """Base of all. ``code`` is a :class:`Code`, or a plain number that this package is too old to know."""

    def __init__(self, message: str, *, code: int, field: str = "") -> None:
        super().__init__(message, code, field)
        self.message = message
        self.code: int = code
        self.field = field

    def __str__(self) -> str:
        name = self.code.name.lower() if isinstance(self.code, Code) else f"status {self.code}"
        return f"{name}: {self.field}: {self.message}" if self.field else f"{name}: {self.message}"

    def __reduce__(self) -> tuple[Callable[..., Error], tuple[type[Error], str, int, str]]:
        return _revived, (type(self), self.message, self.code, self.field)


def _revived(kind: type[Error], message: str, code: int, field: str) -> Error:
    """Exceptions that cross processes are made anew by their parts."""
    return kind(message, code=code, field=field)


class MalformedError(Error, ValueError):
    """The bytes of a message cannot be taken."""


class InvalidArgumentError(Error, ValueError):
    """A value is out of its range; ``field`` names it."""


class NotFoundError(Error, LookupError):
    """There is no such object: never made, or closed."""


class InvalidStateError(Error):
    """Not possible in this state."""


class AlreadyExistsError(Error):
    """What was to be made is there already."""


class UnsupportedError(Error):
    """Well-formed, but outside what libsfu does."""


class BusyError(Error):
    """A queue is full: wait for answers under way, then try again."""


class ResourceExhaustedError(Error):
    """A limit of the configuration or of the machine is reached."""


class AddressUnavailableError(Error, OSError):
    """An address or port cannot be had."""

    # OSError's own constructor would make something of several arguments.
    def __new__(cls, *arguments: object, **words: object) -> AddressUnavailableError:
        return super().__new__(cls)


class ClosedError(Error):
    """The engine is closed, or was closed while the call was under way."""


class InternalError(Error):
    """A bug in libsfu or in this package."""


class AbiMismatchError(Error, ImportError):
    """The shared library is of another version than this package; the message names both and the file."""


class LibraryNotFoundError(Error, ImportError):
    """There is no ``libsfu.so.0`` where it was looked for; the message names the places."""


class TimeoutError(Error, builtins.TimeoutError):
    """The time given is over. It is a builtin ``TimeoutError`` too."""

    def __new__(cls, *arguments: object, **words: object) -> TimeoutError:
        return super().__new__(cls)


class ForkedError(Error):
    """This process was forked by one that has engines; only that one can use them."""


class PanicError(InternalError):
    """A bug in libsfu, caught before it could leave the library."""


class StartError(Error):
    """An engine cannot start; the message has cause, value and remedy in one line. ``code`` tells the kinds apart."""


_KINDS: dict[int, type[Error]] = {
    Code.MALFORMED: MalformedError,
    Code.INVALID_ARGUMENT: InvalidArgumentError,
    Code.NOT_FOUND: NotFoundError,
    Code.INVALID_STATE: InvalidStateError,
    Code.ALREADY_EXISTS: AlreadyExistsError,
    Code.UNSUPPORTED: UnsupportedError,
    Code.BUSY: BusyError,
    Code.RESOURCE_EXHAUSTED: ResourceExhaustedError,
    Code.ADDRESS_UNAVAILABLE: AddressUnavailableError,
    Code.CLOSED: ClosedError,
    Code.INTERNAL: InternalError,
    Code.ABI_MISMATCH: AbiMismatchError,
    Code.TIMEOUT: TimeoutError,
    Code.FORKED: ForkedError,
    Code.PANIC: PanicError,
    Code.TOO_MANY_ENGINES: ResourceExhaustedError,
}

_START = range(200, 300)


def error_of(code: int, message: str, field: str = "") -> Error:
    """The exception for a status or for the code of a reply."""
    kind = StartError if code in _START else _KINDS.get(code, InternalError)
    try:
        code = Code(code)
    except ValueError:
        pass  # A newer library has more of them; the number says what the name would.
    return kind(message, code=code, field=field)


def invalid(field: str, message: str) -> InvalidArgumentError:
    """A value that is refused before the engine sees it."""
    return InvalidArgumentError(message, code=Code.INVALID_ARGUMENT, field=field)


def closed() -> ClosedError:
    """The engine is closed."""
    return ClosedError("the engine is closed; make a new one", code=Code.CLOSED)
