"""A WHIP server (RFC 9725) on libsfu, for the examples: who publishes by HTTP becomes a transport with producers.

Told: a router, where to listen, and optionally a token. Tells: publishers that came and went, by callbacks. Limits: 256
KiB for a description, 16 KiB of headers, ten seconds for a request, 100 publishers, 64 printable characters for a name,
thirty seconds until a publisher has connected. Left out: trickling and ICE restarts (PATCH), which
is answered so; an SFU needs neither, since its own candidates are in the answer.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Callable

import libsfu
from libsfu import aio, schema

log = logging.getLogger("whip")

BODY_MAX = 256 << 10
HEADERS_MAX = 16 << 10
SECONDS = 10.0
MAX_PUBLISHERS = 100
NAME_MAX = 64
# How long a publisher may take to connect.
CONNECT_SECONDS = 30.0
CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "POST, DELETE, OPTIONS",
    "Access-Control-Allow-Headers": "Content-Type, Authorization",
    "Access-Control-Expose-Headers": "Location",
}

OPUS = schema.RtpCodecCapability(
    schema.MediaKind.AUDIO, "audio/opus", 48000, channels=2, parameters={"useinbandfec": 1}
)
VP8 = schema.RtpCodecCapability(schema.MediaKind.VIDEO, "video/VP8", 90000)
H264 = schema.RtpCodecCapability(
    schema.MediaKind.VIDEO,
    "video/H264",
    90000,
    parameters={"packetization-mode": 1, "profile-level-id": "42e01f", "level-asymmetry-allowed": 1},
)
CODECS = [OPUS, VP8, H264]


@dataclass
class Publisher:
    """Somebody who publishes."""

    name: str
    transport: aio.WebRtcTransport
    producers: list[aio.Producer] = field(default_factory=list)


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status, self.reason = status, reason


class Whip:
    """The publishers of one router."""

    def __init__(
        self,
        router: aio.Router,
        listen_infos: Iterable[schema.ListenInfo],
        *,
        token: str = "",
        came: Callable[[Publisher], None] = lambda publisher: None,
        went: Callable[[Publisher], None] = lambda publisher: None,
    ) -> None:
        self.router, self.listen_infos, self.token = router, list(listen_infos), token
        self.came, self.went = came, went
        self.publishers: dict[str, Publisher] = {}
        # Publishers that are being made.
        self._coming = 0
        self._watches: set[asyncio.Task[None]] = set()
        router.engine.on(schema.IceStateChanged, self._ice)

    async def serve(self, host: str, port: int) -> asyncio.Server:
        """Listens; 0 is any free port."""
        return await asyncio.start_server(self._connection, host, port, limit=HEADERS_MAX)

    async def _ice(self, event: schema.IceStateChanged) -> None:
        """A publisher whose consent ended is gone."""
        if event.state is schema.IceState.DISCONNECTED:
            for path, publisher in list(self.publishers.items()):
                if publisher.transport.id == event.source:
                    await self._remove(path)

    async def _remove(self, path: str) -> None:
        publisher = self.publishers.pop(path, None)
        if publisher is None:
            raise Refused(404, "there is no such resource; it has ended")
        await publisher.transport.close()
        self.went(publisher)

    async def _watch(self, path: str, publisher: Publisher) -> None:
        """A publisher that does not connect is gone too."""
        await asyncio.sleep(CONNECT_SECONDS)
        try:
            dump = await publisher.transport.dump()
            if dump.dtls_state is not schema.DtlsState.CONNECTED:
                log.info("%s has not connected", publisher.name)
                await self._remove(path)
        except (Refused, libsfu.Error) as error:
            log.debug("%s has left: %s", publisher.name, error)

    # ---- WHIP ----

    async def _publish(self, name: str, offer: str) -> tuple[str, str]:
        if len(name) > NAME_MAX or not name.isprintable():
            raise Refused(400, f"a name is at most {NAME_MAX} printable characters")
        if len(self.publishers) + self._coming >= MAX_PUBLISHERS:
            raise Refused(503, f"{MAX_PUBLISHERS} publish already, the most")
        self._coming += 1
        try:
            return await self._publish_one(name, offer)
        finally:
            self._coming -= 1

    async def _publish_one(self, name: str, offer: str) -> tuple[str, str]:
        parsed = await self.router.parse_sdp(offer)
        sending = [section for section in parsed.sections if section.rtp_parameters is not None]
        if not sending or parsed.dtls_parameters is None:
            problems = [section.problem for section in parsed.sections if section.problem]
            raise Refused(422, problems[0] if problems else "nothing is sent; offer a=sendonly")
        transport = await self.router.create_webrtc_transport(listen_infos=self.listen_infos)
        try:
            await transport.connect(parsed.dtls_parameters)
            publisher, sections = Publisher(name, transport), []
            for section in sending:
                assert section.rtp_parameters is not None
                producer = await transport.produce(schema.MediaKind(section.media), section.rtp_parameters)
                publisher.producers.append(producer)
                sections.append(schema.SdpAnswerSection(section.mid, producer=producer.id))
            answer = await transport.create_sdp_answer(offer, sections)
        except BaseException:
            await transport.close()
            raise
        path = f"/whip/{name}/{secrets.token_urlsafe(16)}"
        self.publishers[path] = publisher
        watch = asyncio.ensure_future(self._watch(path, publisher))
        self._watches.add(watch)
        watch.add_done_callback(self._watches.discard)
        self.came(publisher)
        return path, answer

    async def _answer(
        self, method: str, path: str, headers: dict[str, str], body: str
    ) -> tuple[int, dict[str, str], str]:
        if method == "OPTIONS":
            return 204, {}, ""
        given = headers.get("authorization", "").partition(" ")[2]
        if self.token and not hmac.compare_digest(given.encode(), self.token.encode()):
            raise Refused(401, "give the token as 'Authorization: Bearer TOKEN'")
        parts = path.partition("?")[0].strip("/").split("/")
        if method == "POST" and len(parts) == 2 and parts[0] == "whip":
            if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/sdp":
                raise Refused(415, "give an offer as application/sdp")
            location, answer = await self._publish(parts[1], body)
            return 201, {"Location": location, "Content-Type": "application/sdp"}, answer
        if method == "DELETE":
            await self._remove("/" + "/".join(parts))
            return 200, {}, ""
        if method == "PATCH":
            raise Refused(405, "candidates are not needed here, and an ICE restart is a new POST")
        raise Refused(404, "publish by POST to /whip/NAME")

    # ---- HTTP ----

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            status, headers, body = await self._served(reader)
            lines = {"Content-Length": str(len(body.encode())), "Connection": "close", **CORS, **headers}
            head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
            writer.write(f"HTTP/1.1 {status} \r\n{head}\r\n{body}".encode())
            await writer.drain()
        except ConnectionError as error:
            log.info("a client went away: %s", error)
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def _served(self, reader: asyncio.StreamReader) -> tuple[int, dict[str, str], str]:
        text = {"Content-Type": "text/plain; charset=utf-8"}
        try:
            method, path, headers, body = await asyncio.wait_for(read_request(reader), SECONDS)
            return await self._answer(method, path, headers, body)
        except Refused as refusal:
            return refusal.status, text, refusal.reason + "\n"
        except asyncio.TimeoutError:
            return 408, text, f"the request took longer than {SECONDS:.0f} s\n"
        except libsfu.Error as error:
            status = 503 if isinstance(error, (libsfu.BusyError, libsfu.ClosedError)) else 422
            return status, text, f"{error}\n"
        except Exception:
            log.exception("a request failed")
            return 500, text, "a mistake of the service; its log has more\n"


async def read_request(reader: asyncio.StreamReader) -> tuple[str, str, dict[str, str], str]:
    """Method, path, headers in lower case, body."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        raise Refused(400, f"the headers are cut, or longer than {HEADERS_MAX} bytes") from None
    first, *lines = head.split("\r\n")
    words = first.split(" ")
    if len(words) != 3:
        raise Refused(400, "the first line is not of HTTP/1.1")
    pairs = (line.partition(":") for line in lines if line)
    headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
    length = headers.get("content-length", "0")
    if not length.isdecimal() or int(length) > BODY_MAX:
        raise Refused(413, f"a body is at most {BODY_MAX} bytes")
    try:
        body = (await reader.readexactly(int(length))).decode()
    except (asyncio.IncompleteReadError, UnicodeDecodeError):
        raise Refused(400, "the body is cut, or not UTF-8") from None
    return words[0], words[1], headers, body
