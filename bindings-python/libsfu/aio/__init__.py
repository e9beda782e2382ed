"""libsfu for asyncio: the same objects and calls as in :mod:`libsfu`, awaited.

    async with libsfu.aio.Engine() as engine:
        router = await engine.create_router(codecs)
        async for event in engine.events():
            print(event)

An engine belongs to the loop that started it, and needs no thread: the loop watches its descriptors.
"""

from __future__ import annotations

from ._engine import (
    Engine,
    Handler,
    Media,
    Subscription,
)
from ._object import Object
from ._objects import (
    DirectTransport,
    PipeTransport,
    PlainTransport,
    Router,
    Transport,
    WebRtcServer,
    WebRtcTransport,
)
from ._streams import ActiveSpeakerObserver, AudioLevelObserver, Consumer, Observer, Producer

__all__ = [
    "ActiveSpeakerObserver",
    "AudioLevelObserver",
    "Consumer",
    "DirectTransport",
    "Engine",
    "Handler",
    "Media",
    "Object",
    "Observer",
    "PipeTransport",
    "PlainTransport",
    "Producer",
    "Router",
    "Subscription",
    "Transport",
    "WebRtcServer",
    "WebRtcTransport",
]
