"""The HTTP client for addresses from the settings: requests are bounded, and nothing in a response is trusted."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from typing import TYPE_CHECKING

import httpx

from fleetkey.config import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["HttpClient", "RequestFailedError", "ResponseTooLargeError"]

MAX_REASON_CHARACTERS = 200
"""Characters of the reason why a request failed; it is logged, and stored with a webhook's position."""


class RequestFailedError(Exception):
    """The request failed, or the response isn't valid HTTP; the message says why and doesn't contain the address."""


class ResponseTooLargeError(Exception):
    """The response is longer than allowed; its `status` is known."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the response with status {status} is too large")
        self.status = status


class HttpClient:
    """Posts to one address over a pool of connections.

    Uses httpx's transport rather than its client, which would also keep cookies and parse redirects. Ignores proxies
    and certificate authorities from the environment.

    Args:
        url: where to post.
        ca_file: PEM file with the only authorities to trust; None trusts the usual ones.
        setting: the name of the setting that holds `ca_file`, for the error message.
        max_connections: the most connections open at once.

    Raises:
        SettingsError: `ca_file` can't be used.
    """

    def __init__(self, url: str, *, ca_file: Path | None, setting: str, max_connections: int) -> None:
        try:
            context = (
                httpx.create_ssl_context(trust_env=False)
                if ca_file is None
                else ssl.create_default_context(cafile=ca_file)
            )
        except OSError as error:
            msg = f"setting {setting}: {ca_file} can't be used: {error.strerror or error}"
            raise SettingsError(msg) from None
        self._url = url
        self._transport = httpx.AsyncHTTPTransport(
            verify=context,
            trust_env=False,
            limits=httpx.Limits(max_connections=max_connections, max_keepalive_connections=max_connections),
        )

    async def post(
        self, body: bytes, headers: Mapping[str, str], *, timeout_seconds: float, max_bytes: int
    ) -> tuple[int, bytes]:
        """Post a body and return the response's status and its raw bytes.

        Raises:
            TimeoutError: no complete response within `timeout_seconds`.
            ResponseTooLargeError: the response is longer than `max_bytes`.
            RequestFailedError: any other failure.
        """
        content = bytearray()
        try:
            async with asyncio.timeout(timeout_seconds):
                request = httpx.Request("POST", self._url, content=body, headers=headers)
                response = await self._transport.handle_async_request(request)
                try:
                    # Raw, so that the bound holds for what was received: decompressed, it could be far larger.
                    async for chunk in response.aiter_raw():
                        content += chunk
                        if len(content) > max_bytes:
                            raise ResponseTooLargeError(response.status_code)
                finally:
                    await response.aclose()
        except (TimeoutError, ResponseTooLargeError):
            raise
        except Exception as error:  # noqa: BLE001 - the other side isn't ours and may send anything
            raise RequestFailedError(_root_cause(error)) from None
        return response.status_code, bytes(content)

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.aclose()


def _root_cause(error: BaseException) -> str:
    """Describe the underlying error in the words of the system or of OpenSSL.

    httpx's own messages may contain the URL, which only the receiver may see.
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
