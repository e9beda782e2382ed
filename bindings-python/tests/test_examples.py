"""The examples, each as a person runs it: a program of its own with a real source of media."""

from __future__ import annotations

import os
import queue
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import wave
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "python"
PEER = ROOT / "tests" / "interop" / "aiortc_peer.py"
PATIENCE = 60.0


class Program:
    """A program whose lines are read as they come."""

    def __init__(self, *command: str | Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "bindings-python"), "PYTHONUNBUFFERED": "1"}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            [str(word) for word in command],
            stdin=pipe,
            stdout=pipe,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )
        self.said: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line.rstrip("\n"))
        self._lines.put(None)

    def until(self, pattern: str) -> re.Match[str]:
        """The first line from here on that has it."""
        end = time.monotonic() + PATIENCE
        while True:
            try:
                line = self._lines.get(timeout=max(0.01, end - time.monotonic()))
            except queue.Empty:
                line = None
            assert line is not None, f"no {pattern!r} in:\n" + "\n".join(self.said)
            self.said.append(line)
            match = re.search(pattern, line)
            if match:
                return match

    def end(self, *, by: signal.Signals | None = None) -> int:
        """Its exit code, after its input was closed or a signal."""
        assert self.process.stdin is not None and self.process.stdout is not None
        if by is not None:
            self.process.send_signal(by)
        self.process.stdin.close()
        try:
            code = self.process.wait(PATIENCE)
        finally:
            self.process.kill()
            self._reader.join(PATIENCE)
            self.process.stdout.close()
        return code


@pytest.fixture
def programs() -> Iterator[list[Program]]:
    started: list[Program] = []
    yield started
    for program in started:
        program.process.kill()
        program.end()


def example(programs: list[Program], name: str, *words: str | Path) -> Program:
    programs.append(Program(sys.executable, EXAMPLES / name, *words))
    return programs[-1]


def publisher(programs: list[Program], url: str) -> Program:
    programs.append(Program(sys.executable, PEER, "publish", url))
    return programs[-1]


def ffmpeg() -> str:
    import imageio_ffmpeg

    return str(imageio_ffmpeg.get_ffmpeg_exe())


def test_the_audio_tap_hears_a_tone_and_writes_it(programs: list[Program], tmp_path: Path) -> None:
    path = tmp_path / "speech.wav"
    tap = example(programs, "audio_tap.py", path, "--listen", "127.0.0.1:0", "--seconds", "2")
    port = tap.until(r"rtp://127\.0\.0\.1:(\d+)")[1]
    source = ["-re", "-f", "lavfi", "-i", "sine=frequency=440:duration=20"]
    codec = ["-c:a", "libopus", "-ar", "48000", "-ac", "2", "-payload_type", "111"]
    programs.append(Program(ffmpeg(), "-loglevel", "error", *source, *codec, "-f", "rtp", f"rtp://127.0.0.1:{port}"))
    level = float(tap.until(r"1\.\d s \[#+ *\] +(-\d+\.\d) dBFS")[1])
    assert -30 < level < -15
    tap.until(r"speech\.wav: 2\.")
    assert tap.end() == 0
    with wave.open(str(path)) as wav:
        assert (wav.getframerate(), wav.getnchannels()) == (48000, 2)
        frames = wav.getnframes()
        wav.setpos(48000)
        left = memoryview(wav.readframes(24000)).cast("h")[::2].tolist()
    assert 96000 <= frames < 100000
    crossings = sum(1 for one, two in zip(left, left[1:]) if one < 0 <= two)
    assert abs(crossings * 2 - 440) <= 4, "half a second of 440 Hz"


def test_whip_to_file_records_what_is_published(programs: list[Program], tmp_path: Path) -> None:
    import av

    path = tmp_path / "talk.mkv"
    recorder = example(programs, "whip_to_file.py", path, "--listen", "127.0.0.1:0", "--token", "secret")
    url = recorder.until(r"publish to (http://\S+/whip/)NAME")[1]
    refusals(url)
    recorder_url = url + "talk"
    # The peer knows no tokens; the one with the token is let in.
    assert status(recorder_url, "POST") == 401
    recorder.end(by=signal.SIGTERM)
    recorder = example(programs, "whip_to_file.py", path, "--listen", "127.0.0.1:0", "--seconds", "6")
    url = recorder.until(r"publish to (http://\S+/whip/)NAME")[1]
    peer = publisher(programs, url + "talk")
    recorder.until("recording talk")
    told = recorder.until(r"(\d+) bytes, packets: (\d+) of audio, (\d+) of video")
    assert int(told[1]) > 10_000
    assert recorder.end() == 0
    peer.process.kill()
    with av.open(str(path)) as file:
        kinds = {stream.type: 0 for stream in file.streams}
        for packet in file.demux():
            kinds[packet.stream.type] += len(packet.decode())
        assert file.duration and file.duration > 1_000_000
    assert kinds["audio"] > 50 and kinds["video"] > 10


def status(url: str, method: str, body: str = "", **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, data=body.encode() or None, method=method, headers=named)
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            assert error.read(), "a refusal says why"
        return error.code


def refusals(url: str) -> None:
    let_in = {"Authorization": "Bearer secret", "Content_Type": "application/sdp"}
    assert status(url + "talk", "OPTIONS") == 204
    assert status(url + "talk", "POST", Authorization="Bearer wrong") == 401
    assert status(url + "talk", "POST", "x", Authorization="Bearer secret", Content_Type="text/plain") == 415
    assert status(url + "talk", "POST", "v=0", **let_in) == 422
    assert status(url + "x" * 65, "POST", "v=0", **let_in) == 400
    assert status(url + "a/b", "POST", "v=0", **let_in) == 404
    assert status(url + "talk/nobody", "DELETE", **let_in) == 404
    assert status(url + "talk/nobody", "PATCH", **let_in) == 405
    # 300 KiB are more than a description may be; the server need not read them to say so.
    request = b"POST /whip/talk HTTP/1.1\r\nAuthorization: Bearer secret\r\nContent-Length: 307200\r\n\r\n"
    host, port = re.findall(r"//([\d.]+):(\d+)", url)[0]
    for sent, answer in (
        (request, b" 413 "),
        (
            b"POST /whip/a\x07 HTTP/1.1\r\nAuthorization: Bearer secret\r\nContent-Type: application/sdp\r\n\r\n",
            b" 400 ",
        ),
        (b"nonsense\r\n\r\n", b" 400 "),
        (b"GET / HTTP/1.1\r\n" + b"a" * 20000, b" 400 "),
    ):
        with socket.create_connection((host, int(port)), PATIENCE) as connection:
            connection.sendall(sent)
            assert answer in connection.recv(64)


def test_the_room_monitor_shows_its_own_room(programs: list[Program]) -> None:
    monitor = example(programs, "room_monitor.py", "host", "--listen", "127.0.0.1:0", "--every", "0.3")
    url = monitor.until(r"publish to (http://\S+/whip/)NAME")[1]
    monitor.until(r"0 transports, 0 producers")
    peer = publisher(programs, url + "ada")
    monitor.until(r"1 transports, 2 producers")
    monitor.until(r"IceStateChanged \w{16} state (connected|completed)")
    monitor.until(r"ada +audio +opus +[1-9][\d.]* .bit/s +[1-9]\d* +0 ")
    monitor.until(r"ada +video +VP8 +[1-9][\d.]* .bit/s +[1-9]\d* +\d+ .*10/10")
    assert peer.end() == 0
    monitor.until(r"0 transports, 0 producers")
    assert monitor.end(by=signal.SIGINT) == 0


def test_the_room_monitor_shows_the_rooms_of_a_service(programs: list[Program]) -> None:
    service = os.environ.get("SFU_BIN", str(ROOT / "target" / "debug" / "sfu"))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    listen = ["--listen", f"127.0.0.1:{port}", "--rtc-ip", "127.0.0.1", "--rtc-port", str(port + 1), "--unpinned"]
    programs.append(Program(service, "serve", *listen, "--metrics-rooms", "9"))
    programs[-1].until(f"{port}")
    publisher(programs, f"http://127.0.0.1:{port}/whip/atrium")
    monitor = example(programs, "room_monitor.py", "watch", f"http://127.0.0.1:{port}", "--every", "0.3")
    monitor.until(r"1 rooms, 1 peers")
    monitor.until(r"atrium +1 +2 +0 +[1-9][\d.]* .bit/s")
    monitor.until(r"^\d +1 +[1-9]\d* +[1-9]\d* +\d+$")
    assert monitor.end(by=signal.SIGTERM) == 0
