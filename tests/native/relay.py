#!/usr/bin/env python3
"""An example relay between two real ffmpegs: relay.py FFMPEG RELAY FOLDER

One ffmpeg sends VP8 by plain RTP to the relay; another plays what the relay sends, decoding frames until it has enough."""

import queue
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

FRAMES = 30
SECONDS = 90


def free_port() -> int:
    """A port for which the next one is free too: players take it for RTCP."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as two:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            try:
                two.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            if port % 2 == 0:
                return port


class Lines:
    """Lines that a program says, as they come."""

    def __init__(self, stream) -> None:
        self.queue: queue.Queue[str] = queue.Queue()
        threading.Thread(target=self.read, args=(stream,), daemon=True).start()

    def read(self, stream) -> None:
        for line in stream:
            self.queue.put(line)

    def until(self, wanted: str) -> None:
        while wanted not in self.queue.get(timeout=SECONDS):
            pass


def main() -> int:
    ffmpeg, program, folder = sys.argv[1], sys.argv[2], Path(sys.argv[3])
    sdp = folder / (Path(program).name + ".sdp")
    incoming, outgoing = free_port(), free_port()
    relay = subprocess.Popen([program, str(incoming), str(outgoing), str(sdp)], stdout=subprocess.PIPE, text=True)
    lines = Lines(relay.stdout)
    running = [relay]
    try:
        lines.until("ready")
        player = subprocess.Popen(
            [ffmpeg, "-nostdin", "-hide_banner", "-protocol_whitelist", "file,udp,rtp", "-i", str(sdp),
             "-frames:v", str(FRAMES), "-f", "null", "-"],
            stderr=subprocess.PIPE, text=True)
        running.append(player)
        address = f"rtp://127.0.0.1:{incoming}?rtcpport={incoming}&pkt_size=1200"
        running.append(subprocess.Popen(
            [ffmpeg, "-nostdin", "-loglevel", "error", "-re", "-f", "lavfi", "-i", "testsrc=size=320x240:rate=25",
             "-c:v", "libvpx", "-deadline", "realtime", "-g", "25", "-ssrc", "11111", "-payload_type", "96", "-f", "rtp", address],
            stdout=subprocess.DEVNULL))
        lines.until("the sender was heard")
        said = player.communicate(timeout=SECONDS)[1]
        decoded = max((int(part.split()[0]) for part in said.split("frame=")[1:] if part.split()), default=0)
        if player.returncode != 0 or decoded < FRAMES:
            print(f"the player decoded {decoded} frames:\n{said}")
            return 1
        relay.send_signal(signal.SIGTERM)
        if relay.wait(timeout=SECONDS) != 0:
            print(f"the relay ended with {relay.returncode}")
            return 1
        return 0
    finally:
        for process in running:
            process.kill()
            process.wait()


if __name__ == "__main__":
    sys.exit(main())
