"""Runs one scenario of `tests/scenarios` by the package's own calls, in either face.

Told: a file, and which face. Tells: nothing, or a `Failure` with the step, what was expected and what came. A command
without a call of its own fails its scenario. The words of the files are explained in `tests/scenarios/README.md`.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import socket
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import libsfu
import libsfu.aio
from libsfu import Code, RtpPacket, schema
from libsfu._codec import Layout, layout_of
from libsfu._layout import LAYOUTS, REQUESTS

SECONDS = 10.0
COMMANDS = {table.__name__: table for table in REQUESTS.values()}
# Calls whose name is not the command's in small letters.
METHODS = {
    "CreateWebRtcServer": "create_webrtc_server",
    "CreateWebRtcTransport": "create_webrtc_transport",
    "ConnectWebRtcTransport": "connect",
    "ConnectPlainTransport": "connect",
    "ConnectPipeTransport": "connect",
    "GetRouterCapabilities": "capabilities",
    "GetSupportedCapabilities": "supported_capabilities",
    "GetDump": "dump",
    "GetStats": "stats",
    "GetDecisions": "decisions",
}
STEPS = ("call", "await", "event", "events", "send", "receive", "datagram", "start", "shutdown", "free", "raw")


class Failure(Exception):
    """A step that did not go as it should."""


def check(true: object, text: str) -> None:
    if not true:
        raise Failure(text)


# ---- Values as the files spell them ----


def camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(part.capitalize() for part in others)


def told(value: Any) -> Any:
    """A value of the schema as JSON, with ids as the numbers that they are."""
    if type(value) in LAYOUTS:
        layout: Layout = layout_of(type(value))
        pairs = ((camel(field.name), getattr(value, field.name)) for field in layout.fields)
        return {name: told(held) for name, held in pairs if held is not None}
    if isinstance(value, list):
        return [told(item) for item in value]
    return value.value if isinstance(value, schema.Name) else value


def matches(wanted: Any, found: Any) -> bool:
    """Whether what came is as expected: subsets, matchers, and absent fields that are their defaults."""
    if isinstance(wanted, dict) and len(wanted) == 1 and next(iter(wanted)).startswith("$"):
        ((word, given),) = wanted.items()
        return matched(word, given, found)
    if isinstance(wanted, dict):
        if not isinstance(found, dict):
            return found is None and not wanted
        return all(matches(value, found.get(name)) for name, value in wanted.items())
    if isinstance(wanted, list):
        items = found or []
        return len(items) == len(wanted) and all(map(matches, wanted, items))
    return bool(wanted == found) or (found is None and wanted in (0, False, ""))


def matched(word: str, given: Any, found: Any) -> bool:
    if word == "$sameItems":
        left = list(found or [])
        for item in given:
            fits = [other for other in left if matches(item, other)]
            if not fits:
                return False
            left.remove(fits[0])
        return not left
    return {
        "$any": lambda: found is not None,
        "$absent": lambda: found is None,
        "$min": lambda: (len(found) if isinstance(found, list) else found or 0) >= given,
        "$max": lambda: (len(found) if isinstance(found, list) else found or 0) <= given,
        "$count": lambda: len(found or []) == given,
        "$has": lambda: any(matches(given, item) for item in found or []),
        "$contains": lambda: given in (found or ""),
    }[word]()


# ---- Engines of both faces, with every reply remembered ----


class Blocking(libsfu.Engine):
    """Tells what the replies were of which its calls make objects."""

    replies: list[Any]

    def _call(self, target: int, body: Any) -> Any:
        reply = super()._call(target, body)
        self.replies.append(reply)
        return reply


class Awaited(libsfu.aio.Engine):
    """The same, awaited."""

    replies: list[Any]

    async def _call(self, target: int, body: Any) -> Any:
        reply = await super()._call(target, body)
        self.replies.append(reply)
        return reply


async def settled(value: Any) -> Any:
    return await asyncio.wait_for(value, 3 * SECONDS) if inspect.isawaitable(value) else value


class Side:
    """One engine of a scenario: what it told and nobody has looked at yet."""

    def __init__(self, engine: Any) -> None:
        self.engine = engine
        self.events = engine.events()
        self.unread: list[tuple[int, Any]] = []
        """Each with its place in the order of all."""
        self.came = 0
        self.packets: dict[int, list[bytes]] = {}

    async def next_event(self, timeout: float) -> Any:
        if isinstance(self.engine, libsfu.Engine):
            return self.events.get(timeout)
        return await asyncio.wait_for(self.events.get(), timeout)

    async def pull(self) -> None:
        try:
            self.keep(await self.next_event(SECONDS))
        except (TimeoutError, asyncio.TimeoutError):
            raise Failure(f"no event within {SECONDS} s; unread: {self.unread}") from None

    def keep(self, event: Any) -> None:
        self.unread.append((self.came, event))
        self.came += 1

    async def pull_packets(self) -> None:
        media = self.engine.media
        receiving = media.receive(SECONDS) if isinstance(self.engine, libsfu.Engine) else media.receive()
        try:
            batch = await asyncio.wait_for(receiving, SECONDS) if inspect.isawaitable(receiving) else receiving
        except (TimeoutError, asyncio.TimeoutError):
            raise Failure(f"no packet within {SECONDS} s") from None
        for id, packet in batch:
            self.packets.setdefault(id, []).append(bytes(packet))


def told_event(event: Any) -> dict[str, Any]:
    found: dict[str, Any] = told(event)
    return found


class Scenario:
    """A file under way."""

    def __init__(self, path: Path, face: str) -> None:
        self.data = json.loads(path.read_text())
        self.blocking = face == "blocking"
        self.sides: dict[str, Side] = {}
        self.replies: dict[str, Any] = {}
        self.objects: dict[str, Any] = {}
        self.later: dict[str, tuple[list[Any], Any]] = {}
        self.sockets: dict[str, socket.socket] = {}
        self.ignore = set(self.data.get("ignore", ()))
        self.pool = ThreadPoolExecutor(8)

    async def run(self) -> None:
        with tempfile.TemporaryDirectory() as self.folder:
            try:
                for name, options in self.data.get("engines", {"main": {"shards": 1, "unpinned": True}}).items():
                    await self.start(name, options)
                for number, step in enumerate(self.data["steps"], 1):
                    try:
                        await self.step(step)
                    except Failure as failure:
                        raise Failure(f"step {number}: {json.dumps(step)[:300]}: {failure}") from failure
                await self.nothing_left()
            finally:
                for side in self.sides.values():
                    await settled(side.engine.close())
                for one in self.sockets.values():
                    one.close()
                self.pool.shutdown()

    async def step(self, step: dict[str, Any]) -> None:
        kinds = [kind for kind in STEPS if kind in step]
        check(len(kinds) == 1, f"a step of one kind, not of {kinds}")
        side = self.sides.get(step.get("engine", "main"))
        await getattr(self, "step_" + kinds[0])(side, step)

    async def nothing_left(self) -> None:
        for side in self.sides.values():
            while True:
                try:
                    side.keep(await self.at_once(side))
                except (libsfu.Error, asyncio.TimeoutError):
                    break
            left = [event for _, event in side.unread if type(event).__name__ not in self.ignore]
            check(not left, f"events that nobody expected: {left}")

    async def at_once(self, side: Side) -> Any:
        return await side.next_event(0 if self.blocking else 0.01)

    # ---- References ----

    def place(self, path: str) -> Any:
        name, *parts = path[1:].split(".")
        if name == "socket":
            return self.socket(parts[0]).getsockname()[1]
        if not parts:
            return self.replies[name]["id"]
        value = self.replies[name]
        for part in parts:
            value = value[int(part)] if isinstance(value, list) else value[part]
        return value

    def filled(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.place(value) if re.match(r"\$[a-zA-Z]", value) else value.replace("${tmp}", self.folder)
        if isinstance(value, list):
            return [self.filled(item) for item in value]
        if not isinstance(value, dict):
            return value
        if "$merge" in value:
            merged: dict[str, Any] = {}
            for part in value["$merge"]:
                merged.update(self.filled(part))
            return merged
        if "$repeat" in value:
            text, times = value["$repeat"]
            return text * times
        return {name: self.filled(item) for name, item in value.items()}

    def socket(self, name: str) -> socket.socket:
        if name not in self.sockets:
            self.sockets[name] = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.sockets[name].bind(("127.0.0.1", 0))
            self.sockets[name].settimeout(SECONDS)
        return self.sockets[name]

    # ---- Commands ----

    def target(self, side: Side, step: dict[str, Any]) -> Any:
        on = step.get("on")
        if isinstance(on, str):
            return self.objects.get(on[1:], self.place(on))
        return side.engine if on is None else on

    def bound(self, side: Side, step: dict[str, Any]) -> Any:
        """A function that makes the call."""
        name, target = step["call"], self.target(side, step)
        check(name in COMMANDS, f"{name} is no command")
        args = self.filled(step.get("args", {}))
        body = COMMANDS[name].from_json(args)  # type: ignore[attr-defined]
        # Closing twice is no error in Python, so that whoever expects one asks the engine itself.
        if step.get("untyped") or (name == "Close" and "error" in step):
            id = target if isinstance(target, int) else getattr(target, "id", 0)
            return lambda: side.engine.request(id, body)
        small = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
        method = getattr(target, METHODS.get(name, small), None)
        check(method is not None, f"{target!r} has no call for {name}")
        words = {field.name: getattr(body, field.name) for field in layout_of(type(body)).fields}
        return lambda: method(**words)  # type: ignore[misc]

    async def answer(self, side: Side, call: Any) -> Any:
        """The reply of a call, and the object it made; or its error."""
        side.engine.replies = []
        try:
            made = await settled(call())
        except libsfu.Error as error:
            return error, None
        return side.engine.replies[-1], made

    def looked_at(self, step: dict[str, Any], reply: Any) -> None:
        if "error" in step:
            check(isinstance(reply, libsfu.Error), f"it succeeded: {reply!r}")
            wanted = step["error"]
            code = Code(reply.code).name.lower()
            check(code == wanted["code"], f"{reply!r} has code {code}")
            check("field" not in wanted or reply.field == wanted["field"], f"{reply!r} has field {reply.field!r}")
            check(reply.message and "\n" not in reply.message, f"{reply!r} has no text of one line")
            return
        check(not isinstance(reply, libsfu.Error), f"{reply!r}")
        check(type(reply).__name__ == step.get("reply", "Done"), f"{reply!r}")
        wanted = self.filled_expect(step.get("expect", {}))
        check(matches(wanted, told(reply)), f"wanted {wanted}, came {told(reply)}")

    def filled_expect(self, value: Any) -> Any:
        if isinstance(value, dict) and len(value) == 1 and next(iter(value)).startswith("$"):
            ((word, given),) = value.items()
            return {word: self.filled_expect(given)}
        if isinstance(value, dict):
            return {name: self.filled_expect(item) for name, item in value.items()}
        if isinstance(value, list):
            return [self.filled_expect(item) for item in value]
        return self.filled(value)

    async def step_call(self, side: Side, step: dict[str, Any]) -> None:
        times = step.get("times", 1)
        if "later" in step:
            self.later[step["later"]] = (self.submitted(side, step, times), step)
            return
        for _ in range(times):
            try:
                call = self.bound(side, step)
            except libsfu.Error as error:
                self.looked_at(step, error)
                continue
            reply, made = await self.answer(side, call)
            self.looked_at(step, reply)
            if "as" in step and not isinstance(reply, libsfu.Error):
                self.replies[step["as"]] = told(reply)
                self.objects.pop(step["as"], None)
                if isinstance(made, (libsfu.Object, libsfu.aio.Object)):
                    self.objects[step["as"]] = made

    def submitted(self, side: Side, step: dict[str, Any], times: int) -> list[Any]:
        """Calls that are under way. Tasks of asyncio all begin before its loop reads again, which holds the answers."""
        call = self.bound(side, step)
        side.engine.replies = []

        async def one() -> Any:
            # A call may refuse at once, which is an answer as well.
            return await call()

        if self.blocking:
            return [self.pool.submit(call) for _ in range(times)]
        return [asyncio.ensure_future(one()) for _ in range(times)]

    async def step_await(self, side: Side, step: dict[str, Any]) -> None:
        calls, began = self.later.pop(step["await"])
        answers = []
        for call in calls:
            waiting = asyncio.wrap_future(call) if self.blocking else call
            try:
                answers.append(await asyncio.wait_for(waiting, 3 * SECONDS))
            except libsfu.Error as error:
                answers.append(error)
        if "answers" not in step:
            for answer in answers:
                if "error" in step:
                    self.looked_at(step, answer)
                else:
                    check(not isinstance(answer, libsfu.Error), f"{answer!r}")
            replies = side.engine.replies[: len(answers)]
            for reply in replies if "error" not in step else ():
                self.looked_at({"reply": began.get("reply", "Done"), **step}, reply)
            return
        codes = [Code(answer.code).name.lower() if isinstance(answer, libsfu.Error) else "ok" for answer in answers]
        check(set(codes) <= set(step["answers"]), f"answers {set(codes)}")
        held = not self.blocking and began.get("hold")
        for code, least in step.get("atLeast", {}).items() if held else ():
            check(codes.count(code) >= least, f"{codes.count(code)} of {len(codes)} were {code}")

    async def step_raw(self, side: Side, step: dict[str, Any]) -> None:
        core = side.engine._pump.core if self.blocking else side.engine._core
        try:
            core.submit_bytes(bytes.fromhex(step["raw"]))
        except libsfu.Error as error:
            self.looked_at(step, error)
            return
        check("error" not in step, "the bytes were taken")

    # ---- Events ----

    async def step_event(self, side: Side, step: dict[str, Any]) -> int:
        """Takes the event out; tells where in the order of all it came."""
        source = self.place(step["from"]) if "from" in step else 0
        at = 0
        while True:
            while at == len(side.unread):
                await side.pull()
            place, event = side.unread[at]
            # A type that the step itself names is looked at, whatever is ignored elsewhere.
            kind = type(event).__name__
            if event.source == source and (kind == step["event"] or kind not in self.ignore):
                break
            at += 1
        wanted = self.filled_expect(step.get("expect", {}))
        check(type(event).__name__ == step["event"], f"{event!r} came instead")
        check(matches(wanted, told_event(event)), f"wanted {wanted}, came {told_event(event)}")
        del side.unread[at]
        return place

    async def step_events(self, side: Side, step: dict[str, Any]) -> None:
        places = [await self.step_event(side, one) for one in step["events"]]
        check(step.get("anyOrder") or places == sorted(places), f"they came in the order {places}")

    # ---- Media ----

    def packets(self, step: dict[str, Any]) -> list[bytes]:
        if "hex" in step:
            return [bytes.fromhex(step["hex"])]
        given = self.filled(step["rtp"])
        listed = given.get("extension", [])
        extensions = {
            one["id"]: bytes.fromhex(one["data"]) for one in (listed if isinstance(listed, list) else [listed])
        }
        return [
            RtpPacket(
                given["payloadType"],
                (given.get("sequence", 0) + number) % 2**16,
                (given.get("timestamp", 0) + number * given.get("timestampStep", 0)) % 2**32,
                given["ssrc"],
                bytes.fromhex(given.get("payload", "")),
                marker=given.get("marker", False),
                extensions=dict(extensions),
            ).build()
            for number in range(given.get("count", 1))
        ]

    async def step_send(self, side: Side, step: dict[str, Any]) -> None:
        packets = self.packets(step)
        target = self.target(side, {"on": step["send"]})
        taken = side.engine.media.send((target, packet) for packet in packets)
        check(taken == len(packets), f"{taken} of {len(packets)} packets were taken")

    async def step_datagram(self, side: Side, step: dict[str, Any]) -> None:
        to = self.filled(step["datagram"])
        for packet in self.packets(step):
            self.socket(step.get("socket", "")).sendto(packet, (to["address"], to["port"]))

    async def step_receive(self, side: Side, step: dict[str, Any]) -> None:
        source = step["receive"]
        taken: list[RtpPacket] = []
        while len(taken) < step.get("count", 1):
            packet = await self.packet(side, source)
            if 192 <= packet[1] <= 223:
                if "rtcp" in step and step["rtcp"] in rtcp_types(packet):
                    return
            elif "rtp" in step:
                taken.append(RtpPacket.parse(packet))
        numbers = [packet.sequence for packet in taken]
        steps = [(two - one) % 2**16 for one, two in zip(numbers, numbers[1:])]
        check(all(0 < distance < 2**15 for distance in steps), f"sequence numbers {numbers}")
        wanted = self.filled(step["rtp"])
        for packet in taken:
            came = {
                "payloadType": packet.payload_type,
                "ssrc": packet.ssrc,
                "sequence": packet.sequence,
                "timestamp": packet.timestamp,
                "marker": packet.marker,
                "payload": bytes(packet.payload).hex(),
            }
            check(matches(wanted, came), f"wanted {wanted}, came {came}")

    async def packet(self, side: Side, source: Any) -> bytes:
        if isinstance(source, dict):
            try:
                return self.socket(source["socket"]).recv(65536)
            except TimeoutError:
                raise Failure("no datagram came") from None
        queue = side.packets.setdefault(self.place(source), [])
        while not queue:
            await side.pull_packets()
        return queue.pop(0)

    # ---- Engines ----

    async def start(self, name: str, options: dict[str, Any]) -> None:
        given = schema.EngineOptions.from_json(self.filled(options))
        engine: Any = Blocking(given) if self.blocking else await Awaited(given).start()
        engine.replies = []
        self.sides[name] = Side(engine)

    async def step_start(self, side: Side, step: dict[str, Any]) -> None:
        wanted = step.get("error")
        try:
            await self.start(step["start"], step.get("options", {}))
        except libsfu.Error as error:
            check(wanted, f"{error!r}")
            check("SFU_" + Code(error.code).name == wanted["status"], f"{error!r}")
            check(wanted.get("text", "") in error.message, f"{error!r}")
            return
        check(not wanted, "it started")

    async def step_shutdown(self, side: Side, step: dict[str, Any]) -> None:
        await settled(self.sides[step["shutdown"]].engine.close())

    async def step_free(self, side: Side, step: dict[str, Any]) -> None:
        await settled(self.sides[step["free"]].engine.close())
        self.sides[step["free"]].unread.clear()


def rtcp_types(packet: bytes) -> set[int]:
    """Types in a compound (RFC 3550, section 6.1)."""
    found, at = set(), 0
    while at + 4 <= len(packet):
        found.add(packet[at + 1])
        at += 4 * (int.from_bytes(packet[at + 2 : at + 4], "big") + 1)
    return found
