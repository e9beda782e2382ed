"""Values: their bounds, their JSON, and every field absent, empty, extreme and of another type."""

from __future__ import annotations

import copy
import dataclasses
import json
import math
import pickle
from typing import Any

import pytest
from room import CODECS, DTLS, LOOPBACK, OFFER, OPUS, audio, video

import libsfu
from libsfu import Code, MediaKind, schema
from libsfu._codec import (
    Enumeration,
    Flag,
    Integer,
    Nested,
    Number,
    Parameters,
    Text,
    Vector,
    _built_request,
    encode_request,
    layout_of,
)
from libsfu._layout import REQUESTS


def test_row_078_numbers_outside_their_field_name_it(router: libsfu.Router) -> None:
    wrong: list[tuple[schema.RequestBody, str]] = [
        (schema.CreateWebRtcTransport([schema.ListenInfo("127.0.0.1", port=65536)]), "listen_infos[0].port"),
        (schema.CreateWebRtcTransport([schema.ListenInfo("127.0.0.1", port=-1)]), "listen_infos[0].port"),
        (schema.CreateWebRtcTransport(max_incoming_bitrate=2**63), "max_incoming_bitrate"),
        (schema.SetPriority(256), "priority"),
        (schema.CreateRouter(shard=-1), "shard"),
        (schema.CreateRouter([schema.RtpCodecCapability(MediaKind.AUDIO, "audio/opus", 1.5)]), "clock_rate"),  # type: ignore[arg-type]
        (schema.CreateRouter([schema.RtpCodecCapability("speech", "audio/opus", 48000)]), "kind"),  # type: ignore[arg-type]
        (schema.ParseSdp("\ud800"), "sdp"),
        (schema.ParseSdp(7), "sdp"),  # type: ignore[arg-type]
        (schema.GetStats(summary=1), "summary"),  # type: ignore[arg-type]
        (schema.CreateSdpOffer(consumers="12"), "consumers"),  # type: ignore[arg-type]
        (schema.ConnectWebRtcTransport(OPUS), "dtls_parameters"),  # type: ignore[arg-type]
    ]
    for body, field in wrong:
        with pytest.raises(libsfu.InvalidArgumentError) as refusal:
            router._call(body)
        assert refusal.value.code == Code.INVALID_ARGUMENT
        assert refusal.value.field.endswith(field), refusal.value
        assert isinstance(refusal.value, ValueError)


def test_row_078_what_only_the_engine_knows_is_named_by_it(router: libsfu.Router) -> None:
    transport = router.create_direct_transport()

    def produced(change: Any) -> libsfu.Error:
        parameters = audio()
        change(parameters)
        with pytest.raises(libsfu.Error) as refusal:
            transport.produce(MediaKind.AUDIO, parameters)
        assert refusal.value.message and refusal.value.field
        return refusal.value

    produced(lambda p: setattr(p.codecs[0], "payload_type", 200))
    produced(lambda p: setattr(p.codecs[0], "clock_rate", 0))
    produced(lambda p: setattr(p, "encodings", p.encodings * 64))
    produced(lambda p: setattr(p, "codecs", p.codecs * 4096))
    for number in (math.nan, math.inf, -math.inf):
        produced(lambda p, number=number: p.codecs[0].parameters.update(minptime=number))
    with pytest.raises(libsfu.Error) as refusal:
        router.create_audio_level_observer(interval_ms=1)
    assert refusal.value.field == "interval_ms" and "100" in refusal.value.message
    with pytest.raises(libsfu.Error):
        router.create_webrtc_transport(listen_infos=[schema.ListenInfo("300.1.1.1")])
    with pytest.raises(libsfu.InvalidArgumentError):
        transport.consume(2**64, router.rtp_capabilities)


def test_a_text_serves_for_a_member_of_an_enumeration(engine: libsfu.Engine) -> None:
    made = engine.create_router([schema.RtpCodecCapability("audio", "audio/opus", 48000, channels=2)])  # type: ignore[arg-type]
    assert made.rtp_capabilities.codecs[0].kind is MediaKind.AUDIO


# ---- H33: the schema drives the values ----


def extremes(kind: Any) -> list[Any]:
    """Values of a field that a careless program gives."""
    if isinstance(kind, Integer):
        return [kind.low, kind.high, kind.low - 1, kind.high + 1, "7", None, 1.5]
    if isinstance(kind, Number):
        return [0.0, -0.0, math.nan, math.inf, 1e308, 10**400, "x", None]
    if isinstance(kind, Flag):
        return [True, False, None, 2]
    if isinstance(kind, Text):
        return ["", "\0", "a" * 4096, "ä\u2028\U0001f600", None, 7, b"bytes"]
    if isinstance(kind, Enumeration):
        return [*kind.numbers, "nobody", None, 99]
    if isinstance(kind, Parameters):
        return [{}, {"": ""}, {"a": math.nan}, {"a" * 300: "b" * 300}, {"a": None}, [], 7]
    if isinstance(kind, Vector):
        return [[], None, [plain(kind.item)], [plain(kind.item)] * 300, [None], 7, "text"]
    assert isinstance(kind, Nested)
    return [None, plain(kind), OPUS if kind.table is not schema.RtpCodecCapability else DTLS, {}]


def plain(kind: Any) -> Any:
    """An everyday value."""
    if isinstance(kind, Nested):
        return example(kind.table)
    if isinstance(kind, Vector):
        return [plain(kind.item)]
    if isinstance(kind, Enumeration):
        return next(iter(kind.numbers))
    if isinstance(kind, Parameters):
        return {"a": 1, "b": "c", "d": 0.5}
    return {Integer: 1, Number: 1.5, Flag: True, Text: "a"}[type(kind)]


def example(table: type) -> Any:
    return table(**{field.name: plain(field.kind) for field in layout_of(table).fields})


def variants(table: type) -> list[Any]:
    found = [example(table)]
    for field in layout_of(table).fields:
        for value in extremes(field.kind):
            one = example(table)
            setattr(one, field.name, value)
            found.append(one)
        if isinstance(field.kind, Nested):
            for inner in variants(field.kind.table)[:40]:
                one = example(table)
                setattr(one, field.name, inner)
                found.append(one)
    return found


def test_h33_every_field_absent_empty_and_extreme_is_answered(engine: libsfu.Engine, router: libsfu.Router) -> None:
    transport = router.create_direct_transport()
    producer = transport.produce(MediaKind.AUDIO, audio())
    consumer = transport.consume(producer, router.rtp_capabilities)
    objects = (0, router.id, transport.id, producer.id, consumer.id)
    sent = refusals = 0
    for table in REQUESTS.values():
        if table in (schema.Drain, schema.Close):
            continue  # They end what the others need.
        for body in variants(table):
            for target in objects:
                sent += 1
                try:
                    engine.request(target, copy.copy(body))
                except libsfu.Error as error:
                    refusals += 1
                    assert error.code in range(1, 11), (body, error)
                    assert error.message
    assert sent > 1000 and refusals > 500
    assert engine.dump().version == libsfu.version()


# ---- JSON ----


def test_json_is_what_ortc_clients_speak() -> None:
    parameters = audio(ssrc=1234, mid="0")
    parameters.codecs[0].parameters = {"useinbandfec": 1, "ratio": 0.5, "flag": ""}
    parameters.codecs[0].rtcp_feedback = [schema.RtcpFeedback("nack"), schema.RtcpFeedback("ccm", parameter="fir")]
    parameters.header_extensions = [schema.RtpHeaderExtensionParameters("urn:x", id=3)]
    told = json.loads(json.dumps(parameters.to_json()))
    assert told == {
        "mid": "0",
        "codecs": [
            {
                "mimeType": "audio/opus",
                "payloadType": 111,
                "clockRate": 48000,
                "channels": 2,
                "parameters": {"useinbandfec": 1, "ratio": 0.5, "flag": ""},
                "rtcpFeedback": [{"type": "nack", "parameter": ""}, {"type": "ccm", "parameter": "fir"}],
            }
        ],
        "headerExtensions": [{"uri": "urn:x", "id": 3, "encrypt": False, "parameters": {}}],
        "encodings": [{"ssrc": 1234, "dtx": False}],
        "rtcp": {"cname": "python", "reducedSize": True},
    }
    assert schema.RtpParameters.from_json(told) == parameters
    assert DTLS.to_json()["fingerprints"][0]["algorithm"] == "sha-256"
    suite = schema.SrtpParameters(schema.SrtpProfile.AES128_CM_HMAC_SHA1_80, "AAAA")
    assert suite.to_json() == {"cryptoSuite": "AES_CM_128_HMAC_SHA1_80", "keyBase64": "AAAA"}


def test_json_of_every_table_comes_back_the_same() -> None:
    from libsfu._layout import LAYOUTS

    for table in LAYOUTS:
        one = example(table)
        assert table.from_json(json.loads(json.dumps(one.to_json()))) == one  # type: ignore[attr-defined]


def test_json_of_candidates_has_both_names_and_ids_are_texts(router: libsfu.Router) -> None:
    transport = router.create_webrtc_transport(listen_infos=[LOOPBACK])
    candidate = transport.ice_candidates[0].to_json()
    assert candidate["ip"] == candidate["address"] == "127.0.0.1"
    assert candidate["protocol"] == "udp" and candidate["type"] == "host"
    assert router.dump().to_json()["transports"] == [f"{transport.id:016x}"]
    gone = schema.ObjectClosed(source=router.id, reason=schema.CloseReason.PANIC).to_json()
    assert gone == {"source": f"{router.id:016x}", "reason": "panic"}


def test_json_that_is_wrong_is_told_by_its_path() -> None:
    good = audio().to_json()
    for change, field in (
        (lambda d: d["codecs"][0].pop("mimeType"), "codecs[0].mimeType"),
        (lambda d: d["codecs"][0].update(payloadType="111"), "codecs[0].payloadType"),
        (lambda d: d["codecs"][0].update(parameters=[]), "codecs[0].parameters"),
        (lambda d: d["codecs"][0]["parameters"].update(a={}), "codecs[0].parameters.a"),
        (lambda d: d.update(encodings={}), "encodings"),
        (lambda d: d["encodings"].append(7), "encodings[1]"),
        (lambda d: d.update(rtcp="x"), "rtcp"),
    ):
        data = copy.deepcopy(good)
        change(data)
        with pytest.raises(libsfu.InvalidArgumentError) as refusal:
            schema.RtpParameters.from_json(data)
        assert refusal.value.field == field
    # JavaScript has one kind of number, and members that nobody knows are no reason to refuse.
    good["codecs"][0]["payloadType"] = 111.0
    good["codecs"][0]["parameters"] = {"a": True, "b": None, "c": 2.0}
    good["unheardOf"] = 1
    read = schema.RtpParameters.from_json(good)
    assert read.codecs[0].payload_type == 111 and read.codecs[0].parameters == {"a": 1, "b": "", "c": 2}


# ---- Errors and descriptions ----


def test_errors_have_code_field_and_message_and_survive_pickling() -> None:
    from libsfu.errors import _KINDS, error_of

    for code in Code:
        if code is Code.OK:
            continue
        error = error_of(code, "why", "field")
        assert (error.code, error.field, error.message) == (code, "field", "why")
        assert isinstance(error, _KINDS.get(code, libsfu.Error)) and "field: why" in str(error)
        back = pickle.loads(pickle.dumps(error))
        assert (type(back), back.code, back.field, back.message) == (type(error), code, "field", "why")
    assert isinstance(error_of(4711, "new"), libsfu.InternalError)
    assert issubclass(libsfu.TimeoutError, TimeoutError) and issubclass(libsfu.AddressUnavailableError, OSError)


def test_codes_are_those_of_the_header() -> None:
    import re
    from pathlib import Path

    header = Path(__file__).parents[2] / "include" / "libsfu.h"
    pairs = re.findall(r"#define SFU_([A-Z_]+) (\d+)\n", header.read_text())
    versions = {name: int(value) for name, value in pairs if name.endswith("_VERSION")}
    from libsfu._ffi import ABI_VERSION, SCHEMA_VERSION

    assert versions == {"ABI_VERSION": ABI_VERSION, "SCHEMA_VERSION": SCHEMA_VERSION}
    assert {n: int(v) for n, v in pairs if not n.endswith("_VERSION")} == {code.name: int(code) for code in Code}


def test_h40_descriptions_beyond_all_limits_are_refused(router: libsfu.Router) -> None:
    hostile = [
        "",
        "v=0",
        "\0" * 1000,
        OFFER.replace("opus/48000/2", "opus/" + "9" * 400),
        OFFER + "a=" + "x" * 300_000,
        OFFER + "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n" * 20_000,
        OFFER.replace("a=mid:0\r\n", "a=mid:0\r\n" * 5000),
        "a=group:" * 50_000,
    ]
    for text in hostile:
        with pytest.raises(libsfu.Error) as refusal:
            router.parse_sdp(text)
        assert refusal.value.code in (Code.MALFORMED, Code.INVALID_ARGUMENT, Code.UNSUPPORTED)
        assert refusal.value.field
    assert router.parse_sdp(OFFER).sections


def test_requests_without_fields_are_the_bytes_that_building_them_gives() -> None:
    for tag, table in REQUESTS.items():
        if not layout_of(table).fields:
            for number, target in ((1, 1), (2**64 - 1, 2**63), (7, 0)):
                assert encode_request(number, target, table()) == _built_request(number, target, table(), tag)


def test_a_request_is_the_same_bytes_each_time() -> None:
    body = schema.CreateRouter(CODECS)
    assert encode_request(1, 2, body) == encode_request(1, 2, dataclasses.replace(body))
    with pytest.raises(TypeError):
        encode_request(1, 2, video())
