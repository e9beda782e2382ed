"""Every command of the schema has its call, in both faces, and works against an engine."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import replace
from typing import Any

from room import CODECS, DTLS, LOOPBACK, OFFER, OPTIONS, OPUS, audio, video

import libsfu
import libsfu.aio
from libsfu import MediaKind, TraceKind, schema
from libsfu._core import Core
from libsfu._layout import EVENTS, REPLIES, REQUESTS


class Recorded:
    """The kinds of requests that pass the core, and the kinds of their answers."""

    def __init__(self, monkeypatch: Any) -> None:
        self.requests: set[type] = set()
        self.replies: set[type] = set()
        submit = Core.submit

        def recorded(core: Core, target: int, body: Any, slot: Any) -> int:
            self.requests.add(type(body))
            fill = slot.fill

            class Seen:
                def fill(_, answer: Any) -> None:
                    self.replies.add(type(answer))
                    fill(answer)

            return submit(core, target, body, Seen())

        monkeypatch.setattr(Core, "submit", recorded)

    def all_there(self) -> None:
        assert {table.__name__ for table in REQUESTS.values()} - {t.__name__ for t in self.requests} == set()
        # A shard has no id that a caller could ask by.
        missing = {table.__name__ for table in REPLIES.values()} - {t.__name__ for t in self.replies}
        assert missing - {"ShardDump"} == set()


async def settled(value: Any) -> Any:
    """What a call of either face gave."""
    return await value if asyncio.iscoroutine(value) else value


async def tour(engine: Any) -> None:
    """Makes each call that the objects of a face have."""
    s = settled
    router = await s(engine.create_router(CODECS))
    assert {c.mime_type for c in router.rtp_capabilities.codecs} >= {"audio/opus", "video/VP8"}
    assert (await s(router.capabilities())) == router.rtp_capabilities
    assert (await s(router.update_media_codecs(CODECS))).codecs
    assert (await s(engine.supported_capabilities())).codecs
    await media_tour(router, await s(router.create_direct_transport()))
    server = await s(engine.create_webrtc_server([LOOPBACK], shard=0))
    assert (await s(server.dump())).local_addresses
    await webrtc_tour(router, server)
    await plain_tour(router)
    for made in (server, router):
        await s(made.stats(summary=True))
        await s(made.close())
        assert made.closed
    assert (await s(engine.dump())).version == libsfu.version()
    assert len((await s(engine.stats())).shards) == 1
    assert (await s(engine.drain())).routers == 0


async def media_tour(router: Any, transport: Any) -> None:
    s = settled
    producer = await s(transport.produce(MediaKind.AUDIO, audio()))
    other = await s(transport.produce(MediaKind.AUDIO, audio()))
    assert await s(router.can_consume(producer, router.rtp_capabilities))
    consumer = await s(transport.consume(producer, router.rtp_capabilities))
    assert consumer.kind is MediaKind.AUDIO and consumer.rtp_parameters.codecs
    for made in (producer, consumer):
        await s(made.pause())
        assert (await s(made.dump())).paused
        await s(made.resume())
        await s(made.set_trace([TraceKind.RTP]))
        assert (await s(made.stats())).target == made.id
    await s(consumer.set_priority(7))
    await s(consumer.set_preferred_layers(schema.Layers(0)))
    await s(consumer.request_key_frame())
    assert (await s(consumer.switch_producer(other))).type is schema.ProducerType.SIMPLE
    dump = await s(consumer.dump())
    assert (dump.kind, dump.priority) == (MediaKind.AUDIO, 7)
    for made in (transport, consumer):
        await s(made.keep_decisions(8))
        assert (await s(made.decisions())).capacity == 8
    await s(transport.set_max_incoming_bitrate(1_000_000))
    assert (await s(transport.dump())).producers == [producer.id, other.id]
    levels = await s(router.create_audio_level_observer(max_entries=3, threshold=-60, interval_ms=200))
    speaker = await s(router.create_active_speaker_observer())
    for observer in (levels, speaker):
        await s(observer.observe(producer))
        assert (await s(observer.dump())).producers == [producer.id]
        await s(observer.unobserve(producer))
        await s(observer.pause())
        await s(observer.resume())
    assert (await s(router.dump())).observers == [levels.id, speaker.id]


async def webrtc_tour(router: Any, server: Any) -> None:
    s = settled
    transport = await s(router.create_webrtc_transport(webrtc_server=server))
    assert transport.ice_candidates[0].address == "127.0.0.1"
    parsed = await s(router.parse_sdp(OFFER))
    section = parsed.sections[0]
    assert section.direction is schema.MediaDirection.SENDONLY and section.problem is None
    await s(transport.connect(parsed.dtls_parameters))
    producer = await s(transport.produce(MediaKind.AUDIO, section.rtp_parameters))
    sections = [schema.SdpAnswerSection(section.mid, producer=producer.id)]
    answer = await s(transport.create_sdp_answer(OFFER, sections))
    assert "a=recvonly" in answer and "a=ice-lite" in answer
    before = transport.ice_parameters
    assert (await s(transport.restart_ice())).username_fragment != before.username_fragment
    fragment = await s(transport.create_sdp_fragment("0"))
    read = await s(router.engine.parse_sdp_fragment(fragment))
    assert read.ice_parameters.username_fragment == transport.ice_parameters.username_fragment
    watching = await s(router.create_webrtc_transport(listen_infos=[LOOPBACK], ice_consent_timeout_ms=0))
    consumer = await s(watching.consume(producer, router.rtp_capabilities, mid="7"))
    assert "a=mid:7" in await s(watching.create_sdp_offer([consumer]))
    assert (await s(watching.dump())).ice_state is schema.IceState.NEW
    assert (await s(watching.connect(DTLS))) is schema.DtlsRole.SERVER


async def plain_tour(router: Any) -> None:
    s = settled
    plain = await s(router.create_plain_transport(LOOPBACK, rtcp_mux=False))
    assert plain.port and plain.rtcp_port
    await s(plain.connect("127.0.0.1", 9, rtcp_port=10))
    assert (await s(plain.dump())).tuple.remote_port == 9
    await s(plain.start_tap("tour.pcapng", format=schema.TapFormat.PCAPNG, max_duration_ms=1000))
    await s(plain.stop_tap())
    pipes = [await s(router.create_pipe_transport(LOOPBACK, enable_srtp=True)) for _ in range(2)]
    for near, far in (pipes, reversed(pipes)):
        await s(near.connect(far.address, far.port, srtp_parameters=far.srtp_parameters))
    assert (await s(pipes[0].dump())).srtp


def test_every_command_has_its_blocking_call(monkeypatch: Any) -> None:
    recorded = Recorded(monkeypatch)
    with tempfile.TemporaryDirectory() as folder, libsfu.Engine(replace(OPTIONS, tap_directory=folder)) as engine:
        asyncio.run(tour(engine))
    recorded.all_there()


def test_every_command_has_its_awaited_call(monkeypatch: Any) -> None:
    recorded = Recorded(monkeypatch)

    async def run(folder: str) -> None:
        async with libsfu.aio.Engine(replace(OPTIONS, tap_directory=folder), call_timeout=30) as engine:
            await tour(engine)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(folder))
    recorded.all_there()


def test_a_command_without_a_call_would_be_noticed(monkeypatch: Any) -> None:
    recorded = Recorded(monkeypatch)
    recorded.requests = set(REQUESTS.values()) - {schema.Drain}
    recorded.replies = set(REPLIES.values())
    try:
        recorded.all_there()
    except AssertionError:
        return
    raise SystemExit("a missing command went unnoticed")


def test_every_event_of_the_schema_is_a_class_with_a_source() -> None:
    for table in EVENTS.values():
        assert table(source=7).source == 7  # type: ignore[call-arg]


def test_any_request_can_be_sent_as_it_is(engine: libsfu.Engine) -> None:
    made = engine.request(0, schema.CreateRouter([OPUS]))
    assert isinstance(made, schema.Created)
    assert isinstance(engine.request(made.id, schema.Close()), schema.Done)
    assert engine.find(made.id) is None


def test_simulcast_goes_in_and_comes_out_of_a_dump(router: libsfu.Router) -> None:
    transport = router.create_direct_transport()
    parameters = video()
    parameters.header_extensions = [
        schema.RtpHeaderExtensionParameters("urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id", id=4)
    ]
    parameters.encodings = [
        schema.RtpEncodingParameters(rid=rid, scalability_mode="L1T3", max_bitrate=rate)
        for rid, rate in (("a", 100_000), ("b", 500_000))
    ]
    producer = transport.produce(MediaKind.VIDEO, parameters)
    assert producer.type is schema.ProducerType.SIMULCAST
    told = producer.dump().rtp_parameters
    assert told is not None
    assert [(e.rid, e.scalability_mode, e.max_bitrate) for e in told.encodings] == [
        ("a", "L1T3", 100_000),
        ("b", "L1T3", 500_000),
    ]
