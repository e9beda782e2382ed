"""Where an engine's events go: to the objects they end, and to subscriptions.

Told: events, in the engine's order. Tells: each subscription those that it asked for, in the same order. Limits: a
subscription holds `limit` events for a slow reader. Beyond it telemetry is dropped and counted (`EventsLost`), states
coalesce by object and kind, the latest one staying; nothing that ended is ever forgotten. So a slow reader costs
bounded memory, and neither media nor answers wait for it. Left out: how a reader waits, which is its face's business.
"""

from __future__ import annotations

import threading
import weakref
from collections import deque
from typing import Any, Callable

from . import schema

LIMIT = 65536
# What may be dropped for a slow reader.
TELEMETRY = (schema.TraceEvent, schema.AudioVolumes)


class Mailbox:
    """Events for one reader."""

    def __init__(self, types: tuple[type, ...], source: int | None, limit: int) -> None:
        self.types, self.source, self.limit = types, source, limit
        self._events: deque[Any] = deque()
        self._late: dict[tuple[int, type], Any] = {}
        self._lost = 0
        self.ended = False

    def wants(self, event: Any) -> bool:
        """Whether it is among what was asked for. `EventsLost` is for everybody."""
        if isinstance(event, schema.EventsLost):
            return True
        if self.source is not None and event.source != self.source:
            return False
        return not self.types or isinstance(event, self.types)

    def put(self, event: Any) -> None:
        """Keeps an event for the reader, by the rules above."""
        if not self._late and len(self._events) < self.limit:
            self._events.append(event)
        elif isinstance(event, schema.EventsLost):
            self._lost += event.count
        elif isinstance(event, TELEMETRY):
            self._lost += 1
        else:
            # The latest state takes the place in line of the latest, so that it stays behind what it follows.
            key = (event.source, type(event))
            self._late.pop(key, None)
            self._late[key] = event

    def pop(self) -> Any:
        """The next event, or None."""
        if self._lost:
            lost, self._lost = self._lost, 0
            return schema.EventsLost(count=lost)
        if self._events:
            return self._events.popleft()
        if self._late:
            return self._late.pop(next(iter(self._late)))
        return None

    def __len__(self) -> int:
        return len(self._events) + len(self._late) + (1 if self._lost else 0)


class Hub:
    """The subscriptions of one engine, and its objects by id."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._boxes: list[Any] = []
        self.objects: weakref.WeakValueDictionary[int, Any] = weakref.WeakValueDictionary()
        self.ended = False
        # What the interpreter's end calls; set by the face.
        self.at_exit: Callable[[Any], None] | None = None

    def publish(self, event: Any) -> None:
        """Hands an event on."""
        if isinstance(event, schema.ObjectClosed):
            ended = self.objects.pop(event.source, None)
            if ended is not None:
                ended._gone(event.reason)
        with self.lock:
            boxes = [box for box in self._boxes if box.wants(event)]
        for box in boxes:
            box.deliver(event)

    def add(self, box: Any) -> None:
        """Takes a subscription up; one that comes too late has ended."""
        with self.lock:
            if not self.ended:
                self._boxes.append(box)
                return
        box.end()

    def remove(self, box: Any) -> None:
        """Leaves a subscription out from now on."""
        with self.lock:
            if box in self._boxes:
                self._boxes.remove(box)

    def end(self) -> None:
        """No event comes any more."""
        with self.lock:
            self.ended = True
            boxes, self._boxes = self._boxes, []
        for box in boxes:
            box.end()
