"""Log lines on standard error: pretty on a terminal, JSON otherwise; neither can emit terminal control sequences."""

from __future__ import annotations

import logging
import sys
import traceback
from typing import TYPE_CHECKING, TextIO

import structlog

from fleetkey.cli.log_lines import LineWriter, json_line, line_logger, to_json
from fleetkey.printable import printable, printable_lines
from fleetkey.registry import redacted

if TYPE_CHECKING:
    from fleetkey.config import LogSettings

__all__ = ["configure_logs", "log_renderers"]

QUOTED = frozenset(" \t=\r\n\"'")
"""Characters that would make a value run into its neighbours: a value with one of them is quoted, as in Python."""
LINES = ("exception", "stack")
INDENT = "    "
"""Before each line of a traceback, so that an exception's message can't pass for the next log line."""


def configure_logs(settings: LogSettings) -> None:
    """Write Fleetkey's own lines directly, and those of libraries in the same format."""
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    pretty = settings.format == "pretty" or (settings.format == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    writer = LineWriter(sys.stderr)
    finish = log_renderers(pretty=pretty, colors=sys.stderr.isatty())
    structlog.configure(
        processors=[*shared, *finish] if pretty else [json_line],
        wrapper_class=structlog.make_filtering_bound_logger(level) if pretty else line_logger(level),
        logger_factory=lambda *_: writer,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *finish],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    # The engine's own lines name packets and sessions, and could contain payloads. Fleetkey's own lines report refused
    # and disconnected clients, and ports in use.
    for name in ("amqtt", "websockets", "transitions"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.captureWarnings(capture=True)


def log_renderers(*, pretty: bool, colors: bool) -> list[structlog.typing.Processor]:
    """Return the processors that turn an event into a line, escaping everything that clients chose."""
    if pretty:
        # Plain tracebacks: where rich is installed, the default shows local variables, which may be passwords.
        return [_show_fields, structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=_show_traceback)]
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=to_json)]


class _Shown(str):
    """An escaped value that is written the same way by `str` and by `repr`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _show_fields(
    _logger: structlog.typing.WrappedLogger, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Escape everything that the pretty renderer writes, both names and values; leave out what may be a secret."""
    shown: structlog.typing.EventDict = {}
    for name, value in event.items():
        if name == "exc_info":
            shown[name] = value
        elif name in LINES:
            shown[name] = printable_lines(redacted(str(value)), indent=INDENT)
        elif name == "event":
            shown[name] = _Shown(printable(str(value)))
        else:
            shown[printable(str(name))] = _Shown(redacted(_value(value)))
    return shown


def _value(value: object) -> str:
    if isinstance(value, str) and not QUOTED & {*value}:
        return printable(value)
    said = repr(value)
    # `repr` of a string escapes what isn't printable; the `repr` of other objects may contain anything.
    return said if said.isprintable() else printable(said)


def _show_traceback(output: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    output.write("\n" + printable_lines("".join(traceback.format_exception(*exc_info)).rstrip("\n"), indent=INDENT))
