"""Posting one event, signed, in bounded time."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx

from fleetkey import __version__
from fleetkey.access import SharedSecretError
from fleetkey.webhooks.signing import HookSecrets

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleetkey.config import WebhookSettings
    from fleetkey.webhooks.events import Event

__all__ = ["Failed", "HookSender", "Sent"]

MAX_HOOK_ANSWER_BYTES = 16 * 1024
"""What is read of an answer, so that the connection can be used again; a longer one costs the connection."""
MAX_REASON_CHARACTERS = 200
"""Of why a receiver can't be reached; it is logged and kept with the webhook's position."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """The receiver took it: a status from 200 to 299."""

    status: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """It isn't known to be taken. `reason` is `too_slow`, `unreachable:WHY` or `status:CODE`."""

    reason: str


class HookSender:
    """Posts to one address, over one connection."""

    def __init__(self, name: str, settings: WebhookSettings, *, clock: Callable[[], float] = time.time) -> None:
        """Read the secrets and prepare the client.

        Raises:
            SharedSecretError: a secret or the authorities' file can't be used.
        """
        self._url = settings.url
        self._timeout_seconds = settings.timeout_seconds
        self._clock = clock
        self._secrets = HookSecrets.from_settings(name, settings)
        try:
            context = httpx.create_ssl_context(
                verify=str(settings.ca_file) if settings.ca_file else True, trust_env=False
            )
        except OSError as error:
            msg = f"setting webhooks.{name}.ca_file: {settings.ca_file} can't be used: {error.strerror or error}"
            raise SharedSecretError(msg) from None
        # trust_env: no proxy or authority that the environment names may come between.
        self._client = httpx.AsyncClient(
            verify=context,
            trust_env=False,
            follow_redirects=False,
            timeout=None,  # noqa: S113 - `send` has one limit for all of it
            limits=httpx.Limits(max_connections=1, max_keepalive_connections=1),
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
            async with (
                asyncio.timeout(self._timeout_seconds),
                self._client.stream("POST", self._url, content=event.body, headers=headers) as response,
            ):
                length = 0
                async for chunk in response.aiter_raw():
                    length += len(chunk)
                    if length > MAX_HOOK_ANSWER_BYTES:
                        break
        except TimeoutError:
            return Failed(reason="too_slow")
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL) as error:
            return Failed(reason=f"unreachable:{_why(error)}")
        return (
            Sent(status=response.status_code)
            if response.is_success
            else Failed(reason=f"status:{response.status_code}")
        )

    async def close(self) -> None:
        """Close the connection."""
        await self._client.aclose()


def _why(error: BaseException) -> str:
    """Say what is behind an error, in the system's or OpenSSL's words alone.

    The library's own may have the URL in them, and that what only the receiver should see.
    """
    cause: BaseException | None = error
    while cause is not None:
        match cause:
            case ssl.SSLCertVerificationError():
                return f"certificate: {cause.verify_message}"[:MAX_REASON_CHARACTERS]
            case ssl.SSLError():
                return f"TLS: {cause.reason}"[:MAX_REASON_CHARACTERS]
            case socket.gaierror():
                return f"name: {cause.strerror}"[:MAX_REASON_CHARACTERS]
            case OSError(errno=number) if number:
                return os.strerror(number)
            case BaseExceptionGroup():
                cause = cause.exceptions[0]
            case _:
                cause = cause.__cause__ or cause.__context__
    return type(error).__name__
