"""A client of the room service that is no browser: aiortc, by its ORTC objects, over the protoo protocol.

Told: the service's address, a room, a name. It joins, publishes a tone and a moving picture, receives what others
publish, and writes one line of JSON about it twice a second. It leaves when its standard input closes.
"""

import argparse
import array
import asyncio
import contextlib
import fractions
import itertools
import json
import math
import random
import sys

import aioice.ice
import aiortc.rtcdtlstransport as dtls
import websockets
from aiortc import (
    MediaStreamTrack,
    RTCCertificate,
    RTCDtlsFingerprint,
    RTCDtlsParameters,
    RTCDtlsTransport,
    RTCIceCandidate,
    RTCIceGatherer,
    RTCIceParameters,
    RTCIceTransport,
    RTCRtpReceiver,
    RTCRtpSender,
)
from aiortc.rtcrtpparameters import (
    RTCRtcpFeedback,
    RTCRtcpParameters,
    RTCRtpCodecParameters,
    RTCRtpDecodingParameters,
    RTCRtpHeaderExtensionParameters,
    RTCRtpReceiveParameters,
    RTCRtpRtxParameters,
    RTCRtpSendParameters,
)
from aiortc.rtcrtpreceiver import RemoteStreamTrack
from av import AudioFrame, VideoFrame
from pylibsrtp import Policy

MID = "urn:ietf:params:rtp-hdrext:sdes:mid"
ABS_SEND_TIME = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
AUDIO_LEVEL = "urn:ietf:params:rtp-hdrext:ssrc-audio-level"
# What aiortc does itself, of what a room offers.
CODECS = {"audio/opus", "video/vp8"}
EXTENSIONS = {MID, ABS_SEND_TIME, AUDIO_LEVEL}
WIDTH, HEIGHT, FRAME_RATE = 320, 240, 15

# The one profile of the four that aiortc knows the cipher of but does not offer.
PROFILES = {
    "AEAD_AES_256_GCM": dtls.SRTP_AEAD_AES_256_GCM,
    "AEAD_AES_128_GCM": dtls.SRTP_AEAD_AES_128_GCM,
    "AES_CM_128_HMAC_SHA1_80": dtls.SRTP_AES128_CM_SHA1_80,
    "AES_CM_128_HMAC_SHA1_32": dtls.SRTPProtectionProfile(
        libsrtp_profile=Policy.SRTP_PROFILE_AES128_CM_SHA1_32,
        openssl_profile=b"SRTP_AES128_CM_SHA1_32",
        key_length=16,
        salt_length=14,
    ),
}


class Tone(MediaStreamTrack):
    """440 Hz, 48 kHz, mono."""

    kind = "audio"
    RATE, SAMPLES = 48000, 960

    def __init__(self):
        super().__init__()
        self._start = None
        self._sent = 0

    async def recv(self):
        loop = asyncio.get_running_loop()
        if self._start is None:
            self._start = loop.time()
        wait = self._start + self._sent / self.RATE - loop.time()
        await asyncio.sleep(max(0, wait))
        step = 2 * math.pi * 440 / self.RATE
        tone = (int(12000 * math.sin(step * (self._sent + i))) for i in range(self.SAMPLES))
        frame = AudioFrame(format="s16", layout="mono", samples=self.SAMPLES)
        frame.planes[0].update(array.array("h", tone).tobytes())
        frame.pts, frame.sample_rate = self._sent, self.RATE
        frame.time_base = fractions.Fraction(1, self.RATE)
        self._sent += self.SAMPLES
        return frame


class Bars(MediaStreamTrack):
    """A grey ramp that moves."""

    kind = "video"

    def __init__(self):
        super().__init__()
        self._start = None
        self._frames = 0

    async def recv(self):
        loop = asyncio.get_running_loop()
        if self._start is None:
            self._start = loop.time()
        wait = self._start + self._frames / FRAME_RATE - loop.time()
        await asyncio.sleep(max(0, wait))
        frame = VideoFrame(WIDTH, HEIGHT, "yuv420p")
        for index, plane in enumerate(frame.planes):
            row = bytes(128 if index else (x + 4 * self._frames) % 256 for x in range(plane.width))
            row += bytes(plane.line_size - plane.width)
            plane.update(row * plane.height)
        frame.pts = self._frames * 90000 // FRAME_RATE
        frame.time_base = fractions.Fraction(1, 90000)
        self._frames += 1
        return frame


class Protoo:
    """Requests out, and whatever the server sends handed to `on_request` and `on_notification`."""

    def __init__(self, socket, on_request, on_notification):
        self._socket = socket
        self._on_request = on_request
        self._on_notification = on_notification
        self._ids = itertools.count(1)
        self._waiting = {}
        self._tasks = set()

    async def run(self):
        async for text in self._socket:
            message = json.loads(text)
            if message.get("request"):
                task = asyncio.create_task(self._answer(message))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            elif message.get("response"):
                waiting = self._waiting.pop(message["id"], None)
                if waiting and not waiting.done():
                    if message.get("ok"):
                        waiting.set_result(message.get("data"))
                    else:
                        waiting.set_exception(RuntimeError(f"{message.get('errorReason')}"))
            else:
                self._on_notification(message["method"], message.get("data"))

    async def request(self, method, **data):
        number = next(self._ids)
        future = asyncio.get_running_loop().create_future()
        self._waiting[number] = future
        await self._socket.send(json.dumps({"request": True, "id": number, "method": method, "data": data}))
        return await asyncio.wait_for(future, 15)

    async def _answer(self, message):
        answer = {"response": True, "id": message["id"]}
        try:
            await self._on_request(message["method"], message["data"])
            answer |= {"ok": True, "data": {}}
        except Exception as error:  # The server is told; the client goes on.
            answer |= {"ok": False, "errorCode": 500, "errorReason": f"{type(error).__name__}: {error}"}
        await self._socket.send(json.dumps(answer))


def codec_parameters(codec, payload_type):
    return RTCRtpCodecParameters(
        mimeType=codec["mimeType"],
        clockRate=codec["clockRate"],
        channels=codec.get("channels"),
        payloadType=payload_type,
        parameters=codec.get("parameters", {}),
        rtcpFeedback=[
            RTCRtcpFeedback(type=feedback["type"], parameter=feedback.get("parameter") or None)
            for feedback in codec.get("rtcpFeedback", [])
        ],
    )


class Incoming:
    """One consumed stream and what came of it."""

    def __init__(self, peer_id, kind):
        self.peer_id, self.kind = peer_id, kind
        self.frames = self.width = self.height = 0
        self.level = 0.0

    def take(self, frame):
        self.frames += 1
        if self.kind == "video":
            self.width, self.height = frame.width, frame.height
        else:
            samples = array.array("h", bytes(frame.planes[0])[: 2 * frame.samples])
            self.level = max(self.level, max(map(abs, samples), default=0) / 32768)

    def report(self):
        return {
            "peerId": self.peer_id,
            "kind": self.kind,
            "frames": self.frames,
            "width": self.width,
            "height": self.height,
            "level": round(self.level, 4),
        }


class Client:
    def __init__(self, arguments):
        self.arguments = arguments
        self.protoo = None
        self.capabilities = None
        self.receiving = None
        self.incoming = {}
        self.tasks = []
        self.transports = []
        self.closers = []

    async def run(self):
        query = f"?roomId={self.arguments.room}&peerId={self.arguments.peer}"
        async with websockets.connect(self.arguments.url + query, subprotocols=["protoo"]) as socket:
            self.protoo = Protoo(socket, self.on_request, self.on_notification)
            reading = asyncio.create_task(self.protoo.run())
            try:
                await self.enter()
                await self.report_until_told_to_leave(reading)
            finally:
                reading.cancel()
                for task in self.tasks:
                    task.cancel()
                for close in self.closers:
                    with contextlib.suppress(Exception):
                        await asyncio.wait_for(close(), 2)

    async def enter(self):
        router = await self.protoo.request("getRouterRtpCapabilities")
        self.capabilities = self.usable(router)
        sending = await self.open_transport(producing=True)
        self.receiving = await self.open_transport(consuming=True)
        await self.protoo.request(
            "join",
            displayName=self.arguments.peer,
            device={"flag": "aiortc", "name": "aiortc", "version": "1"},
            rtpCapabilities=self.capabilities,
        )
        await self.publish(sending, Tone(), "0")
        await self.publish(sending, Bars(), "1")

    def usable(self, router):
        chosen = [c for c in router["codecs"] if c["mimeType"].lower() in CODECS]
        types = {c["preferredPayloadType"] for c in chosen}
        rtx = [
            c
            for c in router["codecs"]
            if c["mimeType"].lower().endswith("/rtx") and c.get("parameters", {}).get("apt") in types
        ]
        # aiortc answers REMB, not transport-cc.
        for codec in chosen:
            codec["rtcpFeedback"] = [f for f in codec.get("rtcpFeedback", []) if f["type"] != "transport-cc"]
        extensions = [e for e in router["headerExtensions"] if e["uri"] in EXTENSIONS]
        return {"codecs": chosen + rtx, "headerExtensions": extensions}

    async def open_transport(self, producing=False, consuming=False):
        made = await self.protoo.request(
            "createWebRtcTransport", forceTcp=False, producing=producing, consuming=consuming
        )
        gatherer = RTCIceGatherer()
        await gatherer.gather()
        ice = RTCIceTransport(gatherer)
        # The server is lite: this side controls.
        ice._connection.ice_controlling = True
        for candidate in made["iceCandidates"]:
            await ice.addRemoteCandidate(
                RTCIceCandidate(
                    component=1,
                    foundation=candidate["foundation"],
                    ip=candidate["address"],
                    port=candidate["port"],
                    priority=candidate["priority"],
                    protocol=candidate["protocol"],
                    type=candidate["type"],
                )
            )
        await ice.addRemoteCandidate(None)
        secure = RTCDtlsTransport(ice, [RTCCertificate.generateCertificate()])
        if self.arguments.srtp_profile:
            secure._srtp_profiles = [PROFILES[self.arguments.srtp_profile]]
        secure._set_role("client")
        local = secure.getLocalParameters()
        await self.protoo.request(
            "connectWebRtcTransport",
            transportId=made["id"],
            dtlsParameters={
                "role": "client",
                "fingerprints": [{"algorithm": f.algorithm, "value": f.value} for f in local.fingerprints],
            },
        )
        parameters = made["iceParameters"]
        await ice.start(
            RTCIceParameters(
                usernameFragment=parameters["usernameFragment"], password=parameters["password"], iceLite=True
            )
        )
        fingerprints = [
            RTCDtlsFingerprint(algorithm=f["algorithm"], value=f["value"])
            for f in made["dtlsParameters"]["fingerprints"]
        ]
        await secure.start(RTCDtlsParameters(fingerprints=fingerprints, role="server"))
        if secure.state != "connected":
            raise RuntimeError(f"DTLS is {secure.state}")
        self.closers += [secure.stop, ice.stop]
        secure.transport_id = made["id"]
        self.transports.append(secure)
        return secure

    async def publish(self, transport, track, mid):
        sender = RTCRtpSender(track, transport)
        cname = f"aiortc-{self.arguments.peer}"
        codecs = [c for c in self.capabilities["codecs"] if c["kind"] == track.kind]
        main = next(c for c in codecs if not c["mimeType"].lower().endswith("/rtx"))
        rtx = [c for c in codecs if c.get("parameters", {}).get("apt") == main["preferredPayloadType"]]
        codecs = [main, *rtx]
        extensions = [
            {"uri": e["uri"], "id": e["preferredId"], "encrypt": False, "parameters": {}}
            for e in self.capabilities["headerExtensions"]
            if e["kind"] == track.kind
        ]
        encoding = {"ssrc": sender._ssrc}
        if rtx:
            encoding["rtx"] = {"ssrc": sender._rtx_ssrc}
        await self.protoo.request(
            "produce",
            transportId=transport.transport_id,
            kind=track.kind,
            rtpParameters={
                "mid": mid,
                "codecs": [
                    {
                        "mimeType": c["mimeType"],
                        "payloadType": c["preferredPayloadType"],
                        "clockRate": c["clockRate"],
                        **({"channels": c["channels"]} if "channels" in c else {}),
                        "parameters": c.get("parameters", {}),
                        "rtcpFeedback": c.get("rtcpFeedback", []),
                    }
                    for c in codecs
                ],
                "headerExtensions": extensions,
                "encodings": [encoding],
                "rtcp": {"cname": cname, "reducedSize": True},
            },
            appData={"source": "mic" if track.kind == "audio" else "webcam"},
        )
        await sender.send(
            RTCRtpSendParameters(
                codecs=[codec_parameters(c, c["preferredPayloadType"]) for c in codecs],
                headerExtensions=[RTCRtpHeaderExtensionParameters(id=e["id"], uri=e["uri"]) for e in extensions],
                muxId=mid,
                rtcp=RTCRtcpParameters(cname=cname, mux=True),
            )
        )
        self.closers.insert(0, sender.stop)

    async def on_request(self, method, data):
        if method != "newConsumer":
            raise ValueError(f"{method} is unknown here")
        while self.receiving is None:
            await asyncio.sleep(0.01)
        parameters, kind = data["rtpParameters"], data["kind"]
        receiver = RTCRtpReceiver(kind, self.receiving)
        receiver._track = RemoteStreamTrack(kind=kind, id=data["id"])
        receiver._set_rtcp_ssrc(random.getrandbits(32))
        encodings = [
            RTCRtpDecodingParameters(
                ssrc=e["ssrc"],
                payloadType=parameters["codecs"][0]["payloadType"],
                rtx=RTCRtpRtxParameters(ssrc=e["rtx"]["ssrc"]) if "rtx" in e else None,
            )
            for e in parameters["encodings"]
        ]
        await receiver.receive(
            RTCRtpReceiveParameters(
                codecs=[codec_parameters(c, c["payloadType"]) for c in parameters["codecs"]],
                encodings=encodings,
                headerExtensions=[
                    RTCRtpHeaderExtensionParameters(id=e["id"], uri=e["uri"]) for e in parameters["headerExtensions"]
                ],
                muxId=parameters["mid"],
                rtcp=RTCRtcpParameters(cname=parameters["rtcp"].get("cname"), mux=True),
            )
        )
        stream = self.incoming[data["id"]] = Incoming(data["peerId"], kind)
        self.tasks.append(asyncio.create_task(self.drain(receiver, stream)))
        self.closers.insert(0, receiver.stop)

    async def drain(self, receiver, stream):
        while True:
            stream.take(await receiver.track.recv())

    def on_notification(self, method, data):
        if method == "consumerClosed":
            self.incoming.pop(data["consumerId"], None)

    async def report_until_told_to_leave(self, reading):
        loop = asyncio.get_running_loop()
        leave = asyncio.Event()
        loop.add_reader(sys.stdin, leave.set)
        while not leave.is_set() and not reading.done():
            profiles = [t._ssl.get_selected_srtp_profile().decode() for t in self.transports]
            report = {"profiles": profiles, "streams": [s.report() for s in self.incoming.values()]}
            print(json.dumps(report), flush=True)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(leave.wait(), 0.5)
        loop.remove_reader(sys.stdin)
        if reading.done() and not leave.is_set():
            raise RuntimeError("the service closed the connection")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True, help="ws://host:port/")
    parser.add_argument("--room", required=True)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--address", default="127.0.0.1", help="address of this side's ICE candidates")
    parser.add_argument("--srtp-profile", choices=sorted(PROFILES), help="offer this one alone")
    arguments = parser.parse_args()
    # Left to itself it leaves loopback out, which is where the tests live.
    aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: [arguments.address]
    asyncio.run(Client(arguments).run())


if __name__ == "__main__":
    main()
