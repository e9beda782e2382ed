"""Records what somebody publishes by WHIP into a file that plays everywhere.

    whip_to_file.py talk.mkv [--listen 127.0.0.1:8080] [--ip 127.0.0.1] [--token SECRET] [--seconds N]
    ffmpeg -re -i talk.mp4 -c:v libx264 -profile:v baseline -bf 0 -c:a libopus -f whip http://127.0.0.1:8080/whip/talk

The first publisher is recorded, from its coming to its going. Media is copied, not transcoded: each stream leaves the
router by a plain transport, and FFmpeg's own RTP reader (by PyAV) puts packets in order and frames together.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import socket
import tempfile
import threading
from typing import Any

import av
from whip import CODECS, Publisher, Whip

from libsfu import aio, schema

log = logging.getLogger("whip_to_file")

# Between two requests for a key frame, until the reader has seen one, seconds.
KEY_FRAMES_EVERY = 0.5


def datagrams() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)


def free_ports() -> int:
    """An even port whose next one is free too: FFmpeg reads RTCP there."""
    while True:
        with (
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
            socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as two,
        ):
            one.bind(("127.0.0.1", 0))
            port: int = one.getsockname()[1]
            with contextlib.suppress(OSError):
                two.bind(("127.0.0.1", port ^ 1))
                return port & ~1


def description(streams: list[tuple[aio.Consumer, int]]) -> str:
    """What FFmpeg is to receive, as SDP."""
    lines = ["v=0", "o=- 0 0 IN IP4 127.0.0.1", "s=libsfu", "c=IN IP4 127.0.0.1", "t=0 0"]
    for consumer, port in streams:
        codec = next(c for c in consumer.rtp_parameters.codecs if not c.mime_type.lower().endswith("/rtx"))
        number, name = codec.payload_type, codec.mime_type.partition("/")[2]
        channels = f"/{codec.channels}" if codec.channels and codec.channels > 1 else ""
        lines.append(f"m={consumer.kind} {port} RTP/AVP {number}")
        lines.append(f"a=rtpmap:{number} {name}/{codec.clock_rate}{channels}")
        if codec.parameters:
            given = ";".join(f"{key}={value}" for key, value in codec.parameters.items())
            lines.append(f"a=fmtp:{number} {given}")
    return "\r\n".join(lines) + "\r\n"


class Recording:
    """FFmpeg's reader and writer on a thread of their own, since both block."""

    def __init__(self, sdp: str, path: str) -> None:
        self.sdp, self.path = sdp, path
        self.seen = threading.Event()
        """The reader knows what every stream is."""
        self.stop = threading.Event()
        self.packets: dict[str, int] = {}

    def run(self) -> None:
        """Until `stop`, or until nothing comes for two seconds."""
        with tempfile.NamedTemporaryFile("w", suffix=".sdp") as file:
            file.write(self.sdp)
            file.flush()
            options = {"protocol_whitelist": "file,udp,rtp", "analyzeduration": "20000000", "reorder_queue_size": "256"}
            # Interrupted by its timeout when nothing comes: that is the end of a stream.
            with av.open(file.name, format="sdp", options=options, timeout=(30.0, 2.0)) as source:
                self._copy(source)

    def _copy(self, source: Any) -> None:
        with av.open(self.path, "w") as out:
            streams = {stream.index: out.add_stream_from_template(stream) for stream in source.streams}
            latest: dict[int, int] = {}
            self.seen.set()
            with contextlib.suppress(av.error.ExitError, av.error.EOFError):
                for packet in source.demux():
                    if self.stop.is_set():
                        break
                    if packet.dts is None:
                        continue
                    # A sender report may put the times of a stream back a little, which no container takes.
                    last = latest.get(packet.stream.index, packet.dts - 1)
                    late = max(0, last + 1 - packet.dts)
                    packet.dts, packet.pts = (
                        packet.dts + late,
                        (packet.dts if packet.pts is None else packet.pts) + late,
                    )
                    latest[packet.stream.index] = packet.dts
                    kind = packet.stream.type
                    packet.stream = streams[packet.stream.index]
                    out.mux(packet)
                    self.packets[kind] = self.packets.get(kind, 0) + 1


async def record(publisher: Publisher, router: aio.Router, path: str, end: asyncio.Event) -> dict[str, int]:
    """Records one publisher until it goes, or until `end`."""
    streams: list[tuple[aio.Consumer, int]] = []
    for producer in publisher.producers:
        port = free_ports()
        plain = await router.create_plain_transport(schema.ListenInfo("127.0.0.1"))
        await plain.connect("127.0.0.1", port)
        streams.append((await plain.consume(producer, router.rtp_capabilities, enable_rtx=False), port))
    recording = Recording(description(streams), path)
    running = asyncio.ensure_future(asyncio.to_thread(recording.run))
    stopping = asyncio.ensure_future(end.wait())
    while not recording.seen.is_set() and not running.done() and not stopping.done():
        for consumer, _ in streams:
            if consumer.kind is schema.MediaKind.VIDEO and not consumer.closed:
                await consumer.request_key_frame()
        await asyncio.wait([running, stopping], timeout=KEY_FRAMES_EVERY, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.wait([running, stopping], return_when=asyncio.FIRST_COMPLETED)
    recording.stop.set()
    stopping.cancel()
    await running
    return recording.packets


async def run(options: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    end = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end.set)
    first: asyncio.Future[Publisher] = loop.create_future()

    def came(publisher: Publisher) -> None:
        if not first.done():
            first.set_result(publisher)

    def went(publisher: Publisher) -> None:
        if first.done() and first.result() is publisher:
            end.set()

    host, _, port = options.listen.rpartition(":")
    async with aio.Engine(schema.EngineOptions(shards=1)) as engine:
        router = await engine.create_router(CODECS)
        whip = Whip(router, [schema.ListenInfo(options.ip)], token=options.token, came=came, went=went)
        server = await whip.serve(host, int(port))
        address = server.sockets[0].getsockname()
        print(f"publish to http://{address[0]}:{address[1]}/whip/NAME", flush=True)
        stopping = asyncio.ensure_future(end.wait())
        waiting: list[asyncio.Future[Any]] = [first, stopping]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if first.done():
            print(f"recording {first.result().name}", flush=True)
            if options.seconds:
                loop.call_later(options.seconds, end.set)
            packets = await record(first.result(), router, options.file, end)
            told = ", ".join(f"{count} of {kind}" for kind, count in sorted(packets.items()))
            print(f"{options.file}: {os.path.getsize(options.file)} bytes, packets: {told or 'none'}", flush=True)
        server.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="what to write; its ending tells the container: .mkv, .webm, .mp4")
    parser.add_argument("--listen", default="127.0.0.1:8080", help="address and port of the HTTP side")
    parser.add_argument("--ip", default="127.0.0.1", help="address of the media side")
    parser.add_argument("--token", default=os.environ.get("WHIP_TOKEN", ""), help="what publishers have to know")
    parser.add_argument("--seconds", type=float, default=0, help="stop after so long; 0 is when the publisher goes")
    logging.basicConfig(level=logging.INFO)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
