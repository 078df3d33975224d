"""The device's callbacks and its connection state."""

from __future__ import annotations

import logging
import threading
import traceback
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleetkey.device.credentials import Credentials
    from fleetkey.device.errors import DeviceError
    from fleetkey.device.outbox import Message

__all__ = ["Observer"]

T = TypeVar("T")
logger = logging.getLogger("fleetkey.device")


class Observer:
    """Logs events, keeps the state and calls the application, whose exceptions are caught here.

    Args:
        connected: called with the credentials each time a connection is ready.
        message: called with each received message.
        error: called with each expected error.
    """

    def __init__(
        self,
        *,
        connected: Callable[[Credentials], object] | None,
        message: Callable[[Message], object] | None,
        error: Callable[[DeviceError], object] | None,
    ) -> None:
        self._connected = connected
        self._message = message
        self._error = error
        self._changed = threading.Condition()
        self._is_closed = False
        self.is_connected = False
        self.last_error: DeviceError | None = None

    def on_connected(self, credentials: Credentials) -> None:
        """Record that a connection is ready."""
        with self._changed:
            self.last_error = None
            self.is_connected = True
            self._changed.notify_all()
        logger.info("device.connected device_id=%s broker=%s", credentials.device_id, credentials.mqtt.address)
        _call("on_connected", self._connected, credentials)

    def on_message(self, message: Message) -> None:
        """Pass a message to the application."""
        _call("on_message", self._message, message)

    def on_error(self, error: DeviceError) -> None:
        """Record an expected error."""
        self.last_error = error
        logger.warning("device.error kind=%s error=%s", type(error).__name__, error)
        _call("on_error", self._error, error)

    def on_disconnected(self) -> None:
        """Record that there is no connection."""
        with self._changed:
            self.is_connected = False
            self._changed.notify_all()

    def close(self) -> None:
        """Release all waiting threads."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def wait_connected(self, timeout_seconds: float) -> bool:
        """Wait for a ready connection until the timeout or `close`; return whether there is one."""
        with self._changed:
            self._changed.wait_for(lambda: self.is_connected or self._is_closed, timeout_seconds)
            return self.is_connected


def _call(name: str, callback: Callable[[T], object] | None, value: T) -> None:
    if callback is None:
        return
    try:
        callback(value)
    except Exception as error:  # noqa: BLE001 - the application's code; its fault must not take the connection down
        place = traceback.extract_tb(error.__traceback__)[-1]
        # Not the error's text: it may quote a payload.
        kind, line = type(error).__name__, place.lineno
        logger.error("device.callback_failed callback=%s kind=%s at=%s:%s", name, kind, place.filename, line)  # noqa: TRY400 - see above
