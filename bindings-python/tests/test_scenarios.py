"""The scenarios that all languages run, in both faces."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from scenario import Failure, Scenario, matches

FOLDER = Path(__file__).parents[2] / "tests" / "scenarios"
NOT_SCENARIOS = {"exempt.json"}
FILES = sorted(path for path in FOLDER.glob("*.json") if path.name not in NOT_SCENARIOS)


@pytest.mark.parametrize("face", ["blocking", "asyncio"])
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario(path: Path, face: str) -> None:
    try:
        asyncio.run(Scenario(path, face).run())
    except Failure as failure:
        pytest.fail(f"scenario {path.stem}: {failure}", pytrace=False)


def test_what_does_not_match_is_noticed() -> None:
    found = {"a": 1, "b": [{"c": "xyz"}, {"c": "q", "d": 4}]}
    for wanted in (
        {},
        {"a": 1},
        {"b": [{}, {"d": 4}]},
        {"b": {"$has": {"d": 4}}},
        {"b": {"$count": 2}},
        {"b": {"$sameItems": [{"c": "q"}, {"c": "xyz"}]}},
        {"a": {"$min": 1}},
        {"b": [{"c": {"$contains": "y"}}, {}]},
        {"e": {"$absent": True}, "f": 0, "g": "", "h": []},
    ):
        assert matches(wanted, found), wanted
    for wanted in (
        {"a": 2},
        {"b": [{}]},
        {"b": {"$has": {"d": 5}}},
        {"b": {"$count": 3}},
        {"b": {"$sameItems": [{"c": "q"}, {"c": "q"}]}},
        {"a": {"$max": 0}},
        {"a": {"$absent": True}},
        {"e": {"$any": True}},
        {"e": 1},
    ):
        assert not matches(wanted, found), wanted
