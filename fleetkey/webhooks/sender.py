"""Posting one event, signed, in bounded time."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleetkey import __version__
from fleetkey.http_client import HttpClient, RequestFailedError, ResponseTooLargeError
from fleetkey.webhooks.signing import HookSecrets

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleetkey.config import WebhookSettings
    from fleetkey.webhooks.events import Event

__all__ = ["Failed", "HookSender", "Sent"]

MAX_HOOK_ANSWER_BYTES = 16 * 1024
"""How much of a response is read so that the connection can be reused; after a longer one it is closed."""
SUCCESS = range(200, 300)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """The receiver accepted the event: a status from 200 to 299."""

    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The event was not accepted, as far as is known. `reason` is `too_slow`, `unreachable:WHY` or `status:CODE`."""

    reason: str


class HookSender:
    """Posts to one URL, over one connection."""

    def __init__(self, name: str, settings: WebhookSettings, *, clock: Callable[[], float] = time.time) -> None:
        """Read the secrets and prepare the client.

        Raises:
            SharedSecretError: a secret can't be used.
            SettingsError: the CA file can't be used.
        """
        self._timeout_seconds = settings.timeout_seconds
        self._clock = clock
        self._secrets = HookSecrets.from_settings(name, settings)
        self._client = HttpClient(
            settings.url, ca_file=settings.ca_file, setting=f"webhooks.{name}.ca_file", max_connections=1
        )

    async def send(self, event: Event) -> Sent | Failed:
        """Post an event once."""
        headers = {
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": f"fleetkey/{__version__}",
            **self._secrets.headers(event.body, at=int(self._clock())),
        }
        try:
            status, _ = await self._client.post(
                event.body, headers, timeout_seconds=self._timeout_seconds, max_bytes=MAX_HOOK_ANSWER_BYTES
            )
        except TimeoutError:
            return Failed(reason="too_slow")
        except ResponseTooLargeError as answer:
            status = answer.status
        except RequestFailedError as error:
            return Failed(reason=f"unreachable:{error}")
        return Sent(status=status) if status in SUCCESS else Failed(reason=f"status:{status}")

    async def close(self) -> None:
        """Close the connection."""
        await self._client.close()
