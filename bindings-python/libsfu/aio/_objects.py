"""The engine's commands, routers, servers and transports, for asyncio. The blocking ones are made of this file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from .. import schema
from ._object import Object, id_of
from ._streams import ActiveSpeakerObserver, AudioLevelObserver, Consumer, Producer

if TYPE_CHECKING:
    from ._engine import Engine


class EngineCommands:
    """The calls that go to the engine itself."""

    async def _call(self, target: int, body: Any) -> Any:
        raise NotImplementedError

    async def create_router(
        self, media_codecs: Iterable[schema.RtpCodecCapability], *, shard: int | None = None
    ) -> Router:
        """Makes a router (a room) with these codecs, on a shard or on the least loaded one.

        Raises `UnsupportedError` for codecs that libsfu does not know, `ClosedError` while the engine drains.
        """
        body = schema.CreateRouter(media_codecs=list(media_codecs), shard=shard)
        made: schema.Created = await self._call(0, body)
        return Router(self, made.id, made.rtp_capabilities)  # type: ignore[arg-type]

    async def create_webrtc_server(
        self, listen_infos: Iterable[schema.ListenInfo], *, shard: int | None = None
    ) -> WebRtcServer:
        """Makes a server whose transports share its ports. Raises `AddressUnavailableError`.

        Without `shard` it is on all of them, and routers of any shard may use it.
        """
        body = schema.CreateWebRtcServer(listen_infos=list(listen_infos), shard=shard)
        made: schema.Created = await self._call(0, body)
        return WebRtcServer(self, made.id)  # type: ignore[arg-type]

    async def supported_capabilities(self) -> schema.RtpCapabilities:
        """What libsfu supports."""
        made: schema.RouterCapabilities = await self._call(0, schema.GetSupportedCapabilities())
        return made.rtp_capabilities or schema.RtpCapabilities()

    async def dump(self) -> schema.EngineDump:
        """What the engine is made of: shards, their routers and servers."""
        dump: schema.EngineDump = await self._call(0, schema.GetDump())
        return dump

    async def stats(self, *, summary: bool = False) -> schema.StatsReport:
        """Counters of the engine, shard by shard."""
        report: schema.StatsReport = await self._call(0, schema.GetStats(summary=summary))
        return report

    async def drain(self) -> schema.Draining:
        """Takes no new router from now on; an `EngineDrained` event tells when the last one is gone."""
        left: schema.Draining = await self._call(0, schema.Drain())
        return left

    async def parse_sdp_fragment(self, fragment: str) -> schema.SdpFragmentParsed:
        """What a trickle-ICE fragment says (RFC 8840). Raises `InvalidArgumentError` with the line."""
        parsed: schema.SdpFragmentParsed = await self._call(0, schema.ParseSdpFragment(fragment))
        return parsed


class WebRtcServer(Object):
    """Ports that WebRTC transports share: of all shards, or of one if it was made on one.

    All shards take the one UDP port. TCP has the next port for each further shard.
    """

    async def dump(self) -> schema.WebRtcServerDump:
        """Its addresses and transports."""
        dump: schema.WebRtcServerDump = await self._call(schema.GetDump())
        return dump


class Router(Object):
    """A room: what is produced in it can be consumed in it."""

    def __init__(self, engine: Engine, id: int, rtp_capabilities: schema.RtpCapabilities | None) -> None:
        super().__init__(engine, id)
        self.rtp_capabilities = rtp_capabilities or schema.RtpCapabilities()
        """What clients load: codecs with their payload types, header extensions with their ids."""

    async def dump(self) -> schema.RouterDump:
        """Its transports, producers, consumers and observers."""
        dump: schema.RouterDump = await self._call(schema.GetDump())
        return dump

    async def capabilities(self) -> schema.RtpCapabilities:
        """What clients load, as it is now."""
        found: schema.RouterCapabilities = await self._call(schema.GetRouterCapabilities())
        self.rtp_capabilities = found.rtp_capabilities or schema.RtpCapabilities()
        return self.rtp_capabilities

    async def update_media_codecs(self, media_codecs: Iterable[schema.RtpCodecCapability]) -> schema.RtpCapabilities:
        """Other codecs for what is produced from now on; codecs that stay keep their payload types."""
        body = schema.UpdateMediaCodecs(media_codecs=list(media_codecs))
        found: schema.RouterCapabilities = await self._call(body)
        self.rtp_capabilities = found.rtp_capabilities or schema.RtpCapabilities()
        return self.rtp_capabilities

    async def can_consume(self, producer: int | Producer, rtp_capabilities: schema.RtpCapabilities) -> bool:
        """Whether `consume` would find a codec."""
        body = schema.CanConsume(producer=id_of(producer), rtp_capabilities=rtp_capabilities)
        found: schema.CanConsumeResult = await self._call(body)
        return found.can_consume

    async def create_webrtc_transport(
        self,
        *,
        listen_infos: Iterable[schema.ListenInfo] = (),
        webrtc_server: int | WebRtcServer = 0,
        ice_consent_timeout_ms: int = 30000,
        max_incoming_bitrate: int = 0,
        enable_udp: bool = True,
        enable_tcp: bool = True,
        prefer_udp: bool = False,
        prefer_tcp: bool = False,
        shard: int | None = None,
    ) -> WebRtcTransport:
        """Makes a transport for a WebRTC peer, on sockets of its own or on a server.

        `ice_consent_timeout_ms` 0 switches the check off, 60000 is the most; `max_incoming_bitrate` is in bit/s, 0 is
        no bound. `enable_...` say which candidates there are, `prefer_...` which come first: UDP, if neither.
        `shard` places it there, whichever the router is on. Raises `AddressUnavailableError`, `InvalidArgumentError`.
        """
        body = schema.CreateWebRtcTransport(
            listen_infos=list(listen_infos),
            webrtc_server=id_of(webrtc_server),
            ice_consent_timeout_ms=ice_consent_timeout_ms,
            max_incoming_bitrate=max_incoming_bitrate,
            enable_udp=enable_udp,
            enable_tcp=enable_tcp,
            prefer_udp=prefer_udp,
            prefer_tcp=prefer_tcp,
            shard=shard,
        )
        made: schema.WebRtcTransportCreated = await self._call(body)
        return WebRtcTransport(self, made)

    async def create_plain_transport(
        self,
        listen_info: schema.ListenInfo,
        *,
        rtcp_listen_info: schema.ListenInfo | None = None,
        rtcp_mux: bool = True,
        comedia: bool = False,
        enable_srtp: bool = False,
        srtp_crypto_suite: schema.SrtpProfile = schema.SrtpProfile.AES128_CM_HMAC_SHA1_80,
        max_incoming_bitrate: int = 0,
        shard: int | None = None,
    ) -> PlainTransport:
        """Makes a transport for RTP and RTCP without ICE and DTLS.

        `comedia`: the peer's first packet tells where it is, once. Without `rtcp_mux` RTCP listens at
        `rtcp_listen_info`, or at any free port of the address. `max_incoming_bitrate` is in bit/s, 0 is no bound.
        """
        body = schema.CreatePlainTransport(
            listen_info=listen_info,
            rtcp_listen_info=rtcp_listen_info,
            rtcp_mux=rtcp_mux,
            comedia=comedia,
            enable_srtp=enable_srtp,
            srtp_crypto_suite=srtp_crypto_suite,
            max_incoming_bitrate=max_incoming_bitrate,
            shard=shard,
        )
        made: schema.PlainTransportCreated = await self._call(body)
        return PlainTransport(self, made)

    async def create_pipe_transport(
        self,
        listen_info: schema.ListenInfo,
        *,
        enable_rtx: bool = False,
        enable_srtp: bool = False,
        only_wanted: bool = False,
        shard: int | None = None,
    ) -> PipeTransport:
        """Makes a transport towards a pipe transport of another router, in this engine or elsewhere.

        With `only_wanted`, encodings that nobody watches at the far end are not sent.
        """
        body = schema.CreatePipeTransport(
            listen_info=listen_info,
            enable_rtx=enable_rtx,
            enable_srtp=enable_srtp,
            only_wanted=only_wanted,
            shard=shard,
        )
        made: schema.PipeTransportCreated = await self._call(body)
        return PipeTransport(self, made)

    async def create_direct_transport(
        self, *, max_incoming_bitrate: int = 0, shard: int | None = None
    ) -> DirectTransport:
        """Makes a transport whose packets pass through `Engine.media`. `max_incoming_bitrate` is in bit/s."""
        body = schema.CreateDirectTransport(max_incoming_bitrate=max_incoming_bitrate, shard=shard)
        made: schema.Created = await self._call(body)
        return DirectTransport(self.engine, made.id, self)

    async def create_audio_level_observer(
        self, *, max_entries: int = 1, threshold: int = -80, interval_ms: int = 1000
    ) -> AudioLevelObserver:
        """Makes an observer that tells who is loud, the loudest first, at the end of each interval.

        `threshold` is in dBov, -127 to 0; `interval_ms` 100 to 10000. Events: `AudioVolumes`, `AudioSilence`.
        """
        body = schema.CreateAudioLevelObserver(max_entries=max_entries, threshold=threshold, interval_ms=interval_ms)
        made: schema.Created = await self._call(body)
        return AudioLevelObserver(self.engine, made.id, self)

    async def create_active_speaker_observer(self, *, interval_ms: int = 300) -> ActiveSpeakerObserver:
        """Makes an observer that tells who speaks. `interval_ms` 100 to 10000. Event: `DominantSpeakerChanged`."""
        made: schema.Created = await self._call(schema.CreateActiveSpeakerObserver(interval_ms=interval_ms))
        return ActiveSpeakerObserver(self.engine, made.id, self)

    async def parse_sdp(self, sdp: str, *, preferred_codecs: Iterable[str] = ()) -> schema.SdpParsed:
        """What a peer's offer or answer says, in the words of `produce`, `consume` and `connect`.

        At most 256 KiB. `preferred_codecs` are MIME types. Raises `InvalidArgumentError` with the line.
        """
        parsed: schema.SdpParsed = await self._call(schema.ParseSdp(sdp, preferred_codecs=list(preferred_codecs)))
        return parsed


class Transport(Object):
    """What the transports of a router have in common."""

    parent: Router

    async def produce(
        self,
        kind: schema.MediaKind,
        rtp_parameters: schema.RtpParameters,
        *,
        paused: bool = False,
        key_frame_request_delay_ms: int = 0,
        opaque_payload: bool = False,
        key_frame_cache: bool = True,
    ) -> Producer:
        """Takes media that the peer sends. Several encodings are simulcast.

        `opaque_payload`: encrypted from end to end. `key_frame_cache`: keep the newest key frame for who comes later.
        Raises `UnsupportedError` for codecs that the router does not have, `AlreadyExistsError` for an SSRC or MID that
        is in use.
        """
        body = schema.Produce(
            kind=kind,
            rtp_parameters=rtp_parameters,
            paused=paused,
            key_frame_request_delay_ms=key_frame_request_delay_ms,
            opaque_payload=opaque_payload,
            key_frame_cache=key_frame_cache,
        )
        made: schema.ProducerCreated = await self._call(body)
        return Producer(self, made, kind, rtp_parameters)

    async def consume(
        self,
        producer: int | Producer,
        rtp_capabilities: schema.RtpCapabilities,
        *,
        paused: bool = False,
        mid: str | None = None,
        enable_rtx: bool | None = None,
        preferred_layers: schema.Layers | None = None,
        priority: int = 1,
        ignore_dtx: bool = False,
        numbering: schema.Numbering = schema.Numbering.ROUTER,
        pad_frames: bool = False,
    ) -> Consumer:
        """Sends a producer's media to the peer, whose capabilities choose the codec.

        `enable_rtx` None is on for video, off for audio; `priority` is 1 to 255; `pad_frames` makes the packets of
        a frame equal in size by a few bytes of padding. Raises `UnsupportedError` if there is
        no codec in common, `NotFoundError` for a producer of another router.
        """
        body = schema.Consume(
            producer=id_of(producer),
            rtp_capabilities=rtp_capabilities,
            paused=paused,
            mid=mid,
            enable_rtx=enable_rtx,
            preferred_layers=preferred_layers,
            priority=priority,
            ignore_dtx=ignore_dtx,
            numbering=numbering,
            pad_frames=pad_frames,
        )
        made: schema.ConsumerCreated = await self._call(body)
        return Consumer(self, made, id_of(producer))

    async def set_max_incoming_bitrate(self, bitrate: int) -> None:
        """What the peer is told to stay below, bit/s; 0 is no bound."""
        await self._call(schema.SetMaxIncomingBitrate(bitrate))

    async def keep_decisions(self, rows: int) -> None:
        """Keeps the latest decisions about its media, at most 1024; 0 is off."""
        await self._call(schema.KeepDecisions(rows))

    async def decisions(self) -> schema.Decisions:
        """What was kept."""
        found: schema.Decisions = await self._call(schema.GetDecisions())
        return found

    async def start_tap(
        self,
        name: str,
        *,
        format: schema.TapFormat = schema.TapFormat.PCAPNG,
        max_bytes: int = 16 << 20,
        max_duration_ms: int = 60000,
        headers_only: bool = False,
    ) -> None:
        """Writes its RTP and RTCP, decrypted, to a new file in `EngineOptions.tap_directory`; `TapClosed` tells the end.

        `max_bytes` is 4096 to 2**34, `max_duration_ms` 1 to 86400000.
        """
        body = schema.StartTap(
            name,
            format=format,
            max_bytes=max_bytes,
            max_duration_ms=max_duration_ms,
            headers_only=headers_only,
        )
        await self._call(body)

    async def stop_tap(self) -> None:
        """Ends the tap; no error where there is none."""
        await self._call(schema.StopTap())


class WebRtcTransport(Transport):
    """One peer's ICE, DTLS and SRTP."""

    def __init__(self, router: Router, made: schema.WebRtcTransportCreated) -> None:
        super().__init__(router.engine, made.id, router)
        assert made.ice_parameters is not None and made.dtls_parameters is not None
        self.ice_parameters: schema.IceParameters = made.ice_parameters
        self.ice_candidates: list[schema.IceCandidate] = made.ice_candidates
        self.dtls_parameters: schema.DtlsParameters = made.dtls_parameters

    async def dump(self) -> schema.WebRtcTransportDump:
        """Its states, addresses, producers and consumers."""
        dump: schema.WebRtcTransportDump = await self._call(schema.GetDump())
        return dump

    async def connect(self, dtls_parameters: schema.DtlsParameters) -> schema.DtlsRole:
        """Gives the peer's DTLS parameters; tells our role. Raises `InvalidStateError` the second time."""
        made: schema.Connected = await self._call(schema.ConnectWebRtcTransport(dtls_parameters))
        self.dtls_parameters.role = made.local_role
        return made.local_role

    async def restart_ice(self) -> schema.IceParameters:
        """New ICE credentials; the old ones serve until the peer uses the new ones."""
        made: schema.IceRestarted = await self._call(schema.RestartIce())
        assert made.ice_parameters is not None
        self.ice_parameters = made.ice_parameters
        return made.ice_parameters

    async def create_sdp_answer(
        self, offer: str, sections: Iterable[schema.SdpAnswerSection], *, session_version: int = 1
    ) -> str:
        """The answer to a peer's offer; sections that are not named are rejected."""
        body = schema.CreateSdpAnswer(offer, sections=list(sections), session_version=session_version)
        made: schema.SdpText = await self._call(body)
        return made.sdp

    async def create_sdp_offer(self, consumers: Iterable[int | Consumer], *, session_version: int = 1) -> str:
        """An offer of some of its consumers."""
        ids = [id_of(consumer) for consumer in consumers]
        made: schema.SdpText = await self._call(schema.CreateSdpOffer(consumers=ids, session_version=session_version))
        return made.sdp

    async def create_sdp_fragment(self, mid: str | None = None) -> str:
        """A fragment with its credentials and candidates (RFC 8840): what answers an ICE restart."""
        made: schema.SdpText = await self._call(schema.CreateSdpFragment(mid))
        return made.sdp


class PlainTransport(Transport):
    """RTP and RTCP over UDP."""

    def __init__(self, router: Router, made: schema.PlainTransportCreated) -> None:
        super().__init__(router.engine, made.id, router)
        self.address: str = made.address
        """Where RTP is taken, and RTCP too unless it has a port of its own."""
        self.port: int = made.port
        self.rtcp_address: str | None = made.rtcp_address
        self.rtcp_port: int | None = made.rtcp_port
        self.srtp_parameters: schema.SrtpParameters | None = made.srtp_parameters
        """Our key, where SRTP is enabled."""

    async def dump(self) -> schema.PlainTransportDump:
        """Its addresses, producers and consumers."""
        dump: schema.PlainTransportDump = await self._call(schema.GetDump())
        return dump

    async def connect(
        self,
        ip: str | None = None,
        port: int | None = None,
        *,
        rtcp_port: int | None = None,
        srtp_parameters: schema.SrtpParameters | None = None,
    ) -> None:
        """Tells where the peer is (not with comedia) and its SRTP key (with SRTP only)."""
        body = schema.ConnectPlainTransport(ip=ip, port=port, rtcp_port=rtcp_port, srtp_parameters=srtp_parameters)
        await self._call(body)


class PipeTransport(Transport):
    """Media between routers."""

    def __init__(self, router: Router, made: schema.PipeTransportCreated) -> None:
        super().__init__(router.engine, made.id, router)
        self.address: str = made.address
        self.port: int = made.port
        self.srtp_parameters: schema.SrtpParameters | None = made.srtp_parameters
        """Our key, where SRTP is enabled."""

    async def dump(self) -> schema.PipeTransportDump:
        """Its addresses, producers and consumers."""
        dump: schema.PipeTransportDump = await self._call(schema.GetDump())
        return dump

    async def connect(self, ip: str, port: int, *, srtp_parameters: schema.SrtpParameters | None = None) -> None:
        """Tells where the other end is, and its SRTP key (with SRTP only)."""
        await self._call(schema.ConnectPipeTransport(ip=ip, port=port, srtp_parameters=srtp_parameters))


class DirectTransport(Transport):
    """Media through the program itself: give packets to `Engine.media.send`, take them from `Engine.media`."""

    async def dump(self) -> schema.DirectTransportDump:
        """Its producers and consumers."""
        dump: schema.DirectTransportDump = await self._call(schema.GetDump())
        return dump
