"""The first calls that the guides show are run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
GUIDES = {ROOT / "README.md": 1, ROOT / "bindings-python" / "README.md": 2}


def first_calls(text: str) -> list[str]:
    """The indented pieces of Python in the section of the first call."""
    section = re.search(r"^## First call(?: from Python)?\n(.*?)^## ", text, re.M | re.S)
    assert section is not None
    blocks = re.findall(r"(?:^(?: {4}.*|)\n)+", section[1], re.M)
    return [re.sub(r"^ {4}", "", block, flags=re.M) for block in blocks if "libsfu" in block]


@pytest.mark.parametrize("guide", GUIDES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_first_calls_of_the_guides_run(guide: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pieces = first_calls(guide.read_text())
    assert len(pieces) == GUIDES[guide]
    known: dict[str, Any] = {}
    for piece in pieces:
        assert piece.strip().count("\n") < 30
        exec(compile(piece, str(guide), "exec"), known)
        assert capsys.readouterr().out.strip(), "a first call has something to show"
