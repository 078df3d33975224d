"""Requests to the registration server, one per call."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from fleetkey.device.credentials import Credentials, MalformedCredentialsError, Secret
from fleetkey.device.errors import RegistrationPending, RegistrationRefused, RegistrationUnreachable
from fleetkey.device.transport import Poster, Reply, TransportError, is_loopback

if TYPE_CHECKING:
    import ssl

__all__ = ["Registrar", "parse_retry_after", "registration_endpoint"]

OK = 200
ACCEPTED = 202
REDIRECTS = range(300, 400)
MAX_SERIAL_LENGTH = 128
MAX_DETAIL_LENGTH = 300
MAX_RETRY_AFTER_SECONDS = 3600.0
MAX_RETRY_AFTER_DIGITS = 10

logger = logging.getLogger("fleetkey.device")


class Registrar:
    """Registers one serial with one server.

    Args:
        serial: 1 to 128 printable characters without whitespace at the ends.
        registration_url: the server's base URL or its `/register` URL.
        proof: the proof that the server's verifier requires, or None. Treated as a secret.
        timeout_seconds: the time limit for a registration, greater than 0.
        tls_context: trust for https, or None for the system's.

    Raises:
        ValueError: the serial, URL or timeout is invalid; the message says why.
    """

    def __init__(
        self,
        serial: str,
        registration_url: str,
        *,
        proof: str | None = None,
        timeout_seconds: float = 10.0,
        tls_context: ssl.SSLContext | None = None,
    ) -> None:
        if not 0 < len(serial) <= MAX_SERIAL_LENGTH or not serial.isprintable() or serial != serial.strip():
            raise ValueError("a serial must be 1 to 128 printable characters without whitespace at either end")
        if timeout_seconds <= 0:
            raise ValueError("the registration timeout must be greater than 0 seconds")
        self.serial = serial
        self.url = registration_endpoint(registration_url)
        self._proof = None if proof is None else Secret(proof)
        self._poster = Poster(self.url, timeout_seconds=timeout_seconds, tls_context=tls_context)
        target = urlsplit(self.url)
        if target.scheme == "http" and not is_loopback(target.hostname or ""):
            logger.warning("device.registration_in_clear host=%s", target.hostname)

    def register(self) -> Credentials:
        """Send one request and return the credentials from a 200 response, with the serial added.

        Raises:
            RegistrationPending: 202, an operator has to approve first.
            RegistrationRefused: any other status, including redirects, which are not followed.
            RegistrationUnreachable: no complete response, or not a registration response.
        """
        question = {"serial": self.serial}
        if self._proof is not None:
            question["proof"] = self._proof.reveal()
        try:
            reply = self._poster.post(json.dumps(question).encode())
        except TransportError as error:
            raise RegistrationUnreachable(f"{self.url}: {error}") from error
        retry_after_seconds = parse_retry_after(reply.retry_after)
        if reply.status == ACCEPTED:
            raise RegistrationPending(retry_after_seconds)
        if reply.status != OK:
            raise RegistrationRefused(reply.status, _detail(reply), retry_after_seconds)
        return self._read_credentials(reply)

    def abort(self) -> None:
        """Abort a `register` call in another thread; later calls fail at once."""
        self._poster.abort()

    def _read_credentials(self, reply: Reply) -> Credentials:
        if reply.content_type != "application/json":
            raise RegistrationUnreachable(f"{self.url}: the response is not JSON; is this a Fleetkey server?")
        try:
            credentials = Credentials.parse(reply.body)
        except MalformedCredentialsError as error:
            raise RegistrationUnreachable(f"{self.url}: not a registration response: {error}") from error
        if credentials.device_id is None:
            raise RegistrationUnreachable(f"{self.url}: the response has no deviceId")
        return replace(credentials, serial=self.serial)


def registration_endpoint(url: str) -> str:
    """Return the `/register` URL for a server's base URL; one that already ends in `/register` is unchanged.

    Raises:
        ValueError: it is not http or https, has no host, or contains a password, query or fragment.
    """
    parts = urlsplit(url.strip())
    if parts.scheme not in {"http", "https"}:
        raise ValueError("a registration URL must start with http:// or https://, such as http://127.0.0.1:8080")
    try:
        has_place = bool(parts.hostname) and parts.port != 0
    except ValueError:
        has_place = False
    if not has_place or any(character.isspace() for character in parts.netloc):
        raise ValueError("a registration URL must have a host and a valid port, such as http://127.0.0.1:8080")
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise ValueError("a registration URL must not contain a user name, password, query or fragment")
    path = parts.path.rstrip("/")
    if not path.endswith("/register"):
        path += "/register"
    return f"{parts.scheme}://{parts.netloc}{path}"


def parse_retry_after(value: str | None) -> float | None:
    """Return a `Retry-After` header in seconds from now, 0 to 3600 (RFC 9110, 10.2.3).

    Returns:
        None if there is no header or it can't be parsed.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit() and len(text) <= MAX_RETRY_AFTER_DIGITS:
        return min(float(text), MAX_RETRY_AFTER_SECONDS)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return min(max((moment - datetime.now(UTC)).total_seconds(), 0.0), MAX_RETRY_AFTER_SECONDS)


def _detail(reply: Reply) -> str:
    """Return the server's reason for a refusal, safe to print (RFC 9457, 3.1)."""
    if reply.status in REDIRECTS:
        return "the server sent a redirect, which is not followed: configure the final URL"
    problem: object = None
    if reply.content_type in {"application/problem+json", "application/json"}:
        try:
            problem = json.loads(reply.body)
        except (ValueError, RecursionError):
            problem = None
    if isinstance(problem, dict):
        for name in ("detail", "title"):
            text = problem.get(name)
            if isinstance(text, str) and text.strip():
                printable = "".join(character if character.isprintable() else " " for character in text)
                return printable.strip()[:MAX_DETAIL_LENGTH]
    return "no reason given"
