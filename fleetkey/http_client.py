"""Asking an address that the settings name: signed by whoever asks, bounded, and believing nothing that comes back."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from typing import TYPE_CHECKING

import httpx

from fleetkey.access.errors import SharedSecretError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["AnswerTooLargeError", "AskingError", "HttpClient"]

MAX_REASON_CHARACTERS = 200
"""Of why nobody could be asked; it is logged, and kept with a webhook's position."""


class AskingError(Exception):
    """Nobody could be asked, or the answer is none of HTTP's; the message says why, in words without the address."""


class AnswerTooLargeError(Exception):
    """The answer has more bytes than it may; `status` is there all the same."""

    def __init__(self, status: int) -> None:
        super().__init__(f"an answer of status {status}")
        self.status = status


class HttpClient:
    """Posts to one address, over connections that are used again.

    httpx's transport alone, not its client: that would keep cookies, and look where a redirect leads, neither of which
    anybody asked for. No proxy or authority that the environment names comes between.

    Args:
        url: where to post.
        ca_file: PEM file of the only authorities to trust; None = the usual ones.
        setting: the name of `ca_file` in the settings, for the message.
        max_connections: at once.

    Raises:
        SharedSecretError: the authorities' file can't be used.
    """

    def __init__(self, url: str, *, ca_file: Path | None, setting: str, max_connections: int) -> None:
        try:
            context = httpx.create_ssl_context(verify=str(ca_file) if ca_file else True, trust_env=False)
        except OSError as error:
            msg = f"setting {setting}: {ca_file} can't be used: {error.strerror or error}"
            raise SharedSecretError(msg) from None
        self._url = url
        self._transport = httpx.AsyncHTTPTransport(
            verify=context,
            trust_env=False,
            limits=httpx.Limits(max_connections=max_connections, max_keepalive_connections=max_connections),
        )

    async def post(
        self, body: bytes, headers: Mapping[str, str], *, timeout_seconds: float, max_bytes: int
    ) -> tuple[int, bytes]:
        """Post a body and return the answer's status and its bytes, as they came.

        Raises:
            TimeoutError: it took longer.
            AnswerTooLargeError: the answer has over `max_bytes`.
            AskingError: anything else.
        """
        content = bytearray()
        try:
            async with asyncio.timeout(timeout_seconds):
                request = httpx.Request("POST", self._url, content=body, headers=headers)
                response = await self._transport.handle_async_request(request)
                try:
                    # Raw: what is bounded is what came, not what it could be unpacked to.
                    async for chunk in response.aiter_raw():
                        content += chunk
                        if len(content) > max_bytes:
                            raise AnswerTooLargeError(response.status_code)
                finally:
                    await response.aclose()
        except (TimeoutError, AnswerTooLargeError):
            raise
        except Exception as error:  # noqa: BLE001 - what answers is somebody else's, and may be anything
            raise AskingError(_why(error)) from None
        return response.status_code, bytes(content)

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.aclose()


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
