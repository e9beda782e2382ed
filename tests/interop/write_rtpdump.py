"""Has an engine write an rtpdump of a plain transport's packets, and prints as JSON what was sent to it.
write_rtpdump.py FOLDER whole|headers. Told by the environment: LIBSFU_LIBRARY, PYTHONPATH (of the package)."""

import json
import socket
import struct
import sys
import time

import libsfu
from libsfu import schema

SSRC = 0x0A0B0C0D


def packets() -> list[bytes]:
    """Sound of several lengths with a report between, over a wrap of the numbers."""
    rtp = [
        struct.pack(">BBHII", 0x80, 111, (65_533 + n) & 0xFFFF, 960 * n, SSRC) + bytes([n] * (40 * n)) for n in range(6)
    ]
    report = struct.pack(">BBHIQIII", 0x80, 200, 6, SSRC, 0xE000_0000_8000_0000, 960, 3, 120)
    return [*rtp[:3], report, *rtp[3:]]


def main(folder: str, what: str) -> None:
    options = libsfu.EngineOptions(shards=1, unpinned=True, tap_directory=folder)
    with libsfu.Engine(options, call_timeout=30) as engine, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        opus = libsfu.RtpCodecCapability(libsfu.MediaKind.AUDIO, "audio/opus", 48000, channels=2)
        router = engine.create_router([opus])
        plain = router.create_plain_transport(libsfu.ListenInfo("127.0.0.1"))
        peer.bind(("127.0.0.1", 0))
        port = peer.getsockname()[1]
        plain.connect("127.0.0.1", port)
        began = time.time()
        with plain.events(schema.TapClosed) as events:
            plain.start_tap(f"{what}.rtpdump", format=schema.TapFormat.RTPDUMP, headers_only=what == "headers")
            for packet in packets():
                peer.sendto(packet, (plain.address, plain.port))
            # They lie in the socket's queue: what is asked of the shard is answered between them.
            deadline = time.monotonic() + 30
            while plain.stats().transport.packets_received < len(packets()):
                assert time.monotonic() < deadline, "the packets do not arrive"
            plain.stop_tap()
            closed = events.get(timeout=30)
        assert (closed.reason, closed.dropped, closed.packets) == (schema.TapEnd.STOPPED, 0, len(packets()))
        sent = [{"rtcp": 192 <= packet[1] <= 223, "payload": packet.hex()} for packet in packets()]
        json.dump({"port": port, "began": began, "ended": time.time(), "packets": sent}, sys.stdout)


main(sys.argv[1], sys.argv[2])
