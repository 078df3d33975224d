"""Requests to the admin API: bounded, with the token only in the header."""

from __future__ import annotations

import os
import re
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
import msgspec

from fleetkey.access import Secret
from fleetkey.cli.errors import CommandError, RefusedError, UsageError
from fleetkey.config import Address
from fleetkey.registry import NotFoundError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["RemoteClient", "read_token", "segment"]

TOKEN_VARIABLE = "FLEETKEY_TOKEN"  # noqa: S105 - the name of a variable
MAX_TOKEN_BYTES = 1024
MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""Maximum size of a response; a larger one is an error."""
TIMEOUT_SECONDS = 60.0
"""How long to wait for the server to send something, or to accept more of a request body."""
AUTHORITIES_VARIABLE = "SSL_CERT_FILE"
UNTRUSTED = frozenset({18, 19, 20, 21})
"""OpenSSL's error numbers for a chain without a trusted root (X509_V_ERR_…, x509_vfy.h)."""
PREFIX = "/api/v1"
IDENTIFIER = re.compile(r"[0-9A-Za-z_-]{1,128}\Z")
"""What may be a segment of a path: other characters could change which path is requested."""
PLACE = re.compile(r"At `[^`]*`: ")

T = TypeVar("T")


class RemoteClient:
    """Sends requests to one server.

    Args:
        url: its address, with or without `/api/v1`; `https://`, or `http://` on this machine.
        token: the bearer token.

    Raises:
        CommandError: the URL or the certificate authorities can't be used.
    """

    def __init__(self, url: str, token: Secret) -> None:
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL:
            parsed = httpx.URL()
        if parsed.scheme not in {"http", "https"} or not parsed.host or parsed.userinfo or parsed.query:
            msg = "--url is not the address of a server; write https://HOST or https://HOST:PORT"
            raise UsageError(msg)
        if parsed.scheme == "http" and not Address(host=parsed.host, port=0).is_loopback:
            msg = f"--url {url} would send the token in plain text; use https:// (http:// is only for this machine)"
            raise UsageError(msg)
        self._where = f"{parsed.scheme}://{parsed.netloc.decode()}"
        # trust_env=False: no proxy from the environment may see the token. SSL_CERT_FILE is the one exception, for
        # servers with a private certificate authority.
        authorities = os.environ.get(AUTHORITIES_VARIABLE)
        try:
            # http:// needs no certificate, and reading the authorities would take 0.1 s.
            context = _trust(authorities) if parsed.scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        except OSError as error:
            why = "it contains no PEM certificate" if isinstance(error, ssl.SSLError) else f"{error.strerror}"
            msg = f"{authorities}, set by {AUTHORITIES_VARIABLE}, can't be used: {why}"
            raise CommandError(msg) from None
        self._client = httpx.Client(
            base_url=parsed.copy_with(path=f"{parsed.path.rstrip('/').removesuffix(PREFIX)}{PREFIX}/"),
            headers={"Authorization": f"Bearer {token.reveal()}"},
            verify=context,
            trust_env=False,
            follow_redirects=False,
            timeout=TIMEOUT_SECONDS,
        )

    @property
    def host(self) -> str:
        """The server's host name, as given."""
        return self._client.base_url.host

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def ask(
        self,
        method: str,
        path: str,
        shape: type[T],
        *,
        query: Mapping[str, Any] | None = None,
        body: Any = None,
        content: Iterator[bytes] | None = None,
        media_type: str = "application/json",
    ) -> T:
        """Send a request and return the decoded response.

        Args:
            method: the HTTP method.
            path: the path below `/api/v1/`.
            shape: the type of the response; `type(None)` if there is no body.
            query: query parameters; those that are None are left out.
            body: a request body to encode as JSON.
            content: a request body to send as it is.
            media_type: the type of `content`.

        Raises:
            RefusedError: the server refuses.
            CommandError: the server can't be reached, or this version can't read its response.
        """
        sent: bytes | Iterator[bytes] | None = content if body is None else msgspec.json.encode(body)
        headers = {"Content-Type": media_type} if sent is not None else {}
        parameters = {name: value for name, value in (query or {}).items() if value is not None}
        try:
            with self._client.stream(method, path, params=parameters, content=sent, headers=headers) as response:
                answer = self._read(response)
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL) as error:
            reason = str(error) or type(error).__name__
            msg = f"can't reach {self._where}: {reason}{self._hint(error)}"
            raise CommandError(msg) from None
        if not response.is_success:
            raise RefusedError(self._refusal(response.status_code, answer), response.status_code)
        if shape is type(None):
            return None
        try:
            return msgspec.json.decode(answer, type=shape)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            msg = f"this version of Fleetkey can't read the response of {self._where}"
            raise CommandError(msg) from None

    def _hint(self, error: Exception) -> str:
        if _is_untrusted(error):
            return f"; if it has a private certificate authority, name its certificate in {AUTHORITIES_VARIABLE}"
        # A server that expects TLS closes other connections, or answers with TLS.
        is_cut_off = isinstance(error, httpx.RemoteProtocolError | httpx.ReadError)
        return "; does it need https://?" if is_cut_off and self._client.base_url.scheme == "http" else ""

    def _read(self, response: httpx.Response) -> bytes:
        answer = bytearray()
        for chunk in response.iter_bytes():
            answer += chunk
            if len(answer) > MAX_ANSWER_BYTES:
                msg = f"the response of {self._where} is larger than {MAX_ANSWER_BYTES} bytes"
                raise CommandError(msg)
        return bytes(answer)

    def _refusal(self, status: int, answer: bytes) -> str:
        try:
            detail = str(msgspec.json.decode(answer)["detail"])
        except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError):
            return f"{self._where} answered {status}; is it a Fleetkey server with the admin API enabled?"
        detail = PLACE.sub("", detail, count=1).removesuffix(".")
        detail = detail[:1].lower() + detail[1:]
        if status == httpx.codes.UNAUTHORIZED:
            return f"{self._where} refused the token: it is unknown, revoked or expired"
        return detail


def segment(what: str, identifier: str) -> str:
    """Return an identifier as a segment of a path. Raises `NotFoundError` if no identifier can look like it."""
    if not IDENTIFIER.match(identifier):
        raise NotFoundError(what, identifier)
    return identifier


def read_token(file: Path | None) -> Secret:
    """Return the token from a file, or from the environment; never from the command line, which `ps` shows.

    Raises:
        CommandError: there is no token, or the file can't be read.
    """
    if file is None:
        text = os.environ.get(TOKEN_VARIABLE, "")
        if not text:
            msg = f"--url needs a token: set {TOKEN_VARIABLE}, or name a file with --token-file"
            raise UsageError(msg)
        where = TOKEN_VARIABLE
    else:
        where = str(file)
        try:
            with file.open("rb") as stream:
                text = stream.read(MAX_TOKEN_BYTES + 1).decode("ascii", errors="replace")
        except OSError as error:
            msg = f"can't read {file}: {error.strerror}"
            raise CommandError(msg) from None
    text = text.strip()
    if not text.isascii() or not text.isprintable() or " " in text or not 0 < len(text) <= MAX_TOKEN_BYTES:
        msg = f"{where} does not contain a token"
        raise CommandError(msg)
    return Secret(text)


def _is_untrusted(error: BaseException | None) -> bool:
    """Whether the certificate has no trusted issuer, as opposed to being expired or for another host."""
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return error.verify_code in UNTRUSTED
        error = error.__cause__ or error.__context__
    return False


def _trust(authorities: str | None) -> ssl.SSLContext:
    if not authorities:
        return httpx.create_ssl_context(trust_env=False)
    place = Path(authorities)
    return ssl.create_default_context(capath=place) if place.is_dir() else ssl.create_default_context(cafile=place)
