"""Makes wheels that carry the shared library.

Told: `LIBSFU_LIBRARY`, the file to put in; else `target/release/libsfu.so` of the repository, where `make build` leaves
it. Tells: a wheel for every Python 3 on this kind of machine: the package itself is pure, the library is not. Everything
else is in pyproject.toml.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py
from setuptools.dist import Distribution


def library() -> Path:
    """The shared library to carry."""
    named = os.environ.get("LIBSFU_LIBRARY")
    target = os.environ.get("CARGO_TARGET_DIR")
    folder = Path(target) if target else Path(__file__).resolve().parent.parent / "target"
    path = Path(named) if named else folder / "release" / "libsfu.so"
    if not path.is_file():
        sys.exit(f"{path} is not there; build it with 'make build', or name another one in LIBSFU_LIBRARY")
    return path


class WithLibrary(build_py):
    """The package, and the library in it."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return  # The sources stay where they are; LIBSFU_LIBRARY or the system's loader finds the library.
        folder = Path(self.build_lib) / "libsfu" / "_lib"
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(library(), folder / "libsfu.so.0")


class OfPlatform(bdist_wheel):
    """Any Python 3, one platform."""

    def get_tag(self) -> tuple[str, str, str]:
        _, _, platform = super().get_tag()
        return "py3", "none", platform


class NotPure(Distribution):
    """It has a binary in it, though none that setuptools builds."""

    def has_ext_modules(self) -> bool:
        return True


setup(cmdclass={"build_py": WithLibrary, "bdist_wheel": OfPlatform}, distclass=NotPure)
