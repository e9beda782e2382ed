"""The bounds of the examples' WHIP server, which no real publisher meets: how many there are, how they are called, how long
one may take to connect. Time is not waited for: the server is told when it is over."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

import pytest
from room import CODECS, LOOPBACK, OFFER, OPTIONS

from libsfu import aio

sys.path.insert(0, str(Path(__file__).parents[2] / "examples" / "python"))

import whip

HEADERS = {"content-type": "application/sdp"}


class Hourglass:
    """Stands in for `asyncio.sleep` of the server: a sleep ends when the test turns it."""

    def __init__(self) -> None:
        self.sleeps: list[tuple[float, asyncio.Future[None]]] = []

    async def sleep(self, seconds: float) -> None:
        over = asyncio.get_running_loop().create_future()
        self.sleeps.append((seconds, over))
        await over

    def __getattr__(self, name: str) -> Any:
        # Everything else of asyncio is itself.
        return getattr(asyncio, name)


@pytest.fixture
def hourglass(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hourglass]:
    glass = Hourglass()
    monkeypatch.setattr(whip, "asyncio", glass)
    yield glass


def served(body: Callable[[whip.Whip], Any], **options: Any) -> None:
    """Runs `body` with a server that nobody reaches but by its methods."""

    async def run() -> None:
        async with aio.Engine(OPTIONS, call_timeout=30) as engine:
            router = await engine.create_router(CODECS)
            server = whip.Whip(router, [LOOPBACK], **options)
            await asyncio.wait_for(body(server), 30)
            for watch in server._watches:
                watch.cancel()

    asyncio.run(run())


async def post(server: whip.Whip, name: str) -> str:
    status, headers, _ = await server._answer("POST", f"/whip/{name}", HEADERS, OFFER)
    assert status == 201
    return headers["Location"]


async def refused(server: whip.Whip, name: str) -> whip.Refused:
    with pytest.raises(whip.Refused) as refusal:
        await server._answer("POST", f"/whip/{name}", HEADERS, OFFER)
    assert refusal.value.reason
    return refusal.value


def test_a_server_that_is_full_says_so_until_one_leaves(monkeypatch: pytest.MonkeyPatch, hourglass: Hourglass) -> None:
    monkeypatch.setattr(whip, "MAX_PUBLISHERS", 3)

    async def body(server: whip.Whip) -> None:
        paths = [await post(server, f"p{number}") for number in range(3)]
        assert (await refused(server, "late")).status == 503
        assert len(server.publishers) == 3 and len((await server.router.dump()).transports) == 3
        await server._answer("DELETE", paths[1], {}, "")
        await post(server, "late")
        assert (await refused(server, "later")).status == 503

    served(body)


def test_publishers_that_are_being_made_count_too(monkeypatch: pytest.MonkeyPatch, hourglass: Hourglass) -> None:
    monkeypatch.setattr(whip, "MAX_PUBLISHERS", 2)

    async def body(server: whip.Whip) -> None:
        results = await asyncio.gather(*(post(server, f"p{number}") for number in range(5)), return_exceptions=True)
        refusals = [one for one in results if isinstance(one, whip.Refused)]
        assert [one.status for one in refusals] == [503] * 3
        assert len(server.publishers) == 2 and server._coming == 0
        assert len((await server.router.dump()).transports) == 2
        # One that fails gives its place back.
        for path in list(server.publishers):
            await server._answer("DELETE", path, {}, "")
        for _ in range(3):
            with pytest.raises(Exception, match="sdp"):
                await server._answer("POST", "/whip/broken", HEADERS, "v=0")
        assert server._coming == 0
        await post(server, "whole")

    served(body)


def test_names_have_a_length_and_are_printable(hourglass: Hourglass) -> None:
    async def body(server: whip.Whip) -> None:
        for name in ("x" * 65, "a\x07", "a\x1b[2J", "a\x7f", "\u202eadmin", "a b\u00a0"):
            assert (await refused(server, name)).status == 400, name
        assert server.publishers == {}
        for name in ("x" * 64, "Z\u00fcrich"):
            await post(server, name)
        assert [one.name for one in server.publishers.values()] == ["x" * 64, "Z\u00fcrich"]

    served(body)


def test_who_does_not_connect_is_gone_when_the_time_is_over(hourglass: Hourglass) -> None:
    went: list[whip.Publisher] = []

    async def body(server: whip.Whip) -> None:
        path = await post(server, "silent")
        await post(server, "other")
        while len(hourglass.sleeps) < 2:
            await asyncio.sleep(0)
        assert [seconds for seconds, _ in hourglass.sleeps] == [whip.CONNECT_SECONDS] * 2
        publisher = server.publishers[path]
        hourglass.sleeps[0][1].set_result(None)
        while server.publishers.keys() & {path}:
            await asyncio.sleep(0)
        while not went:
            await asyncio.sleep(0)
        assert went == [publisher] and publisher.transport.closed
        assert len(server.publishers) == 1, "the other one has time left"
        with pytest.raises(whip.Refused) as refusal:
            await server._answer("DELETE", path, {}, "")
        assert refusal.value.status == 404

    served(body, went=went.append)


def test_who_left_before_is_not_watched_to_the_end(hourglass: Hourglass) -> None:
    async def body(server: whip.Whip) -> None:
        path = await post(server, "brief")
        while not hourglass.sleeps:
            await asyncio.sleep(0)
        await server._answer("DELETE", path, {}, "")
        hourglass.sleeps[0][1].set_result(None)
        while server._watches:
            await asyncio.sleep(0)
        assert server.publishers == {}

    served(body)
