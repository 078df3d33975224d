"""Log lines as JSON, and when they are written."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog

from fleetkey.cli.log_lines import WRITE_SECONDS, LineWriter, json_line, line_logger
from fleetkey.cli.logs import log_renderers


@pytest.fixture
def stream() -> io.StringIO:
    """Return what the lines are written to."""
    return io.StringIO()


def _logger(stream: io.StringIO, level: int = logging.INFO) -> Any:
    return structlog.wrap_logger(LineWriter(stream), processors=[json_line], wrapper_class=line_logger(level))


async def test_soon(stream: io.StringIO) -> None:
    """In an event loop, a line of level `info` is written within a few milliseconds, behind those before it."""
    writer = LineWriter(stream)
    writer.info("one")
    writer.info("two")
    assert stream.getvalue() == ""
    await asyncio.sleep(3 * WRITE_SECONDS)
    assert stream.getvalue() == "one\ntwo\n"
    writer.info("three")
    writer.warning("four")
    assert stream.getvalue() == "one\ntwo\nthree\nfour\n"


def test_at_once(stream: io.StringIO) -> None:
    """Where no event loop is running, a line is written at once."""
    LineWriter(stream).info("one")
    assert stream.getvalue() == "one\n"


def test_next_loop(stream: io.StringIO) -> None:
    """A line that waited for a loop that has ended is written with the next one."""
    writer = LineWriter(stream)

    async def say(line: str, seconds: float) -> None:
        writer.info(line)
        await asyncio.sleep(seconds)

    asyncio.run(say("one", 0))
    asyncio.run(say("two", 3 * WRITE_SECONDS))
    assert stream.getvalue() == "one\ntwo\n"


@pytest.mark.parametrize("method", ["info", "warning", "error"])
def test_fields(stream: io.StringIO, method: str) -> None:
    """A line has its fields, its event, its level and the time in UTC, in this order."""
    getattr(_logger(stream), method)("happened", reason="none", number=1)
    line = json.loads(stream.getvalue())
    assert list(line) == ["reason", "number", "event", "level", "timestamp"]
    assert (line["reason"], line["number"], line["event"], line["level"]) == ("none", 1, "happened", method)
    assert abs(datetime.fromisoformat(line["timestamp"]) - datetime.now(UTC)) < timedelta(minutes=1)


def test_bound_fields(stream: io.StringIO) -> None:
    """What was bound to a logger is in its lines."""
    _logger(stream).bind(device="one").info("happened")
    assert json.loads(stream.getvalue())["device"] == "one"


def test_level(stream: io.StringIO) -> None:
    """Lines below the level aren't written."""
    log = _logger(stream, logging.WARNING)
    log.info("happened")
    log.warning("went wrong")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["went wrong"]


def test_exception(stream: io.StringIO) -> None:
    """An exception is a field, and its level `error`."""
    try:
        int("what happened")
    except ValueError:
        _logger(stream).exception("failed")
    line = json.loads(stream.getvalue())
    assert line["level"] == "error"
    assert "what happened" in line["exception"]


def test_terminal_safe(stream: io.StringIO) -> None:
    """Nothing that a terminal interprets is written as it is."""
    _logger(stream).info("happened", name="\x1b[2J\u202e")
    assert stream.getvalue().rstrip("\n").isprintable()
    assert json.loads(stream.getvalue())["name"] == "\x1b[2J\u202e"


@pytest.mark.parametrize("pretty", [False, True])
def test_secrets(stream: io.StringIO, *, pretty: bool) -> None:
    """What may be a secret isn't written, whatever field it is in."""
    secret = "0123456789abcdef" * 4
    fields: Any = {"client_id": secret, "topic": f"devices/{secret}/x", "event": "topic_refused"}
    if pretty:
        line: Any = fields
        for renderer in log_renderers(pretty=True, colors=False):
            line = renderer(None, "info", line)
    else:
        log = _logger(stream)
        log.info("topic_refused", client_id=secret, topic=f"devices/{secret}/x")
        log.warning("topic_refused", client_id=secret, error=ValueError(secret))
        line = stream.getvalue()
    assert "topic_refused" in line
    assert secret[:32] not in line
