"""GStreamer's webrtcbin as a WHIP publisher or a WHEP watcher.

    gstreamer_peer.py publish|watch URL

Needs an interpreter with gi, and the nice, vpx, opus and webrtc plug-ins. Writes a line of JSON twice a second: decoded
buffers by kind. Ends, with a DELETE, when its standard input closes.
"""

import json
import sys
import threading
import urllib.error
import urllib.parse
import urllib.request

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstSdp", "1.0")
gi.require_version("GstWebRTC", "1.0")
from gi.repository import GLib, Gst, GstSdp, GstWebRTC  # noqa: E402

SOURCES = """
webrtcbin name=peer bundle-policy=max-bundle
videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240,framerate=15/1 ! vp8enc deadline=1 keyframe-max-dist=30
  ! rtpvp8pay pt=96 picture-id-mode=15-bit ! application/x-rtp,media=video,encoding-name=VP8,payload=96,rtcp-fb-nack-pli=(boolean)true ! peer.
audiotestsrc is-live=true wave=sine ! audioconvert ! audioresample ! opusenc ! rtpopuspay pt=97
  ! application/x-rtp,media=audio,encoding-name=OPUS,payload=97 ! peer.
"""
CAPS = {
    "audio": "application/x-rtp,media=audio,encoding-name=OPUS,payload=97,clock-rate=48000,encoding-params=(string)2",
    "video": "application/x-rtp,media=video,encoding-name=VP8,payload=96,clock-rate=90000,rtcp-fb-nack-pli=(boolean)true",
}


def http(method, url, body=None, headers=None):
    """Status, headers and text of an answer, whatever its status."""
    request = urllib.request.Request(url, data=body and body.encode(), method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, response.headers, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


class Peer:
    def __init__(self, role, url):
        self.url, self.report, self.resource, self.failure = url, {}, None, None
        self.loop = GLib.MainLoop()
        if role == "publish":
            self.pipeline = Gst.parse_launch(SOURCES)
            self.peer = self.pipeline.get_by_name("peer")
        else:
            self.pipeline = Gst.Pipeline.new("watch")
            self.peer = Gst.ElementFactory.make("webrtcbin", "peer")
            self.peer.set_property("bundle-policy", GstWebRTC.WebRTCBundlePolicy.MAX_BUNDLE)
            self.pipeline.add(self.peer)
            self.peer.connect("pad-added", self.on_pad)
            for caps in CAPS.values():
                direction = GstWebRTC.WebRTCRTPTransceiverDirection.RECVONLY
                self.peer.emit("add-transceiver", direction, Gst.Caps.from_string(caps))
        if role == "publish":
            for index in range(2):
                transceiver = self.peer.emit("get-transceiver", index)
                transceiver.set_property("direction", GstWebRTC.WebRTCRTPTransceiverDirection.SENDONLY)
        bus = self.pipeline.get_bus()
        bus.add_signal_watch()
        bus.connect("message::error", lambda _, message: self.fail(message.parse_error()[0].message))

    def fail(self, text):
        self.failure = text
        self.loop.quit()

    def on_pad(self, _, pad):
        if pad.direction != Gst.PadDirection.SRC:
            return
        decode = Gst.ElementFactory.make("decodebin")
        decode.connect("pad-added", self.on_decoded)
        self.pipeline.add(decode)
        decode.sync_state_with_parent()
        pad.link(decode.get_static_pad("sink"))

    def on_decoded(self, _, pad):
        kind = "audio" if pad.get_current_caps().to_string().startswith("audio") else "video"
        sink = Gst.ElementFactory.make("fakesink")
        sink.set_property("sync", False)
        self.pipeline.add(sink)
        sink.sync_state_with_parent()
        pad.add_probe(Gst.PadProbeType.BUFFER, self.on_buffer, kind)
        pad.link(sink.get_static_pad("sink"))

    def on_buffer(self, _pad, _info, kind):
        self.report.setdefault(kind, {"frames": 0})["frames"] += 1
        return Gst.PadProbeReturn.OK

    def offer(self):
        """Once candidates are gathered: the description is then whole."""
        promise = Gst.Promise.new_with_change_func(self.on_offer)
        self.peer.emit("create-offer", None, promise)
        return False

    def on_offer(self, promise):
        # The reply owns the offer.
        reply = promise.get_reply()
        offer = reply.get_value("offer")
        self.peer.connect("notify::ice-gathering-state", self.on_gathering)
        self.peer.emit("set-local-description", offer, Gst.Promise.new())

    def on_gathering(self, peer, _):
        if peer.get_property("ice-gathering-state") == GstWebRTC.WebRTCICEGatheringState.COMPLETE:
            threading.Thread(target=self.exchange, daemon=True).start()

    def exchange(self):
        text = self.peer.get_property("local-description").sdp.as_text()
        status, headers, text = http("POST", self.url, text, {"Content-Type": "application/sdp"})
        if status != 201:
            GLib.idle_add(self.fail, f"{status}: {text}")
            return
        self.resource = urllib.parse.urljoin(self.url, headers["Location"])
        _, message = GstSdp.SDPMessage.new_from_text(text)
        answer = GstWebRTC.WebRTCSessionDescription.new(GstWebRTC.WebRTCSDPType.ANSWER, message)
        self.peer.emit("set-remote-description", answer, Gst.Promise.new())

    def tell(self):
        state = self.peer.get_property("connection-state").value_nick
        print(json.dumps({"state": state, **self.report}), flush=True)
        return True

    def run(self):
        self.pipeline.set_state(Gst.State.PLAYING)
        GLib.timeout_add(500, self.offer)
        GLib.timeout_add(500, self.tell)
        threading.Thread(target=lambda: (sys.stdin.read(), GLib.idle_add(self.loop.quit)), daemon=True).start()
        self.loop.run()
        if self.resource:
            status, _, text = http("DELETE", self.resource)
            if status != 200:
                self.failure = self.failure or f"DELETE: {status}: {text}"
        self.pipeline.set_state(Gst.State.NULL)
        return self.failure


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("publish", "watch"):
        sys.exit("give publish or watch, and a URL")
    Gst.init(None)
    sys.exit(Peer(sys.argv[1], sys.argv[2]).run())
