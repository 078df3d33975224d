"""The JSON log line, and a writer that writes many lines at once: a busy broker logs thousands a second."""

from __future__ import annotations

import asyncio
import atexit
import json
import logging
import threading
import time
from typing import TYPE_CHECKING, Any, TextIO

import msgspec
import structlog

from fleetkey.printable import printable_json

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["LineWriter", "json_line", "line_logger", "to_json"]

WRITE_SECONDS = 0.02
"""How long a line of level `info` may wait to be written together with later ones."""
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
        self._waiting: list[str] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        """The loop that will write them."""
        atexit.register(self.flush)

    def write(self, line: str) -> None:
        """Write a line, and those that wait."""
        with self._lock:
            self._waiting.append(line)
            self.flush()

    def write_soon(self, line: str) -> None:
        """Write a line within `WRITE_SECONDS`, or now if no event loop is running."""
        loop = asyncio._get_running_loop()  # noqa: SLF001 - documented for this; the public one raises
        if loop is None:
            self.write(line)
            return
        with self._lock:
            self._waiting.append(line)
            if len(self._waiting) == 1 or loop is not self._loop:
                self._loop = loop
                loop.call_later(WRITE_SECONDS, self.flush)

    def flush(self) -> None:
        """Write the lines that wait."""
        with self._lock:
            if self._waiting:
                self._waiting.append("")
                text = "\n".join(self._waiting)
                self._waiting.clear()
                self._stream.write(text)
                self._stream.flush()

    msg = log = warn = warning = error = exception = critical = fatal = failure = err = write
    debug = info = write_soon


class _Clock:
    """Tells the time as text; only its fraction of a second changes from one line to most others."""

    def __init__(self) -> None:
        self._second = 0
        self._text = ""

    def __call__(self) -> str:
        second, micros = divmod(time.time_ns() // 1000, MICROSECONDS)
        if second != self._second:
            self._text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))
            self._second = second
        return f"{self._text}.{micros:06d}Z"


_now: Callable[[], str] = _Clock()


def line_logger(level: int) -> type[structlog.typing.FilteringBoundLogger]:
    """Return a logger for `json_line` as the only processor, whose `info` does without structlog's chain of calls."""
    base = structlog.make_filtering_bound_logger(level)
    if level > logging.INFO:
        return base

    class LineLogger(base):  # type: ignore[valid-type, misc] # made at run time
        def info(self, event: str, *arguments: Any, **fields: Any) -> Any:
            if arguments or self._context:
                return super().info(event, *arguments, **fields)
            fields["event"] = event
            return self._logger.info(json_line(self._logger, "info", fields))

    return LineLogger


def json_line(_logger: structlog.typing.WrappedLogger, method: str, event: structlog.typing.EventDict) -> str:
    """Return an event as a line of JSON: a processor that does what five of structlog's would do one by one."""
    if event.get("exc_info"):
        event = structlog.processors.format_exc_info(_logger, method, event)
    event["level"] = LEVELS.get(method, method)
    event["timestamp"] = _now()
    return to_json(event)


def to_json(value: Any, **_: Any) -> str:
    """Return JSON on one line, with everything escaped that a terminal could interpret."""
    try:
        text = _encode(value).decode()
    except UnicodeEncodeError:
        # A lone surrogate, which UTF-8 can't encode. Logging must not fail because of what is logged.
        text = json.dumps(value, default=str)
    return printable_json(text)
