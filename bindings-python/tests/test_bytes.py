"""Bytes that are no messages, pointers that are none, libraries of another version."""

from __future__ import annotations

import ctypes
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from room import OPTIONS

import libsfu
from libsfu import Code, schema
from libsfu._codec import encode_request
from libsfu._core import Core
from libsfu._ffi import ABI_VERSION, lib


class Kept:
    """A slot and a sink that keep what they are told."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.events: list[Any] = []

    def fill(self, answer: Any) -> None:
        self.answers.append(answer)

    def publish(self, event: Any) -> None:
        self.events.append(event)


@pytest.fixture
def core() -> Iterator[Core]:
    """An engine that nobody reads until the test does."""
    core = Core(OPTIONS, Kept())
    yield core
    core.free()


def alive(engine: libsfu.Engine) -> None:
    assert engine.dump().version == libsfu.version()


VALID = encode_request(
    1 << 40, 0, schema.CreateRouter([schema.RtpCodecCapability(schema.MediaKind.AUDIO, "audio/opus", 48000)])
)


def refused(engine: libsfu.Engine, message: bytes) -> libsfu.Error | None:
    try:
        engine._pump.core.submit_bytes(message)
    except libsfu.Error as error:
        return error
    return None


def test_row_067_truncated_and_foreign_bytes_are_malformed(engine: libsfu.Engine) -> None:
    luck = random.Random(67)
    for size in range(len(VALID)):
        error = refused(engine, VALID[:size])
        assert isinstance(error, libsfu.MalformedError), size
    for message in (b"", bytes(64), VALID[:8] + b"NONE" + VALID[12:], luck.randbytes(1000)):
        assert isinstance(refused(engine, message), libsfu.MalformedError)
    alive(engine)


def test_row_067_flipped_bits_are_refused_or_answered(engine: libsfu.Engine) -> None:
    luck = random.Random(68)
    for _ in range(2000):
        message = bytearray(VALID)
        for _ in range(luck.randint(1, 4)):
            message[luck.randrange(4, len(message))] ^= 1 << luck.randrange(8)
        error = refused(engine, bytes(message))
        # What is still a message is answered to nobody, or refused by a code that names the field.
        assert error is None or error.code in range(1, 12)
    alive(engine)


def test_row_068_a_length_that_lies_costs_nothing(engine: libsfu.Engine) -> None:
    for size in (2**32 - 1, 2**31, len(VALID), len(VALID) - 5, 0):
        assert isinstance(refused(engine, size.to_bytes(4, "little") + VALID[4:]), libsfu.MalformedError)
    # Wherever the bytes lie, they are read.
    for shift in range(8):
        number = encode_request((1 << 41) + shift, 0, schema.GetDump())
        at = ctypes.create_string_buffer(b"\0" * shift + number)
        pointer = ctypes.cast(ctypes.addressof(at) + shift, ctypes.c_char_p)
        assert lib.sfu_engine_submit(engine._pump.core.handle, pointer, len(number), None, 0) == Code.OK
    alive(engine)


def test_row_069_unions_without_body_and_methods_of_other_kinds(engine: libsfu.Engine, router: libsfu.Router) -> None:
    import flatbuffers

    from libsfu import _fbs
    from libsfu._codec import _finished

    for tag in (0, 1, 200):
        builder = flatbuffers.Builder(64)
        _fbs.RequestStart(builder)
        _fbs.RequestAddId(builder, 9)
        _fbs.RequestAddBodyType(builder, tag)
        error = refused(engine, _finished(builder, _fbs.Content.Request, _fbs.RequestEnd(builder)))
        assert isinstance(error, libsfu.MalformedError), tag
    for body in (schema.RequestKeyFrame(), schema.RestartIce(), schema.SetPriority(3), schema.Observe(1)):
        with pytest.raises(libsfu.Error) as refusal:
            engine.request(router.id, body)
        assert refusal.value.code in (Code.UNSUPPORTED, Code.INVALID_ARGUMENT, Code.NOT_FOUND, Code.INVALID_STATE)
    alive(engine)


def test_row_071_a_request_id_in_use_is_refused_and_the_first_is_answered(core: Core) -> None:
    message = encode_request(7, 0, schema.GetDump())
    slot = Kept()
    core._waiting[7] = slot
    core.submit_bytes(message)
    with pytest.raises(libsfu.AlreadyExistsError):
        core.submit_bytes(message)
    while not slot.answers:
        lib.sfu_engine_wait(core.handle, 1000)
        core.drain()
    assert [type(answer) for answer in slot.answers] == [schema.EngineDump]
    core.submit_bytes(message)


def test_row_076_null_pointers_are_told(core: Core) -> None:
    null = Code.NULL_POINTER
    handle, number, size = core.handle, ctypes.c_uint64(), ctypes.c_size_t()
    buffer = (ctypes.c_uint8 * 16)()
    assert lib.sfu_engine_new(ABI_VERSION, None, 8, number, None, 0) == null
    assert lib.sfu_engine_new(ABI_VERSION, None, 0, None, None, 0) == null
    assert lib.sfu_engine_submit(handle, None, 8, None, 0) == null
    assert lib.sfu_engine_poll(handle, None, 16, size, size) == null
    assert lib.sfu_engine_poll(handle, buffer, 16, None, size) == null
    assert lib.sfu_engine_poll(handle, buffer, 16, size, None) == null
    assert lib.sfu_engine_poll_media(handle, None, 16, size, size) == null
    assert lib.sfu_engine_send_media(handle, None, 8, size) == null
    assert lib.sfu_engine_event_fd(handle, None) == null
    assert lib.sfu_engine_media_fd(handle, None) == null
    assert lib.sfu_engine_poll(handle, None, 0, size, size) == Code.OK
    assert lib.sfu_engine_send_media(handle, None, 0, None) == Code.OK


def test_row_083_a_full_queue_is_busy_and_every_accepted_request_is_answered(core: Core) -> None:
    slot, accepted = Kept(), 0
    while True:
        try:
            core.submit(0, schema.GetStats(summary=True), slot)
            accepted += 1
        except libsfu.BusyError:
            break
        assert accepted < 100_000
    while len(slot.answers) < accepted:
        lib.sfu_engine_wait(core.handle, 1000)
        core.drain()
    assert {type(answer) for answer in slot.answers} == {schema.StatsReport}
    core.submit(0, schema.GetDump(), slot)


FAKE = """
const char *sfu_version(void) { return "9.9.9"; }
unsigned sfu_abi_version(void) { return ABI; }
unsigned sfu_schema_version(void) { return SCHEMA; }
"""


def imported(path: str | Path) -> str:
    """What importing says with that library."""
    run = subprocess.run(
        [sys.executable, "-c", "import libsfu"],
        env={**os.environ, "LIBSFU_LIBRARY": str(path)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert run.returncode == 1
    return run.stderr.strip().splitlines()[-1]


def test_row_085_a_library_of_another_version_is_told_with_both_and_the_file(tmp_path: Path) -> None:
    (tmp_path / "fake.c").write_text(FAKE)
    for abi, schema_version, told in ((0, 9, "ABI 0"), (9, 0, "schema 0"), (9, 9, "has no sfu_status_text")):
        path = tmp_path / f"libfake{abi}{schema_version}.so"
        defines = [f"-DABI={abi}", f"-DSCHEMA={schema_version}"]
        subprocess.run(["cc", "-shared", "-fPIC", *defines, tmp_path / "fake.c", "-o", path], check=True)
        said = imported(path)
        assert said.startswith("libsfu.errors.AbiMismatchError") and told in said and str(path) in said
    assert "this package needs 1" in imported(tmp_path / "libfake09.so")


def test_row_085_a_library_that_is_not_there_is_told_with_its_name(tmp_path: Path) -> None:
    said = imported(tmp_path / "nowhere.so")
    assert "LibraryNotFoundError" in said and "nowhere.so" in said and "LIBSFU_LIBRARY" in said


def test_row_085_a_header_of_the_future_is_refused_by_the_library() -> None:
    number, why = ctypes.c_uint64(), ctypes.create_string_buffer(64)
    for abi in (0, ABI_VERSION + 1000):
        assert lib.sfu_engine_new(abi, None, 0, number, why, 64) == Code.ABI_MISMATCH
