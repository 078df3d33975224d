"""Deciding when to register, no more often than the server allows."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Protocol

from fleetkey.device.errors import DeviceError, RegistrationPending, RegistrationRefused, RegistrationUnreachable

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleetkey.device.backoff import Backoff
    from fleetkey.device.credentials import Credentials

__all__ = ["Enrollment"]

MIN_PAUSE_SECONDS = 1.0
MAX_PAUSE_SECONDS = 3600.0


class Registers(Protocol):
    """Sends one registration request per call."""

    def register(self) -> Credentials:
        """Return new credentials or raise a `DeviceError`."""


class Enrollment:
    """Limits the rate of registrations.

    Args:
        registrar: sends the requests.
        interval_seconds: the minimum time between two registrations, greater than 0.
        backoff: for repeated refusals and unreachable servers.
        clock: monotonic seconds; replaced in tests.
    """

    def __init__(
        self,
        registrar: Registers,
        *,
        interval_seconds: float,
        backoff: Backoff,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if interval_seconds <= 0:
            raise ValueError("the registration interval must be greater than 0 seconds")
        self._registrar = registrar
        self._interval_seconds = interval_seconds
        self._backoff = backoff
        self._clock = clock
        self._due_at = clock()

    def due_in_seconds(self) -> float:
        """Return how long to wait before the next registration; 0 if it may be sent now."""
        return max(0.0, self._due_at - self._clock())

    def attempt(self, *, has_credentials: bool) -> Credentials:
        """Register once, whether due or not, and schedule the next registration.

        Args:
            has_credentials: whether older credentials exist. Without any, a device loses nothing by retrying an
                unreachable server soon; with some, a lost response has already cost a key.

        Raises:
            DeviceError: as `Registrar.register` does.
        """
        try:
            credentials = self._registrar.register()
        except (RegistrationRefused, RegistrationPending) as error:
            self._rest(self._pause_seconds(error.retry_after_seconds))
            raise
        except RegistrationUnreachable:
            pause_seconds = self._backoff.next_seconds()
            self._rest(max(self._interval_seconds, pause_seconds) if has_credentials else pause_seconds)
            raise
        except DeviceError:
            self._rest(self._interval_seconds)
            raise
        self._backoff.reset()
        self._rest(self._interval_seconds)
        return credentials

    def _pause_seconds(self, retry_after_seconds: float | None) -> float:
        if retry_after_seconds is None:
            return max(self._interval_seconds, self._backoff.next_seconds())
        return self._backoff.spread(min(max(retry_after_seconds, MIN_PAUSE_SECONDS), MAX_PAUSE_SECONDS))

    def _rest(self, seconds: float) -> None:
        self._due_at = self._clock() + seconds
