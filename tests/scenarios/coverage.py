#!/usr/bin/env python3
"""Whether the scenarios say something of everything that the schema has: coverage.py SCHEMA FOLDER HEADER...

Every command occurs in a call that succeeds, every reply, event and error code in a step. What cannot be brought about
by a scenario stands in exempt.json with the reason; an exemption that is not needed is a failure too. The headers are the
C++ wrapper: it hands out the schema's own tables, so that each of them stands there by its name. (Go and Python have
tables of their own, and tests that every field of the schema reaches them.)"""

import json
import re
import sys
from pathlib import Path


def members(schema: str, kind: str, name: str) -> list[str]:
    """The members of a union or enum, without their values."""
    text = re.sub(r"//.*", "", schema)
    body = re.search(rf"\b{kind} {name}\b[^{{]*{{([^}}]*)}}", text)
    if body is None:
        sys.exit(f"the schema has no {kind} {name}")
    return [word.split("=")[0].strip() for word in body.group(1).split(",") if word.strip()]


def main() -> int:
    schema = Path(sys.argv[1]).read_text()
    folder = Path(sys.argv[2])
    seen: dict[str, set[str]] = {"command": set(), "reply": set(), "event": set(), "code": {"ok"}}
    for path in sorted(folder.glob("*.json")):
        if path.name == "exempt.json":
            continue
        for step in json.loads(path.read_text())["steps"]:
            for one in [step, *step.get("events", [])]:
                if "event" in one:
                    seen["event"].add(one["event"])
            error = step.get("error", {}).get("code")
            seen["code"].update([error] if error else [], step.get("answers", []))
            if "call" in step and error is None:
                seen["command"].add(step["call"])
                seen["reply"].add(step.get("reply", "Done"))
    wanted = {
        "command": members(schema, "union", "RequestBody"),
        "reply": members(schema, "union", "ReplyBody"),
        "event": members(schema, "union", "EventBody"),
        "code": members(schema, "enum", "Code"),
    }
    exempt = json.loads((folder / "exempt.json").read_text())
    failed = 0
    for kind, names in wanted.items():
        allowed = exempt.get(kind, {})
        for name in names:
            if (name in seen[kind]) == (name in allowed):
                failed += 1
                missing = name not in seen[kind]
                print(f"coverage: {kind} {name}: " + ("no scenario has it" if missing else "exempt, but a scenario has it"))
        for name in [*seen[kind], *allowed]:
            if name not in names:
                failed += 1
                print(f"coverage: {kind} {name}: the schema does not have it")
    total = sum(len(names) for names in wanted.values())
    header = "".join(Path(name).read_text() for name in sys.argv[3:])
    unspoken = exempt.get("header", {})
    for name in [*wanted["command"], *wanted["reply"], *wanted["event"]]:
        total += 1
        if (re.search(rf"\bfbs::{name}T\b", header) is not None) == (name in unspoken):
            failed += 1
            print(f"coverage: header: {name}: " + ("exempt, but it is there" if name in unspoken else "the wrapper does not have it"))
    print(f"coverage: {total - failed} of {total} members of the schema have their scenario, their place in the wrapper, or their reason")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
