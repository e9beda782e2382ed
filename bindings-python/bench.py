"""What the package costs: round trips of commands, events drained, packets through a direct transport.

    bench.py        prints a table; the targets are goals, not assertions

Told: the library in LIBSFU_LIBRARY, which should be a release build. `make bench` runs it. Best alone on the machine.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import threading
import time
from typing import Callable

import libsfu
from libsfu import MediaKind, RtpPacket, aio, schema

OPUS = schema.RtpCodecCapability(MediaKind.AUDIO, "audio/opus", 48000, channels=2)
OPTIONS = schema.EngineOptions(shards=1, unpinned=True)
ROUND_TRIPS = 5000
CONSUMERS = 500
EVENTS_PER_SECOND = 10_000
PACKETS_PER_SECOND = 20_000
SECONDS = 3
BATCH = 100


def parameters(ssrc: int) -> schema.RtpParameters:
    return schema.RtpParameters(
        codecs=[schema.RtpCodecParameters("audio/opus", payload_type=111, clock_rate=48000, channels=2)],
        encodings=[schema.RtpEncodingParameters(ssrc=ssrc)],
    )


def percentiles(times: list[int]) -> str:
    cuts = statistics.quantiles(times, n=100)
    return f"p50 {cuts[49] / 1000:7.1f} us   p99 {cuts[98] / 1000:7.1f} us"


def timed(call: Callable[[], object]) -> list[int]:
    times = []
    for _ in range(ROUND_TRIPS):
        began = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - began)
    return times


def round_trips() -> None:
    with libsfu.Engine(OPTIONS) as engine:
        router = engine.create_router([OPUS])
        transport = router.create_direct_transport()
        producer = transport.produce(MediaKind.AUDIO, parameters(1))
        timed(producer.pause)
        print(f"round trip, blocking, Pause               {percentiles(timed(producer.pause))}   (target p50 200)")
        print(f"round trip, blocking, GetDump of a router {percentiles(timed(router.dump))}")


async def awaited_round_trips() -> None:
    async with aio.Engine(OPTIONS) as engine:
        router = await engine.create_router([OPUS])
        transport = await router.create_direct_transport()
        producer = await transport.produce(MediaKind.AUDIO, parameters(1))
        times = []
        for _ in range(ROUND_TRIPS):
            began = time.perf_counter_ns()
            await producer.pause()
            times.append(time.perf_counter_ns() - began)
        print(f"round trip, asyncio, Pause                {percentiles(times)}   (target p50 200)")


def events() -> None:
    """One call makes an event for each consumer; calls are paced to the rate that is wanted."""
    with libsfu.Engine(OPTIONS) as engine:
        router = engine.create_router([OPUS])
        producing, consuming = router.create_direct_transport(), router.create_direct_transport()
        producer = producing.produce(MediaKind.AUDIO, parameters(1))
        kept = [consuming.consume(producer, router.rtp_capabilities) for _ in range(CONSUMERS)]
        with engine.events(schema.ProducerPaused, schema.ProducerResumed, schema.EventsLost) as subscription:
            wanted, calls = EVENTS_PER_SECOND * SECONDS, EVENTS_PER_SECOND * SECONDS // CONSUMERS
            began, cpu = time.perf_counter(), time.process_time()

            def make() -> None:
                for number in range(calls):
                    time.sleep(max(0, began + number * CONSUMERS / EVENTS_PER_SECOND - time.perf_counter()))
                    (producer.resume if number % 2 else producer.pause)()

            maker = threading.Thread(target=make)
            maker.start()
            seen, lost = 0, 0
            while seen + lost < wanted:
                event = subscription.get(30)
                if isinstance(event, schema.EventsLost):
                    lost += event.count
                else:
                    seen += 1
            took, cpu = time.perf_counter() - began, time.process_time() - cpu
            maker.join()
            print(
                f"events drained                            {seen / took:7.0f} /s of {EVENTS_PER_SECOND} offered, "
                f"{lost} lost, {cpu / seen * 1e6:.1f} us of CPU each"
            )
        del kept


def media() -> None:
    """A direct transport in and another one out, both by this process."""
    with libsfu.Engine(OPTIONS) as engine:
        router = engine.create_router([OPUS])
        producer = router.create_direct_transport().produce(MediaKind.AUDIO, parameters(1))
        consumer = router.create_direct_transport().consume(producer, router.rtp_capabilities)
        payload = os.urandom(160)
        wanted = PACKETS_PER_SECOND * SECONDS
        packets = [RtpPacket(111, n % 65536, 960 * n % 2**32, 1, payload).build() for n in range(wanted)]
        began, cpu = time.perf_counter(), time.process_time()

        def give() -> None:
            for first in range(0, wanted, BATCH):
                time.sleep(max(0, began + first / PACKETS_PER_SECOND - time.perf_counter()))
                engine.media.send((producer, packet) for packet in packets[first : first + BATCH])

        giver = threading.Thread(target=give)
        giver.start()
        seen = size = 0
        try:
            while seen < wanted:
                for packet in engine.media.receive(1).of(consumer):
                    seen, size = seen + 1, size + len(packet)
        except libsfu.TimeoutError:
            pass  # What is missing is told below.
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        giver.join()
        took = took if seen == wanted else took - 1
        print(
            f"packets through a direct transport        {seen / took:7.0f} /s of {PACKETS_PER_SECOND} offered, "
            f"{wanted - seen} missing, {cpu / max(1, seen) * 1e6:.1f} us of CPU each, both ways and the engine's"
        )


def main() -> None:
    print(f"libsfu {libsfu.version()} from Python, {libsfu.library_path()}")
    round_trips()
    asyncio.run(awaited_round_trips())
    events()
    media()


if __name__ == "__main__":
    main()
