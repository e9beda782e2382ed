"""Producers, consumers and observers, for asyncio. The blocking ones are made of this file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .. import schema
from ._object import Object, id_of

if TYPE_CHECKING:
    from ._objects import Transport


class Producer(Object):
    """Media that a peer sends."""

    def __init__(
        self,
        transport: Transport,
        made: schema.ProducerCreated,
        kind: schema.MediaKind,
        rtp_parameters: schema.RtpParameters,
    ) -> None:
        super().__init__(transport.engine, made.id, transport)
        self.kind = kind
        self.type: schema.ProducerType = made.type
        self.rtp_parameters = rtp_parameters

    async def dump(self) -> schema.ProducerDump:
        """Its parameters, streams, scores and consumers."""
        dump: schema.ProducerDump = await self._call(schema.GetDump())
        return dump

    async def pause(self) -> None:
        """Forwards nothing of it; its consumers are told."""
        await self._call(schema.Pause())

    async def resume(self) -> None:
        """Forwards it again."""
        await self._call(schema.Resume())

    async def set_trace(self, kinds: Iterable[schema.TraceKind]) -> None:
        """What of it is told as `TraceEvent`, from now on; nothing: none."""
        await self._call(schema.SetTrace(kinds=list(kinds)))


class Consumer(Object):
    """Media that a peer receives: one producer's, rewritten for it."""

    def __init__(self, transport: Transport, made: schema.ConsumerCreated, producer: int) -> None:
        super().__init__(transport.engine, made.id, transport)
        assert made.rtp_parameters is not None
        self.producer = producer
        self.kind: schema.MediaKind = made.kind
        self.type: schema.ProducerType = made.type
        self.rtp_parameters: schema.RtpParameters = made.rtp_parameters
        """What the peer is to receive."""
        self.producer_paused: bool = made.producer_paused
        """The producer was paused when the consumer was made."""

    async def dump(self) -> schema.ConsumerDump:
        """Its parameters, layers and state."""
        dump: schema.ConsumerDump = await self._call(schema.GetDump())
        return dump

    async def pause(self) -> None:
        """Sends nothing."""
        await self._call(schema.Pause())

    async def resume(self) -> None:
        """Sends again, from a key frame on."""
        await self._call(schema.Resume())

    async def request_key_frame(self) -> None:
        """Asks the producer for a key frame."""
        await self._call(schema.RequestKeyFrame())

    async def set_preferred_layers(self, layers: schema.Layers | None) -> None:
        """The highest layers to send; None is all there are. What does not exist is clamped to what does."""
        await self._call(schema.SetPreferredLayers(layers))

    async def set_priority(self, priority: int) -> None:
        """Weight in the sharing of bandwidth, 1 (the least) to 255."""
        await self._call(schema.SetPriority(priority))

    async def switch_producer(self, producer: int | Producer) -> schema.ProducerSwitched:
        """Follows another producer of the router from its next key frame on, without a seam for the peer."""
        made: schema.ProducerSwitched = await self._call(schema.SwitchProducer(id_of(producer)))
        self.producer, self.type = id_of(producer), made.type
        if made.rtp_parameters is not None:
            self.rtp_parameters = made.rtp_parameters
        return made

    async def set_trace(self, kinds: Iterable[schema.TraceKind]) -> None:
        """What of it is told as `TraceEvent`, from now on; nothing: none. A consumer has no `SR`."""
        await self._call(schema.SetTrace(kinds=list(kinds)))

    async def keep_decisions(self, rows: int) -> None:
        """Keeps the latest decisions about it, at most 1024; 0 is off."""
        await self._call(schema.KeepDecisions(rows))

    async def decisions(self) -> schema.Decisions:
        """What was kept."""
        found: schema.Decisions = await self._call(schema.GetDecisions())
        return found


class Observer(Object):
    """Listens to audio producers of a router."""

    async def dump(self) -> schema.ObserverDump:
        """Its options and producers."""
        dump: schema.ObserverDump = await self._call(schema.GetDump())
        return dump

    async def observe(self, producer: int | Producer) -> None:
        """Hears this audio producer from now on. Raises `InvalidArgumentError` for video."""
        await self._call(schema.Observe(id_of(producer)))

    async def unobserve(self, producer: int | Producer) -> None:
        """Hears it no longer."""
        await self._call(schema.Unobserve(id_of(producer)))

    async def pause(self) -> None:
        """Tells nothing."""
        await self._call(schema.Pause())

    async def resume(self) -> None:
        """Tells again."""
        await self._call(schema.Resume())


class AudioLevelObserver(Observer):
    """Who is loud. Events: `AudioVolumes`, `AudioSilence`."""


class ActiveSpeakerObserver(Observer):
    """Who speaks. Event: `DominantSpeakerChanged`."""
