#!/usr/bin/env python3
"""Whether what a README shows is what programs do: shown.py README LEAST PROGRAM...

Each indented piece of C or C++ stands, line by line, in one of the programs, which other steps build and run; there are so
many pieces at least, and none has more than thirty lines."""

import re
import sys
from pathlib import Path


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def pieces(text: str) -> list[list[str]]:
    """Indented pieces in which a line ends as C does."""
    blocks = re.findall(r"(?:^(?: {4}.*|)\n)+", text, re.M)
    return [lines(block) for block in blocks if "sfu" in block and re.search(r"; *(//.*)?$", block, re.M)]


def main() -> int:
    readme, least = Path(sys.argv[1]), int(sys.argv[2])
    programs = ["\n".join(lines(Path(name).read_text())) for name in sys.argv[3:]]
    found = pieces(readme.read_text())
    wrong = 0 if len(found) >= least else 1
    for piece in found:
        if len(piece) > 30 or not any("\n".join(piece) in program for program in programs):
            print(f"{readme}: {len(piece)} lines are in no program:", *piece, sep="\n    ")
            wrong += 1
    print(f"{readme}: {len(found)} pieces")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
