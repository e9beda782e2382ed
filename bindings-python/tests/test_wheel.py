"""A wheel carries the library: it is installed where nothing else is, and makes a first call."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import libsfu

SOURCES = Path(__file__).parents[1]
FIRST_CALL = """
import libsfu, sys
from libsfu import MediaKind
assert libsfu.library_path().startswith(sys.prefix), libsfu.library_path()
opus = libsfu.RtpCodecCapability(MediaKind.AUDIO, "audio/opus", 48000, channels=2)
with libsfu.Engine(libsfu.EngineOptions(shards=1, unpinned=True)) as engine:
    with engine.create_router([opus]) as router:
        print(libsfu.version(), router.rtp_capabilities.codecs[0].mime_type)
"""


def run(*command: str | Path, **variables: str) -> str:
    kept = {name: value for name, value in os.environ.items() if name not in ("LIBSFU_LIBRARY", "PYTHONPATH")}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=variables.pop("cwd", None),
        env={**kept, **variables},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_wheel_is_installed_into_a_fresh_environment_and_makes_a_first_call(tmp_path: Path) -> None:
    # Without what only debuggers read it is small enough to be packed quickly.
    library = tmp_path / "libsfu.so"
    run("strip", "--strip-debug", "-o", library, libsfu.library_path())
    sources = tmp_path / "sources"
    shutil.copytree(SOURCES, sources, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__", "tests"))
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    wheels = tmp_path / "wheels"
    run(*pip, "wheel", "--no-build-isolation", "--wheel-dir", wheels, sources, LIBSFU_LIBRARY=str(library))
    (wheel,) = wheels.glob("libsfu-*.whl")
    assert wheel.name.startswith("libsfu-0.1.0-py3-none-linux_")
    names = zipfile.ZipFile(wheel).namelist()
    assert {"libsfu/_lib/libsfu.so.0", "libsfu/py.typed", "libsfu/aio/__init__.py"} <= set(names)
    fresh = tmp_path / "fresh"
    run(sys.executable, "-m", "venv", fresh)
    python = fresh / "bin" / "python"
    install = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-index"]
    run(*install, "--find-links", wheels, "libsfu")
    assert run(python, "-c", FIRST_CALL, cwd=str(fresh)).split() == [libsfu.version(), "audio/opus"]


def test_a_wheel_without_a_library_is_refused_with_the_remedy(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "setup.py", "--quiet", "build", "--build-base", str(tmp_path)],
        cwd=SOURCES,
        env={**os.environ, "LIBSFU_LIBRARY": str(tmp_path / "none.so")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 1
    assert "none.so is not there" in done.stderr and "make build" in done.stderr
