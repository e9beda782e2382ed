"""libsfu: a WebRTC selective forwarding unit, driven from Python.

    with libsfu.Engine() as engine:
        opus = libsfu.RtpCodecCapability(libsfu.MediaKind.AUDIO, "audio/opus", 48000, channels=2)
        router = engine.create_router([opus])

This is the blocking face; :mod:`libsfu.aio` is the same for asyncio. Options, parameters, dumps, statistics and
events are dataclasses of :mod:`libsfu.schema`; their JSON is what ORTC clients in browsers speak. What goes wrong is an
:class:`Error`. Importing loads the shared library and checks its version.
"""

from __future__ import annotations

from . import _ffi, schema
from ._codec import encode_options
from ._engine import (
    Engine,
    Handler,
    Media,
    Subscription,
)
from ._object import Object
from ._objects import (
    DirectTransport,
    PipeTransport,
    PlainTransport,
    Router,
    Transport,
    WebRtcServer,
    WebRtcTransport,
)
from ._streams import ActiveSpeakerObserver, AudioLevelObserver, Consumer, Observer, Producer
from .errors import (
    AbiMismatchError,
    AddressUnavailableError,
    AlreadyExistsError,
    BusyError,
    ClosedError,
    Code,
    Error,
    ForkedError,
    InternalError,
    InvalidArgumentError,
    InvalidStateError,
    LibraryNotFoundError,
    MalformedError,
    NotFoundError,
    PanicError,
    ResourceExhaustedError,
    StartError,
    TimeoutError,
    UnsupportedError,
)
from .media import (
    MediaBatch,
    RtpPacket,
)
from .schema import *  # noqa: F403

__version__ = "0.1.0"


def version() -> str:
    """Version of the shared library, such as ``0.1.0``."""
    return _ffi.version()


def library_path() -> str:
    """The file of the shared library, or the name by which the system's loader found it."""
    return str(_ffi.lib._name)


def preflight(options: schema.EngineOptions | None = None) -> tuple[bool, str]:
    """Whether an engine could start on this machine, and a line for each check: state, name, value and remedy.

    Takes under a second. Raises ``InvalidArgumentError`` for a value that does not fit its field.
    """
    status, report = _ffi.preflight(b"" if options is None else encode_options(options))
    return status == 0, report


__all__ = [
    "AbiMismatchError",
    "ActiveSpeakerObserver",
    "AddressUnavailableError",
    "AlreadyExistsError",
    "AudioLevelObserver",
    "BusyError",
    "ClosedError",
    "Code",
    "Consumer",
    "DirectTransport",
    "Engine",
    "Error",
    "ForkedError",
    "Handler",
    "InternalError",
    "InvalidArgumentError",
    "InvalidStateError",
    "LibraryNotFoundError",
    "MalformedError",
    "Media",
    "MediaBatch",
    "NotFoundError",
    "Object",
    "Observer",
    "PanicError",
    "PipeTransport",
    "PlainTransport",
    "Producer",
    "ResourceExhaustedError",
    "Router",
    "RtpPacket",
    "StartError",
    "Subscription",
    "TimeoutError",
    "Transport",
    "UnsupportedError",
    "WebRtcServer",
    "WebRtcTransport",
    "library_path",
    "preflight",
    "version",
]
__all__ += schema.__all__
