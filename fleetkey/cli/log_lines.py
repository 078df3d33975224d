"""The JSON log line, and a writer that writes many lines at once: a busy broker logs thousands a second."""

from __future__ import annotations

import asyncio
import atexit
import json
import logging
import threading
import time
from typing import Any, TextIO

import msgspec
import structlog

from fleetkey.printable import printable_json
from fleetkey.registry import redacted

__all__ = ["LineWriter", "json_line", "line_logger", "to_json"]

WRITE_SECONDS = 0.02
"""How long a line of level `info` may wait to be rendered and written together with later ones."""
LINES_AT_ONCE = 256
"""How many lines may wait; rendering as many takes about a millisecond."""
SIMPLE = frozenset({str, int, float, bool, type(None)})
"""Types whose values can't change while their line waits."""
LEVELS = {"warn": "warning", "exception": "error"}
"""Names of structlog's methods that differ from those of their levels."""
MICROSECONDS = 1_000_000

_encode = msgspec.json.Encoder(enc_hook=str).encode


class LineWriter:
    """Writes lines to a stream; in an event loop, those of level `info` and below a few milliseconds later.

    A line of a higher level is written at once, and those that wait before it. Safe to use from any thread.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lock = threading.RLock()
        self._waiting: list[str | tuple[structlog.typing.EventDict, int]] = []
        """Lines, and events that aren't rendered yet, with their time in nanoseconds."""
        self._loop: asyncio.AbstractEventLoop | None = None
        """The loop that will write them."""
        atexit.register(self.flush)

    def write(self, line: str) -> None:
        """Write a line, and those that wait."""
        with self._lock:
            self._waiting.append(line)
            self.flush()

    def write_soon(self, line: str | tuple[structlog.typing.EventDict, int]) -> None:
        """Write a line, or an event of level `info`, within `WRITE_SECONDS`; now if no event loop is running."""
        loop = asyncio._get_running_loop()  # noqa: SLF001 - documented for this; the public one raises
        with self._lock:
            self._waiting.append(line)
            if loop is None or len(self._waiting) >= LINES_AT_ONCE:
                self.flush()
            elif len(self._waiting) == 1 or loop is not self._loop:
                self._loop = loop
                loop.call_later(WRITE_SECONDS, self.flush)

    def flush(self) -> None:
        """Write the lines that wait."""
        with self._lock:
            waiting, self._waiting = self._waiting, []
            if waiting:
                lines = [each if isinstance(each, str) else _rendered(each[0], "info", each[1]) for each in waiting]
                self._stream.write("\n".join([*lines, ""]))
                self._stream.flush()

    msg = log = warn = warning = error = exception = critical = fatal = failure = err = write
    debug = info = write_soon


class _Clock:
    """Shows times; only the fraction of a second changes from one line to most others."""

    def __init__(self) -> None:
        self._second = 0
        self._text = ""

    def __call__(self, nanoseconds: int) -> str:
        second, micros = divmod(nanoseconds // 1000, MICROSECONDS)
        if second != self._second:
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second
        return f"{self._text}.{micros:06d}Z"


_shown = _Clock()


def line_logger(level: int) -> type[structlog.typing.FilteringBoundLogger]:
    """Return a logger for a `LineWriter` and `json_line` as the only processor, whose `info` leaves rendering to later.

    Many lines rendered at once take a fraction of the time: a busy broker would otherwise spend a tenth of its own.
    """
    base = structlog.make_filtering_bound_logger(level)
    if level > logging.INFO:
        return base

    class LineLogger(base):  # type: ignore[valid-type, misc] # made at run time
        def info(self, event: str, *arguments: Any, **fields: Any) -> Any:
            if arguments or self._context or not SIMPLE.issuperset(map(type, fields.values())):
                return super().info(event, *arguments, **fields)
            fields["event"] = event
            return self._logger.info((fields, time.time_ns()))

    return LineLogger


def json_line(_logger: structlog.typing.WrappedLogger, method: str, event: structlog.typing.EventDict) -> str:
    """Return an event as a line of JSON: a processor that does what five of structlog's would do one by one."""
    if event.get("exc_info"):
        event = structlog.processors.format_exc_info(_logger, method, event)
    return _rendered(event, LEVELS.get(method, method), time.time_ns())


def _rendered(event: structlog.typing.EventDict, level: str, nanoseconds: int) -> str:
    event["level"] = level
    event["timestamp"] = _shown(nanoseconds)
    return to_json(event)


def to_json(value: Any, **_: Any) -> str:
    """Return JSON on one line: what a terminal could interpret is escaped, what may be a secret is left out."""
    try:
        text = _encode(value).decode()
    except UnicodeEncodeError:
        # A lone surrogate, which UTF-8 can't encode. Logging must not fail because of what is logged.
        text = json.dumps(value, default=str)
    return printable_json(redacted(text))
