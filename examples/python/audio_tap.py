"""Shows how loud a speaker is, and writes what is said to a WAV file.

    audio_tap.py speech.wav [--listen 127.0.0.1:5004] [--seconds N]
    ffmpeg -re -i talk.mp4 -vn -c:a libopus -ar 48000 -ac 2 -payload_type 111 -f rtp rtp://127.0.0.1:5004

The speaker's RTP comes in by a plain transport; a consumer on a direct transport hands it to this program, packet by
packet, as any participant of the room would get it. Opus is decoded by PyAV; what was lost is silence, so that the file
is as long as the speech.
"""

from __future__ import annotations

import argparse
import array
import math
import signal
import wave
from collections.abc import Iterator
from typing import Any

import av

import libsfu
from libsfu import MediaKind, RtpPacket, schema

RATE = 48000
CHANNELS = 2
PAYLOAD_TYPE = 111
# Gaps above it are a sender that began anew, not silence, seconds.
GAP_MAX = 10
METER = 30

OPUS = schema.RtpCodecCapability(MediaKind.AUDIO, "audio/opus", RATE, channels=CHANNELS)


class Decoder:
    """Opus packets in the order of their timestamps to 16-bit samples, interleaved."""

    def __init__(self) -> None:
        self._codec: Any = av.CodecContext.create("opus", "r")
        self._codec.sample_rate, self._codec.layout = RATE, "stereo"
        self._resampler = av.AudioResampler(format="s16", layout="stereo", rate=RATE)
        self._next: int | None = None
        self._last: int | None = None

    def decode(self, packet: RtpPacket) -> array.array[int]:
        """The samples of a packet, behind the silence of those that are missing; none for one that comes too late."""
        if self._last is not None and (packet.sequence - self._last) % 65536 >= 32768:
            return array.array("h")
        self._last = packet.sequence
        samples = array.array("h")
        for frame in self._codec.decode(av.Packet(bytes(packet.payload))):
            for converted in self._resampler.resample(frame):
                samples.frombytes(bytes(converted.planes[0])[: converted.samples * CHANNELS * 2])
        gap = 0 if self._next is None else (packet.timestamp - self._next) % 2**32
        self._next = (packet.timestamp + len(samples) // CHANNELS) % 2**32
        silence = gap if 0 < gap < GAP_MAX * RATE else 0
        return array.array("h", bytes(silence * CHANNELS * 2)) + samples


def level(samples: array.array[int]) -> float:
    """Loudness in dBFS: 0 is the loudest there can be, -127 is silence."""
    if not samples:
        return -127.0
    power = sum(sample * sample for sample in samples) / len(samples)
    return max(-127.0, 10 * math.log10(power / 32768**2)) if power else -127.0


def meter(db: float) -> str:
    """A bar of 60 dB."""
    filled = max(0, min(METER, round((db + 60) / 60 * METER)))
    return f"[{'#' * filled}{' ' * (METER - filled)}] {db:6.1f} dBFS"


def speaker(router: libsfu.Router, ip: str, port: int) -> tuple[libsfu.PlainTransport, libsfu.Producer]:
    """Where ffmpeg sends to. What it sends has no signalling: the payload type tells the producer."""
    transport = router.create_plain_transport(schema.ListenInfo(ip, port=port), rtcp_mux=False, comedia=True)
    parameters = schema.RtpParameters(
        codecs=[schema.RtpCodecParameters("audio/opus", payload_type=PAYLOAD_TYPE, clock_rate=RATE, channels=CHANNELS)],
        encodings=[schema.RtpEncodingParameters()],
    )
    return transport, transport.produce(MediaKind.AUDIO, parameters)


def packets(engine: libsfu.Engine, consumer: libsfu.Consumer, seconds: float) -> Iterator[RtpPacket]:
    """Until nothing came for so long after the first one."""
    timeout = None
    while True:
        try:
            batch = engine.media.receive(timeout)
        except (libsfu.TimeoutError, libsfu.ClosedError):
            return
        for packet in batch.of(consumer):
            if not 192 <= packet[1] <= 223:
                timeout = seconds
                yield RtpPacket.parse(packet)


def tap(options: argparse.Namespace) -> None:
    host, _, port = options.listen.rpartition(":")
    with libsfu.Engine(schema.EngineOptions(shards=1)) as engine:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: engine.close())
        router = engine.create_router([OPUS])
        transport, producer = speaker(router, host, int(port))
        consumer = router.create_direct_transport().consume(producer, router.rtp_capabilities)
        print(f"send Opus with payload type {PAYLOAD_TYPE} to rtp://{transport.address}:{transport.port}", flush=True)
        decoder, told, written = Decoder(), 0, 0
        with wave.open(options.file, "wb") as out:
            out.setnchannels(CHANNELS)
            out.setsampwidth(2)
            out.setframerate(RATE)
            window = array.array("h")
            for packet in packets(engine, consumer, options.patience):
                samples = decoder.decode(packet)
                out.writeframesraw(samples.tobytes())
                written += len(samples) // CHANNELS
                window += samples
                if len(window) >= RATE * CHANNELS // 5:
                    print(f"{told / 5:7.1f} s {meter(level(window))}", flush=True)
                    window, told = array.array("h"), told + 1
                if options.seconds and written >= options.seconds * RATE:
                    break
        print(f"{options.file}: {written / RATE:.1f} s", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="the WAV file")
    parser.add_argument("--listen", default="127.0.0.1:5004", help="where the speaker's RTP comes in; port 0 is any")
    parser.add_argument("--seconds", type=float, default=0, help="stop after so much speech; 0 is at its end")
    parser.add_argument("--patience", type=float, default=2, help="silence that is the end, seconds")
    tap(parser.parse_args())


if __name__ == "__main__":
    main()
