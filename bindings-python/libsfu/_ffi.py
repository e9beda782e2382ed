"""The C ABI by ctypes: finds the shared library, checks its version, declares its functions.

Told: `LIBSFU_LIBRARY`, or nothing. Tells: the library, or an exception that names what was looked for, what was found
and both versions. The library is looked for in the environment variable, in the package (wheels carry it) and where the
system's loader looks. Left out: what goes through the functions.
"""

from __future__ import annotations

import ctypes
import os
from ctypes import POINTER, c_char_p, c_int32, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p
from pathlib import Path

from .errors import AbiMismatchError, Code, Error, LibraryNotFoundError, error_of

# Versions that this package was made for: SFU_ABI_VERSION and SFU_SCHEMA_VERSION of the header in its sources.
ABI_VERSION = 1
SCHEMA_VERSION = 1

SONAME = "libsfu.so.0"
BUNDLED = Path(__file__).parent / "_lib" / SONAME
# Room for the line that says why a call was refused.
WHY = 1024

_SIGNATURES = {
    "sfu_version": (c_char_p, []),
    "sfu_abi_version": (c_uint32, []),
    "sfu_schema_version": (c_uint32, []),
    "sfu_status_text": (c_char_p, [c_uint32]),
    "sfu_preflight": (c_uint32, [c_uint32, c_char_p, c_size_t, c_void_p, c_size_t, POINTER(c_size_t)]),
    "sfu_engine_new": (c_uint32, [c_uint32, c_char_p, c_size_t, POINTER(c_uint64), c_void_p, c_size_t]),
    "sfu_engine_submit": (c_uint32, [c_uint64, c_char_p, c_size_t, c_void_p, c_size_t]),
    "sfu_engine_poll": (c_uint32, [c_uint64, POINTER(c_uint8), c_size_t, POINTER(c_size_t), POINTER(c_size_t)]),
    "sfu_engine_send_media": (c_uint32, [c_uint64, c_char_p, c_size_t, POINTER(c_size_t)]),
    "sfu_engine_poll_media": (c_uint32, [c_uint64, POINTER(c_uint8), c_size_t, POINTER(c_size_t), POINTER(c_size_t)]),
    "sfu_engine_media_fd": (c_uint32, [c_uint64, POINTER(c_int32)]),
    "sfu_engine_wait": (c_uint32, [c_uint64, c_uint32]),
    "sfu_engine_event_fd": (c_uint32, [c_uint64, POINTER(c_int32)]),
    "sfu_engine_shutdown": (c_uint32, [c_uint64, c_uint32]),
    "sfu_engine_free": (c_uint32, [c_uint64]),
}


def candidates() -> list[str]:
    """Where the library may be, the first one that is there wins. What the environment names has to be there."""
    named = os.environ.get("LIBSFU_LIBRARY")
    if named:
        return [named]
    return [*([str(BUNDLED)] if BUNDLED.exists() else []), SONAME]


def load() -> ctypes.CDLL:
    """Loads the library and checks that it serves this package."""
    tried = []
    for path in candidates():
        try:
            library = ctypes.CDLL(path)
        except OSError as error:
            tried.append(f"{path}: {error}")
            continue
        return declared(library, path)
    raise LibraryNotFoundError(
        f"{SONAME} was not found ({'; '.join(tried)}); install a wheel that carries it, or name the file in LIBSFU_LIBRARY",
        code=Code.ABI_MISMATCH,
        field="LIBSFU_LIBRARY",
    )


def declared(library: ctypes.CDLL, path: str) -> ctypes.CDLL:
    """Declares the functions; refuses a library of another version, or one that is not libsfu at all."""
    for name, (result, arguments) in _SIGNATURES.items():
        try:
            function = getattr(library, name)
        except AttributeError:
            raise mismatch(path, f"it has no {name}") from None
        function.restype, function.argtypes = result, arguments
        if name == "sfu_schema_version":
            # Before the others are looked for: a library that is too old says so better by its numbers.
            check(library, path)
    return library


def check(library: ctypes.CDLL, path: str) -> None:
    """Versions only add, so that a newer library serves an older package."""
    abi, schema = library.sfu_abi_version(), library.sfu_schema_version()
    if abi < ABI_VERSION:
        raise mismatch(path, f"it has ABI {abi}, this package needs {ABI_VERSION}")
    if schema < SCHEMA_VERSION:
        raise mismatch(path, f"it has schema {schema}, this package needs {SCHEMA_VERSION}")


def mismatch(path: str, found: str) -> AbiMismatchError:
    """A library that does not serve this package."""
    text = f"{path} does not serve this package: {found}; install a library and a package of one version"
    return AbiMismatchError(text, code=Code.ABI_MISMATCH, field="LIBSFU_LIBRARY")


lib = load()


def refused(status: int, why: bytes = b"") -> Error:
    """The exception for a status and the line beside it.

    The line of a refused request is `Code: field: text`, where the field may be left out; the code says what the
    status says. The line of an engine that does not start is a sentence.
    """
    text = why.decode(errors="replace")
    if not text:
        return error_of(status, lib.sfu_status_text(status).decode())
    if status >= 100:
        return error_of(status, text)
    _, _, text = text.partition(": ")
    field, colon, rest = text.partition(": ")
    return error_of(status, rest, field) if colon and " " not in field else error_of(status, text)


def version() -> str:
    """Version of the library, such as ``0.1.0``."""
    return str(lib.sfu_version().decode())


def preflight(options: bytes = b"") -> tuple[int, str]:
    """Whether an engine could start here, and a line for each check."""
    length = c_size_t()
    room = ctypes.create_string_buffer(16384)
    status = lib.sfu_preflight(ABI_VERSION, options, len(options), room, len(room), length)
    return status, room.value.decode(errors="replace")
