"""Whether the servers that this one calls can be reached: your own API and webhook receivers."""

from __future__ import annotations

import socket
import ssl
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx

from fleetkey.access import SharedSecretError
from fleetkey.cli.doctor.findings import Finding, Verdict
from fleetkey.cli.doctor.permissions import private_file
from fleetkey.webhooks import HookSecrets

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fleetkey.config import Settings, WebhookSettings

__all__ = ["http_verifier", "webhooks"]

REACH_SECONDS = 5.0
"""How long your API, or a webhook receiver, has to accept a connection."""
REACH_THREADS = 8
"""How many webhook receivers are tried at once."""


def http_verifier(settings: Settings) -> Iterator[Finding]:
    """Check that the API that the `http` verifier asks can be reached; no request is sent.

    The verifier fails closed: while the API is unreachable, nothing can register, so this is a failure.
    """
    registration = settings.registration
    if "http" in registration.verifiers:
        advice = "Nothing can register until it can be reached; check the API, its host name and its certificate."
        yield _reached(
            "http verifier", registration.http.url, registration.http.ca_file, advice, otherwise=Verdict.FAILED
        )


def webhooks(settings: Settings) -> Iterator[Finding]:
    """Check that each webhook's secrets can be used and its receiver can be reached; no request is sent."""
    with ThreadPoolExecutor(REACH_THREADS) as threads:
        yield from threads.map(lambda item: _webhook(*item), settings.webhooks.items())
    for hook in settings.webhooks.values():
        yield from private_file(hook.secret_file)


def _webhook(name: str, hook: WebhookSettings) -> Finding:
    check = f"hook {name}"
    try:
        HookSecrets.from_settings(name, hook)
    except SharedSecretError as error:
        advice = "Create it with: openssl rand -hex 32. Only this user should be able to read the file."
        return Finding(check, Verdict.FAILED, str(error), advice)
    advice = "Events wait until it can be reached; check the receiver, its host name and its certificate."
    return _reached(check, hook.url, hook.ca_file, advice)


def _reached(
    check: str, url: str, ca_file: Path | None, advice: str, *, otherwise: Verdict = Verdict.WARNING
) -> Finding:
    """Connect, with TLS if the URL says so, and close the connection."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((host, port), timeout=REACH_SECONDS) as connection:
            if parts.scheme == "https":
                context = (
                    ssl.create_default_context(cafile=ca_file) if ca_file else httpx.create_ssl_context(trust_env=False)
                )
                context.wrap_socket(connection, server_hostname=host).close()
    except OSError as error:
        return Finding(check, otherwise, f"{host}:{port} can't be reached: {error.strerror or error}", advice)
    return Finding(check, Verdict.OK, f"{host}:{port} can be reached")
