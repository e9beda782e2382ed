"""Packets of direct transports: batches that are not copied, RTP headers, and numpy where it is installed.

Told: bytes of a batch, or packets to send. Tells: views into the batch, or the bytes that the engine takes. Limits: a
packet is at most 65,507 bytes. RTP headers follow RFC 3550, section 5.1, and RFC 8285 for their extensions.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Protocol, Union

from .errors import invalid

BytesLike = Union[bytes, bytearray, memoryview]

_RECORD = struct.Struct("<QI")
_RTP = struct.Struct("!BBHII")
PACKET_MAX = 65507


class Identified(Protocol):
    """An object of either face."""

    id: int


class MediaBatch:
    """Packets that came together, in the order in which they came for each object.

    Iterating gives ``(object id, packet)``: the id of the consumer for RTP, of the transport for RTCP; the packet is a
    read-only ``memoryview`` into the batch, nothing is copied. Views live as long as somebody holds them.
    """

    def __init__(self, data: BytesLike) -> None:
        self.data = memoryview(data).toreadonly()
        self._index: list[tuple[int, int, int]] | None = None

    def index(self) -> list[tuple[int, int, int]]:
        """Object id, offset into ``data`` and length of each packet."""
        if self._index is None:
            found, at, data, end = [], 0, self.data, len(self.data)
            unpack = _RECORD.unpack_from
            while at < end:
                source, length = unpack(data, at)
                at += 12
                found.append((source, at, length))
                at += length
            self._index = found
        return self._index

    def __len__(self) -> int:
        return len(self.index())

    def __iter__(self) -> Iterator[tuple[int, memoryview]]:
        data = self.data
        for source, at, length in self.index():
            yield source, data[at : at + length]

    def of(self, object: int | Identified) -> Iterator[memoryview]:
        """The packets of one object."""
        wanted = object if isinstance(object, int) else object.id
        return (packet for source, packet in self if source == wanted)

    def numpy(self) -> tuple[Any, Any, Any, Any]:
        """Arrays of ids (uint64), offsets, lengths (both intp) and of all bytes (uint8, not copied).

        Packet ``i`` is ``data[offsets[i]:offsets[i] + lengths[i]]``. Raises ``ImportError`` without numpy.
        """
        import numpy

        rows = self.index()
        ids = numpy.fromiter((row[0] for row in rows), numpy.uint64, len(rows))
        offsets = numpy.fromiter((row[1] for row in rows), numpy.intp, len(rows))
        lengths = numpy.fromiter((row[2] for row in rows), numpy.intp, len(rows))
        return ids, offsets, lengths, numpy.frombuffer(self.data, numpy.uint8)


def records(packets: Iterable[tuple[int | Identified, BytesLike]]) -> bytes:
    """The bytes that the engine takes for packets, each with the id of a producer or of a direct transport."""
    parts: list[BytesLike] = []
    for number, (target, packet) in enumerate(packets):
        size = len(packet) if not isinstance(packet, memoryview) else packet.nbytes
        if not 0 < size <= PACKET_MAX:
            raise invalid(f"packets[{number}]", f"a packet of {size} bytes; give 1 to {PACKET_MAX}")
        id = target if isinstance(target, int) else target.id
        if not 0 <= id < 2**64:
            raise invalid(f"packets[{number}]", f"{id} is not an id of 64 bits")
        parts.append(_RECORD.pack(id, size))
        parts.append(packet)
    return b"".join(parts)


@dataclass
class RtpPacket:
    """An RTP packet. ``payload`` is a view into what it was parsed of; padding is left out of it."""

    payload_type: int
    sequence: int
    timestamp: int
    ssrc: int
    payload: BytesLike
    marker: bool = False
    csrcs: list[int] = field(default_factory=list)
    extensions: dict[int, BytesLike] = field(default_factory=dict)
    """Header extensions by their ids; written in the one-byte form where it can hold them."""

    @classmethod
    def parse(cls, packet: BytesLike) -> RtpPacket:
        """Reads a packet. Raises ``InvalidArgumentError`` if it is cut or of another version."""
        view = memoryview(packet)
        if len(view) < 12 or view[0] >> 6 != 2:
            raise invalid("packet", f"{len(view)} bytes are no RTP packet of version 2")
        first, second, sequence, timestamp, ssrc = _RTP.unpack_from(view)
        at = 12 + 4 * (first & 15)
        extensions: dict[int, BytesLike] = {}
        end = len(view)
        if first & 0x20:
            end -= view[-1]
        if first & 0x10 and at + 4 <= end:
            profile, words = struct.unpack_from("!HH", view, at)
            extensions = _extensions(profile, view[at + 4 : at + 4 + 4 * words])
            at += 4 + 4 * words
        if at > end:
            raise invalid("packet", "its header or its padding is longer than it")
        csrcs = [struct.unpack_from("!I", view, 12 + 4 * i)[0] for i in range(first & 15)]
        return cls(second & 127, sequence, timestamp, ssrc, view[at:end], bool(second & 128), csrcs, extensions)

    def build(self) -> bytes:
        """The bytes. Raises ``InvalidArgumentError`` for a number that does not fit its field."""
        for name, bits in (("payload_type", 7), ("sequence", 16), ("timestamp", 32), ("ssrc", 32)):
            if not 0 <= getattr(self, name) < 1 << bits:
                raise invalid(name, f"{getattr(self, name)} does not fit {bits} bits")
        extension = _extension_bytes(self.extensions)
        first = 0x80 | len(self.csrcs) | (0x10 if extension else 0)
        second = self.payload_type | (0x80 if self.marker else 0)
        head = _RTP.pack(first, second, self.sequence, self.timestamp, self.ssrc)
        return b"".join([head, *(struct.pack("!I", c) for c in self.csrcs), extension, self.payload])


def _extensions(profile: int, view: memoryview) -> dict[int, BytesLike]:
    found: dict[int, BytesLike] = {}
    at, end = 0, len(view)
    two = profile & 0xFFF0 == 0x1000
    if not two and profile != 0xBEDE:
        return found
    while at < end:
        if view[at] == 0:
            at += 1
            continue
        if two:
            if at + 2 > end:
                break
            id, size, at = view[at], view[at + 1], at + 2
        else:
            id, size, at = view[at] >> 4, (view[at] & 15) + 1, at + 1
            if id == 15:
                break
        found[id] = view[at : at + size]
        at += size
    return found


def _extension_bytes(extensions: dict[int, BytesLike]) -> bytes:
    if not extensions:
        return b""
    for id, value in extensions.items():
        if not 1 <= id <= 255 or len(value) > 255:
            raise invalid("extensions", f"id {id} with {len(value)} bytes; ids are 1 to 255, values at most 255 bytes")
    one = all(id <= 14 and 1 <= len(value) <= 16 for id, value in extensions.items())
    body = b"".join(
        bytes([id << 4 | len(value) - 1] if one else [id, len(value)]) + bytes(value)
        for id, value in extensions.items()
    )
    body += bytes(-len(body) % 4)
    return struct.pack("!HH", 0xBEDE if one else 0x1000, len(body) // 4) + body
