"""aiortc as a WHIP publisher or a WHEP watcher: plain RTCPeerConnection, offer and answer by HTTP.

    aiortc_peer.py publish|watch URL

Writes a line of JSON twice a second: what is received, by kind. Ends, with a DELETE, when its standard input closes.
"""

import argparse
import asyncio
import fractions
import json
import sys
import urllib.error
import urllib.parse
import urllib.request

import array
import math

from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
from av import AudioFrame, VideoFrame

WIDTH, HEIGHT, FRAME_RATE = 320, 240, 15


class Tone(MediaStreamTrack):
    """440 Hz, 48 kHz, mono."""

    kind = "audio"

    def __init__(self):
        super().__init__()
        self._sent = 0
        self._start = None

    async def recv(self):
        now = asyncio.get_running_loop().time()
        self._start = self._start or now
        await asyncio.sleep(max(0.0, self._start + self._sent / 48000 - now))
        wave = (int(12000 * math.sin(2 * math.pi * 440 * (self._sent + i) / 48000)) for i in range(960))
        frame = AudioFrame(format="s16", layout="mono", samples=960)
        frame.planes[0].update(array.array("h", wave).tobytes())
        frame.pts, frame.sample_rate, frame.time_base = self._sent, 48000, fractions.Fraction(1, 48000)
        self._sent += 960
        return frame


class Ramp(MediaStreamTrack):
    """A grey ramp that moves."""

    kind = "video"

    def __init__(self):
        super().__init__()
        self._frames = 0
        self._start = None

    async def recv(self):
        now = asyncio.get_running_loop().time()
        self._start = self._start or now
        await asyncio.sleep(max(0.0, self._start + self._frames / FRAME_RATE - now))
        frame = VideoFrame(WIDTH, HEIGHT, "yuv420p")
        for index, plane in enumerate(frame.planes):
            row = bytes(128 if index else (x + 4 * self._frames) % 256 for x in range(plane.width))
            plane.update((row + bytes(plane.line_size - plane.width)) * plane.height)
        frame.pts, frame.time_base = self._frames * 90000 // FRAME_RATE, fractions.Fraction(1, 90000)
        self._frames += 1
        return frame


def http(method, url, body=None, headers=None):
    """Status, headers and text of an answer, whatever its status."""
    request = urllib.request.Request(url, data=body and body.encode(), method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, response.headers, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


async def count(track, report):
    while True:
        frame = await track.recv()
        seen = report.setdefault(track.kind, {"frames": 0})
        seen["frames"] += 1
        if track.kind == "video":
            seen.update(width=frame.width, height=frame.height)


async def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("role", choices=["publish", "watch"])
    parser.add_argument("url")
    options = parser.parse_args()
    connection, report, tasks = RTCPeerConnection(), {}, []
    if options.role == "publish":
        connection.addTransceiver(Tone(), direction="sendonly")
        connection.addTransceiver(Ramp(), direction="sendonly")
    else:
        connection.addTransceiver("audio", direction="recvonly")
        connection.addTransceiver("video", direction="recvonly")
        connection.on("track", lambda track: tasks.append(asyncio.create_task(count(track, report))))
    await connection.setLocalDescription(await connection.createOffer())
    offer = connection.localDescription.sdp
    status, headers, text = await asyncio.to_thread(
        http, "POST", options.url, offer, {"Content-Type": "application/sdp"}
    )
    if status != 201:
        sys.exit(f"{status}: {text}")
    await connection.setRemoteDescription(RTCSessionDescription(text, "answer"))
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    while not ended.done():
        print(json.dumps({"state": connection.connectionState, **report}), flush=True)
        await asyncio.wait([ended], timeout=0.5)
    resource = urllib.parse.urljoin(options.url, headers["Location"])
    status, _, text = await asyncio.to_thread(http, "DELETE", resource)
    for task in tasks:
        task.cancel()
    await connection.close()
    if status != 200:
        sys.exit(f"DELETE: {status}: {text}")


asyncio.run(main())
