"""What the command line prints: one line per event, for people or as JSON."""

from __future__ import annotations

import base64
import json
import sys
from typing import TYPE_CHECKING, TextIO

from fleetkey.printable import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleetkey.device.credentials import Credentials
    from fleetkey.device.outbox import Message

__all__ = ["Printer"]


class Printer:
    """Writes each line at once, so that a pipe's reader sees it.

    Args:
        as_json: print one JSON object per line instead of text.
        out: the stream for events; default: standard output.
        errors: the stream for errors and notes; default: standard error.
    """

    def __init__(self, *, as_json: bool, out: TextIO | None = None, errors: TextIO | None = None) -> None:
        self._as_json = as_json
        self._out = out or sys.stdout
        self._errors = errors or sys.stderr

    def connected(self, credentials: Credentials) -> None:
        """Print that a device is connected."""
        mqtt = credentials.mqtt
        event = {"event": "connected", "deviceId": credentials.device_id, "host": mqtt.host, "port": mqtt.port}
        self._print(self._out, event, f"connected as {credentials.device_id} to {mqtt.address}")

    def message(self, message: Message) -> None:
        """Print a received message on one line, whatever it contains; bytes that aren't text are escaped."""
        event: dict[str, object] = {"event": "message", "topic": message.topic}
        try:
            event["payload"] = message.payload.decode()
        except UnicodeDecodeError:
            event["payloadBase64"] = base64.b64encode(message.payload).decode()
        event |= {"qos": message.qos, "retain": message.retain}
        payload = message.payload.decode(errors="surrogateescape")
        self._print(self._out, event, f"{message.topic} {payload}")

    def published(self, topic: str, qos: int) -> None:
        """Print that a published message was delivered."""
        self._print(self._out, {"event": "published", "topic": topic, "qos": qos}, f"published {topic}")

    def subscribed(self, topic_filter: str) -> None:
        """Print that the subscription is active. This is a note, so that text output contains only messages."""
        event = {"event": "subscribed", "filter": topic_filter}
        self._print(self._out if self._as_json else self._errors, event, f"subscribed to {topic_filter}")

    def error(self, text: str) -> None:
        """Print an error."""
        self._print(self._errors, {"event": "error", "message": text}, text)

    def _print(self, stream: TextIO, event: Mapping[str, object], text: str) -> None:
        # The only place that writes: untrusted text is escaped here.
        stream.write((json.dumps(event) if self._as_json else printable(text)) + "\n")
        stream.flush()
