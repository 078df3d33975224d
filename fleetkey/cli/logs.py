"""Log lines on standard error: pretty on a terminal, JSON otherwise."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

if TYPE_CHECKING:
    from fleetkey.config import LogSettings

__all__ = ["configure_logs"]

_encode = msgspec.json.Encoder(enc_hook=str).encode


def configure_logs(settings: LogSettings) -> None:
    """Write Fleetkey's own lines without a detour, and the libraries' in the same form."""
    level = logging.getLevelNamesMapping()[settings.level.upper()]
    pretty = settings.format == "pretty" or (settings.format == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    finish: list[structlog.typing.Processor] = (
        # Plain: where rich is installed, the default shows local variables, which may be passwords.
        [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)]
        if pretty
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_to_json)]
    )
    structlog.configure(
        processors=[*shared, *finish],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
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
    # The engine's own lines name packets and sessions, and could hold payloads; what they report of clients that were
    # refused or went away, and of ports in use, Fleetkey's own lines say.
    for name in ("amqtt", "websockets", "transitions"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    logging.captureWarnings(capture=True)


def _to_json(value: Any, **_: Any) -> str:
    return _encode(value).decode()
