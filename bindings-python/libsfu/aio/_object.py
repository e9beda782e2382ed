"""What all objects of an engine have in common, for asyncio. The blocking ones are made of this file.

An object is an id with the calls that its kind takes. Calls are answered by the engine in the order in which they were
made on one object; each raises an `Error` by its code. An object ends by `close`, with its parent, or by the engine,
which an `ObjectClosed` event tells. Closing twice is no error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Callable, TypeVar

from .. import schema
from ..errors import ClosedError, ForkedError, NotFoundError

if TYPE_CHECKING:
    from ._engine import Engine, Handler, Subscription

O = TypeVar("O", bound="Object")


class Object:
    """What routers, servers, transports, producers, consumers and observers have in common."""

    def __init__(self, engine: Engine, id: int, parent: Object | None = None) -> None:
        self.engine = engine
        self.id = id
        """The engine's number for it, never used for another one."""
        self.parent = parent
        self.close_reason: schema.CloseReason | None = None
        """Why the engine closed it; None if it did not."""
        self._closed = False
        engine._hub.objects[id] = self

    def __repr__(self) -> str:
        state = " closed" if self.closed else ""
        return f"<{type(self).__name__} {self.id:016x}{state}>"

    @property
    def closed(self) -> bool:
        """It has ended, by itself or with what it belongs to."""
        return self._closed or self.engine.closed or (self.parent is not None and self.parent.closed)

    def _gone(self, reason: schema.CloseReason) -> None:
        self._closed, self.close_reason = True, reason

    async def _call(self, body: Any) -> Any:
        return await self.engine._call(self.id, body)

    async def close(self) -> None:
        """Ends it, and what belongs to it. No error if it has ended."""
        if self.closed:
            return
        self._closed = True
        try:
            await self._call(schema.Close())
        except (NotFoundError, ClosedError):
            pass  # It ended by itself, or with its engine, at the same time.
        except BaseException:
            self._closed = self.close_reason is not None  # Not known to be; to be closed again.
            raise

    async def __aenter__(self: O) -> O:
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            await self.close()
        except (ForkedError, ClosedError):
            pass  # A child leaves the block of its parent, or the engine has ended first.

    async def stats(self, *, summary: bool = False) -> schema.StatsReport:
        """Counters of it and of what is below it. `summary` leaves the streams out."""
        report: schema.StatsReport = await self._call(schema.GetStats(summary=summary))
        return report

    def events(self, *types: type, limit: int = 65536) -> Subscription:
        """Its events from now on, of these types; none given: of all."""
        return self.engine.events(*types, source=self.id, limit=limit)

    def on(self, type: type, handler: Callable[[Any], Any]) -> Handler:
        """Calls `handler` with each of its events of that type. See `Engine.on`."""
        return self.engine.on(type, handler, source=self.id)


def id_of(object: int | Object) -> int:
    """An object's id; ids go as they are."""
    return object.id if isinstance(object, Object) else object
