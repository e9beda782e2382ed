"""Shows what goes on in a room, live in the terminal.

    room_monitor.py host [--listen 127.0.0.1:8080] [--ip 127.0.0.1]     a room of its own; publish by WHIP
    room_monitor.py watch http://127.0.0.1:3000                         the rooms of a running `sfu serve --metrics-rooms 9`

A room of its own is read by the engine's statistics and events: each stream with its codec, bitrate, loss, jitter, round
trip, score and loudness, and what happened last. A service is read by its OpenMetrics page: rooms, shards, refusals.
Ends by Ctrl-C, or after `--seconds`.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import os
import re
import shutil
import signal
import sys
import urllib.request
from collections.abc import Awaitable, Iterable
from typing import Callable

from whip import CODECS, Publisher, Whip

import libsfu
from libsfu import aio, schema

# Events that are shown, the latest ones.
EVENTS_SHOWN = 8
METRICS_MAX = 16 << 20


def table(titles: list[str], rows: Iterable[list[str]]) -> list[str]:
    """Lines of columns as wide as what is in them; the first one is on the left, numbers are on the right."""
    rows = [titles, *rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(titles))]
    pad = [str.ljust] + [str.rjust] * (len(titles) - 1)
    return ["  ".join(pad[i](row[i], widths[i]) for i in range(len(row))).rstrip() for row in rows]


def rate(bits: float) -> str:
    """A bitrate for people."""
    return f"{bits / 1e6:.2f} Mbit/s" if bits >= 1e6 else f"{bits / 1e3:.1f} kbit/s"


# ---- A room of its own ----


class Room:
    """What is known of a room, by asking and by listening."""

    def __init__(self, router: aio.Router, whip: Whip) -> None:
        self.router, self.whip = router, whip
        self.volumes: dict[int, int] = {}
        self.speaker = 0
        self.happened: collections.deque[str] = collections.deque(maxlen=EVENTS_SHOWN)
        engine = router.engine
        engine.on(schema.AudioVolumes, self._loud)
        engine.on(schema.AudioSilence, lambda event: self.volumes.clear())
        engine.on(schema.DominantSpeakerChanged, self._speaks)
        for kind in (schema.IceStateChanged, schema.DtlsStateChanged, schema.WantedLayers, schema.ObjectClosed):
            engine.on(kind, self._note)

    def _loud(self, event: schema.AudioVolumes) -> None:
        self.volumes = {entry.producer: entry.volume for entry in event.volumes}

    def _speaks(self, event: schema.DominantSpeakerChanged) -> None:
        self.speaker = event.producer

    def _note(self, event: schema.Event) -> None:
        told = ", ".join(f"{key} {value}" for key, value in event.to_json().items() if key != "source")
        self.happened.append(f"{type(event).__name__} {event.source:016x} {told}")

    async def lines(self) -> list[str]:
        """The picture."""
        dump, report = await asyncio.gather(self.router.dump(), self.router.stats(summary=True))
        rows = []
        for publisher in list(self.whip.publishers.values()):
            rows += await self._rows(publisher.name, publisher.transport, publisher.producers)
        drops = ", ".join(f"{drop.value} {drop.name}" for drop in report.drops) or "none"
        heading = (
            f"{len(dump.transports)} transports, {len(dump.producers)} producers, {len(dump.consumers)} consumers; "
            f"refused: {drops}"
        )
        titles = ["publisher", "kind", "codec", "bitrate", "packets", "lost", "jitter", "rtt", "score", "level"]
        return [heading, "", *table(titles, rows), "", *self.happened]

    async def _rows(self, name: str, transport: aio.WebRtcTransport, producers: list[aio.Producer]) -> list[list[str]]:
        rows = []
        for producer in producers:
            try:
                streams = (await producer.stats()).streams
            except libsfu.NotFoundError:
                continue  # It went while it was asked.
            mark = "*" if producer.id == self.speaker else " "
            loud = f"{self.volumes[producer.id]} dBov" if producer.id in self.volumes else "-"
            for stream in streams:
                rtt = "-" if stream.round_trip_time_ms is None else f"{stream.round_trip_time_ms:.0f} ms"
                codec = (stream.mime_type or "-").partition("/")[2]
                kind = f"{stream.kind}{' ' + stream.rid if stream.rid else ''}"
                row = [mark + name, kind, codec, rate(stream.bitrate), str(stream.packets), str(stream.packets_lost)]
                rows.append([*row, str(stream.jitter), rtt, f"{stream.score}/10", loud])
        return rows


async def host(options: argparse.Namespace, end: asyncio.Event) -> None:
    address, _, port = options.listen.rpartition(":")
    async with aio.Engine(schema.EngineOptions(shards=1)) as engine:
        router = await engine.create_router(CODECS)
        levels = await router.create_audio_level_observer(max_entries=32, interval_ms=500)
        speaker = await router.create_active_speaker_observer()

        async def observe(producer: aio.Producer) -> None:
            if producer.kind is schema.MediaKind.AUDIO:
                await levels.observe(producer)
                await speaker.observe(producer)

        tasks: set[asyncio.Task[None]] = set()

        def came(publisher: Publisher) -> None:
            for producer in publisher.producers:
                task = asyncio.ensure_future(observe(producer))
                tasks.add(task)
                task.add_done_callback(tasks.discard)

        whip = Whip(router, [schema.ListenInfo(options.ip)], token=options.token, came=came)
        server = await whip.serve(address, int(port))
        where = server.sockets[0].getsockname()
        print(f"publish to http://{where[0]}:{where[1]}/whip/NAME", flush=True)
        await show(Room(router, whip).lines, options.every, end)
        server.close()


# ---- The rooms of a service ----

SAMPLE = re.compile(r"^(\w+)(?:\{(.*)\})? ([0-9.eE+-]+)$")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def samples(text: str) -> list[tuple[str, dict[str, str], float]]:
    """The samples of an OpenMetrics page."""
    found = []
    for line in text.splitlines():
        match = SAMPLE.match(line)
        if match and not line.startswith("#"):
            found.append((match[1], dict(LABEL.findall(match[2] or "")), float(match[3])))
    return found


def service_lines(text: str) -> list[str]:
    """The picture of a service."""
    rooms: dict[str, dict[str, float]] = collections.defaultdict(dict)
    shards: dict[str, dict[str, float]] = collections.defaultdict(lambda: collections.defaultdict(float))
    plain: dict[str, float] = {}
    for name, labels, value in samples(text):
        if "room" in labels:
            key = labels.get("kind") or labels.get("direction", "")
            if name in ("sfu_room_objects", "sfu_room_bitrate_bits_per_second"):
                rooms[labels["room"]][key] = value
        elif "shard" in labels:
            key = {"sfu_shard_objects": labels.get("kind", ""), "sfu_shard_dropped_total": "dropped"}.get(name, name)
            shards[labels["shard"]][key] += value
        elif not labels:
            plain[name] = value

    def number(row: dict[str, float], *names: str) -> str:
        return str(int(sum(value for key, value in row.items() if key.rstrip("s") in names or key in names)))

    heading = f"{plain.get('sfu_rooms', 0):.0f} rooms, {plain.get('sfu_peers', 0):.0f} peers"
    room_rows = []
    for room, row in sorted(rooms.items()):
        rates = [
            rate(value)
            for key, value in sorted(row.items())
            if key in ("received", "sent", "in", "out", "receive", "send")
        ]
        counts = [number(row, kind) for kind in ("transport", "producer", "consumer")]
        room_rows.append([room, *counts, *([*rates, "-", "-"])[:2]])
    shard_rows = [
        [shard, number(row, "router"), number(row, "sfu_shard_datagrams_received_total"),
         number(row, "sfu_shard_datagrams_sent_total"), number(row, "dropped")]
        for shard, row in sorted(shards.items())
    ]  # fmt: skip
    return [
        heading,
        "",
        *table(["room", "transports", "producers", "consumers", "in", "out"], room_rows),
        "",
        *table(["shard", "routers", "datagrams in", "datagrams out", "refused"], shard_rows),
    ]


async def watch(options: argparse.Namespace, end: asyncio.Event) -> None:
    url = options.url.rstrip("/") + "/metrics"
    if not url.startswith(("http://", "https://")):
        sys.exit(f"{options.url} is no address of a service; give one that begins with http:// or https://")

    def fetched() -> str:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return str(answer.read(METRICS_MAX).decode())

    async def lines() -> list[str]:
        try:
            return service_lines(await asyncio.to_thread(fetched))
        except OSError as error:
            return [f"{url}: {error}"]

    await show(lines, options.every, end)


# ---- The terminal ----


async def show(lines: Callable[[], Awaitable[list[str]]], every: float, end: asyncio.Event) -> None:
    """Draws until the end; into a file or a pipe it writes one picture after the other."""
    terminal = sys.stdout.isatty()
    while True:
        picture = await lines()
        if terminal:
            size = shutil.get_terminal_size()
            picture = [line[: size.columns] for line in picture[: size.lines - 1]]
            # Home, and each line erased behind what is written: no flicker.
            print("\x1b[H" + "".join(f"{line}\x1b[K\n" for line in picture) + "\x1b[J", end="", flush=True)
        else:
            print("\n".join(picture), end="\n\n", flush=True)
        stopping = asyncio.ensure_future(end.wait())
        done, _ = await asyncio.wait([stopping], timeout=every)
        stopping.cancel()
        if done:
            return


async def run(options: argparse.Namespace) -> None:
    loop, end = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end.set)
    if options.seconds:
        loop.call_later(options.seconds, end.set)
    await {"host": host, "watch": watch}[options.command](options, end)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    hosting = commands.add_parser("host", help="a room of its own")
    hosting.add_argument("--listen", default="127.0.0.1:8080", help="address and port of the HTTP side")
    hosting.add_argument("--ip", default="127.0.0.1", help="address of the media side")
    hosting.add_argument("--token", default=os.environ.get("WHIP_TOKEN", ""), help="what publishers have to know")
    watching = commands.add_parser("watch", help="the rooms of a running service")
    watching.add_argument("url", help="its address, such as http://127.0.0.1:3000")
    for command in (hosting, watching):
        command.add_argument("--every", type=float, default=1.0, help="between two pictures, seconds")
        command.add_argument("--seconds", type=float, default=0, help="end after so long; 0 is never")
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
