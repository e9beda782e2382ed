"""Fixtures: one engine for each test, which must close without a word in the log."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
from room import CODECS, OPTIONS

import libsfu


@pytest.fixture(autouse=True)
def quiet(caplog: pytest.LogCaptureFixture, request: pytest.FixtureRequest) -> Iterator[None]:
    """The package logs what nobody else could be told; a test that expects that says so by a marker."""
    caplog.set_level(logging.WARNING, "libsfu")
    yield
    if "loud" not in request.keywords:
        said = [record.getMessage() for record in caplog.get_records("call") if record.name == "libsfu"]
        assert said == []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The closing line that the stages of `make test` have in common."""
    count = {kind: len(terminalreporter.stats.get(kind, [])) for kind in ("passed", "failed", "error")}
    terminalreporter.write_line(f"\n{count['passed']} passed, {count['failed'] + count['error']} failed")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "loud: what the package logs is part of the test")


@pytest.fixture
def engine() -> Iterator[libsfu.Engine]:
    with libsfu.Engine(OPTIONS, call_timeout=30) as engine:
        yield engine


@pytest.fixture
def router(engine: libsfu.Engine) -> libsfu.Router:
    return engine.create_router(CODECS)
