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
        as_json: one JSON object per line instead of text.
        out: where events go, standard output if not given.
        errors: where errors and remarks go, standard error if not given.
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
        """Print a message that came in, on one line whatever is in it; bytes that aren't text are escaped."""
        event: dict[str, object] = {"event": "message", "topic": message.topic}
        try:
            event["payload"] = message.payload.decode()
        except UnicodeDecodeError:
            event["payloadBase64"] = base64.b64encode(message.payload).decode()
        event |= {"qos": message.qos, "retain": message.retain}
        payload = message.payload.decode(errors="surrogateescape")
        self._print(self._out, event, f"{message.topic} {payload}")

    def published(self, topic: str, qos: int) -> None:
        """Print that a message of ours was delivered."""
        self._print(self._out, {"event": "published", "topic": topic, "qos": qos}, f"published {topic}")

    def subscribed(self, topic_filter: str) -> None:
        """Print that messages come from now on; a remark, so that text output holds messages only."""
        event = {"event": "subscribed", "filter": topic_filter}
        self._print(self._out if self._as_json else self._errors, event, f"subscribed to {topic_filter}")

    def error(self, text: str) -> None:
        """Print what went wrong."""
        self._print(self._errors, {"event": "error", "message": text}, text)

    def _print(self, stream: TextIO, event: Mapping[str, object], text: str) -> None:
        # The only place that writes: whatever somebody else chose is escaped here.
        stream.write((json.dumps(event) if self._as_json else printable(text)) + "\n")
        stream.flush()
