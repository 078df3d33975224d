"""What the application is told, and what others may wait for."""

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
    """Logs, keeps the state and calls the application; an exception of the application's ends here.

    Args:
        connected: called with the credentials each time a connection is ready.
        message: called with each message that comes in.
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
        """Take note of a connection that is ready."""
        with self._changed:
            self.last_error = None
            self.is_connected = True
            self._changed.notify_all()
        logger.info("device.connected device_id=%s broker=%s", credentials.device_id, credentials.mqtt.address)
        _call("on_connected", self._connected, credentials)

    def on_message(self, message: Message) -> None:
        """Pass a message on."""
        _call("on_message", self._message, message)

    def on_error(self, error: DeviceError) -> None:
        """Take note of something expected that went wrong."""
        self.last_error = error
        logger.warning("device.error kind=%s error=%s", type(error).__name__, error)
        _call("on_error", self._error, error)

    def on_disconnected(self) -> None:
        """Take note that there is no connection."""
        with self._changed:
            self.is_connected = False
            self._changed.notify_all()

    def close(self) -> None:
        """Let nobody wait any longer."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def wait_connected(self, timeout_seconds: float) -> bool:
        """Wait for a ready connection, at most so long or until `close`, and return whether there is one."""
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
