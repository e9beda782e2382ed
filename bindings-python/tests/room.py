"""What tests of a room need: codecs, parameters, options of a small engine."""

from __future__ import annotations

import random

import libsfu
from libsfu import MediaKind

LOOPBACK = libsfu.ListenInfo("127.0.0.1")
# One shard that may run on any core, since tests run beside each other.
OPTIONS = libsfu.EngineOptions(shards=1, unpinned=True)

OPUS = libsfu.RtpCodecCapability(MediaKind.AUDIO, "audio/opus", 48000, channels=2)
VP8 = libsfu.RtpCodecCapability(MediaKind.VIDEO, "video/VP8", 90000)
CODECS = [OPUS, VP8]


def audio(ssrc: int | None = None, mid: str | None = None) -> libsfu.RtpParameters:
    """What a microphone sends."""
    return libsfu.RtpParameters(
        mid=mid,
        codecs=[libsfu.RtpCodecParameters("audio/opus", payload_type=111, clock_rate=48000, channels=2)],
        encodings=[libsfu.RtpEncodingParameters(ssrc=ssrc or random.getrandbits(31) + 1)],
        rtcp=libsfu.RtcpParameters(cname="python"),
    )


def video(ssrc: int | None = None) -> libsfu.RtpParameters:
    """What a camera sends."""
    return libsfu.RtpParameters(
        codecs=[libsfu.RtpCodecParameters("video/VP8", payload_type=96, clock_rate=90000)],
        encodings=[libsfu.RtpEncodingParameters(ssrc=ssrc or random.getrandbits(31) + 1)],
        rtcp=libsfu.RtcpParameters(cname="python"),
    )


FINGERPRINT = libsfu.DtlsFingerprint(libsfu.FingerprintAlgorithm.SHA256, ":".join(["AB"] * 32))
DTLS = libsfu.DtlsParameters(role=libsfu.DtlsRole.CLIENT, fingerprints=[FINGERPRINT])

# A browser's offer of one microphone, cut to what matters.
OFFER = "\r\n".join(
    [
        "v=0",
        "o=- 4611731400430051336 2 IN IP4 127.0.0.1",
        "s=-",
        "t=0 0",
        "a=group:BUNDLE 0",
        "m=audio 9 UDP/TLS/RTP/SAVPF 111",
        "c=IN IP4 0.0.0.0",
        "a=rtcp:9 IN IP4 0.0.0.0",
        "a=ice-ufrag:abcd",
        "a=ice-pwd:0123456789abcdefghijklmn",
        "a=fingerprint:sha-256 " + ":".join(["AB"] * 32),
        "a=setup:actpass",
        "a=mid:0",
        "a=sendonly",
        "a=rtcp-mux",
        "a=rtpmap:111 opus/48000/2",
        "a=fmtp:111 minptime=10;useinbandfec=1",
        "a=ssrc:1001 cname:browser",
        "",
    ]
)
