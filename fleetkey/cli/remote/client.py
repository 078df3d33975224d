"""Requests to the admin API: bounded, with the token in no place but the header."""

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
"""Of one answer; more is an error."""
TIMEOUT_SECONDS = 60.0
"""Without anything from the server, or until it takes more of a body."""
AUTHORITIES_VARIABLE = "SSL_CERT_FILE"
UNTRUSTED = frozenset({18, 19, 20, 21})
"""OpenSSL's numbers for a chain that ends at nobody who is trusted (X509_V_ERR_…: x509_vfy.h)."""
PREFIX = "/api/v1"
IDENTIFIER = re.compile(r"[0-9A-Za-z_-]{1,128}\Z")
"""What may be sent as a part of a path: another text would mean another path."""
PLACE = re.compile(r"At `[^`]*`: ")

T = TypeVar("T")


class RemoteClient:
    """Asks one server.

    Args:
        url: where it is, with or without `/api/v1`; `https://`, or `http://` on this machine.
        token: proves who asks.

    Raises:
        CommandError: the address can't be used.
    """

    def __init__(self, url: str, token: Secret) -> None:
        try:
            parsed = httpx.URL(url)
        except httpx.InvalidURL:
            parsed = httpx.URL()
        if parsed.scheme not in {"http", "https"} or not parsed.host or parsed.userinfo or parsed.query:
            msg = "--url is not an address of a server; write https://HOST or https://HOST:PORT"
            raise UsageError(msg)
        if parsed.scheme == "http" and not Address(host=parsed.host, port=0).is_loopback:
            msg = (
                f"--url {url} would send the token in clear; only this machine may be asked over http://, use https://"
            )
            raise UsageError(msg)
        self._where = f"{parsed.scheme}://{parsed.netloc.decode()}"
        # trust_env: no proxy that the environment names may see the token. SSL_CERT_FILE is the exception, for a
        # server whose authority is one's own.
        authorities = os.environ.get(AUTHORITIES_VARIABLE)
        try:
            # Over http:// nobody is asked for a certificate; to read the authorities would take 0.1 s.
            context = _trust(authorities) if parsed.scheme == "https" else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        except OSError as error:
            why = "holds no certificate in PEM" if isinstance(error, ssl.SSLError) else f"{error.strerror}"
            msg = f"{authorities}, which {AUTHORITIES_VARIABLE} names, can't be used: {why}"
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
        """The server, as it was named."""
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
        """Return what the server answers.

        Args:
            method: HTTP's.
            path: below `/api/v1/`.
            shape: of the answer; `type(None)` = none.
            query: None as a value leaves it out.
            body: what to post, as JSON.
            content: what to post, as it is.
            media_type: of what is posted.

        Raises:
            RefusedError: it refuses.
            CommandError: it can't be reached, or answers what this version can't read.
        """
        sent: bytes | Iterator[bytes] | None = content if body is None else msgspec.json.encode(body)
        headers = {"Content-Type": media_type} if sent is not None else {}
        parameters = {name: value for name, value in (query or {}).items() if value is not None}
        try:
            with self._client.stream(method, path, params=parameters, content=sent, headers=headers) as response:
                answer = self._read(response)
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL) as error:
            reason = str(error) or type(error).__name__
            msg = f"can't ask {self._where}: {reason}{self._hint(error)}"
            raise CommandError(msg) from None
        if not response.is_success:
            raise RefusedError(self._refusal(response.status_code, answer), response.status_code)
        if shape is type(None):
            return None
        try:
            return msgspec.json.decode(answer, type=shape)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            msg = f"{self._where} answered what this version of Fleetkey can't read"
            raise CommandError(msg) from None

    def _hint(self, error: Exception) -> str:
        if _is_untrusted(error):
            return f"; if its authority is your own, name its certificate in {AUTHORITIES_VARIABLE}"
        # A server that waits for TLS hangs up on anything else, or answers in TLS.
        is_cut_off = isinstance(error, httpx.RemoteProtocolError | httpx.ReadError)
        return "; does it speak https://?" if is_cut_off and self._client.base_url.scheme == "http" else ""

    def _read(self, response: httpx.Response) -> bytes:
        answer = bytearray()
        for chunk in response.iter_bytes():
            answer += chunk
            if len(answer) > MAX_ANSWER_BYTES:
                msg = f"the answer of {self._where} is over {MAX_ANSWER_BYTES} bytes"
                raise CommandError(msg)
        return bytes(answer)

    def _refusal(self, status: int, answer: bytes) -> str:
        try:
            detail = str(msgspec.json.decode(answer)["detail"])
        except (msgspec.MsgspecError, UnicodeDecodeError, KeyError, TypeError):
            return f"{self._where} answered {status}; is there a Fleetkey with its admin API?"
        detail = PLACE.sub("", detail, count=1).removesuffix(".")
        detail = detail[:1].lower() + detail[1:]
        if status == httpx.codes.UNAUTHORIZED:
            return f"{self._where} refuses the token: it is unknown, revoked or expired"
        return detail


def segment(what: str, identifier: str) -> str:
    """Return an identifier as a part of a path. Raises `NotFoundError` for a text that can't be one of any kind."""
    if not IDENTIFIER.match(identifier):
        raise NotFoundError(what, identifier)
    return identifier


def read_token(file: Path | None) -> Secret:
    """Return the token from a file, or else from the environment. Never from the command line, which `ps` shows.

    Raises:
        CommandError: there is none, or the file can't be read.
    """
    if file is None:
        text = os.environ.get(TOKEN_VARIABLE, "")
        if not text:
            msg = f"--url needs a token: put it into the variable {TOKEN_VARIABLE} or name a file with --token-file"
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
        msg = f"{where} holds no token"
        raise CommandError(msg)
    return Secret(text)


def _is_untrusted(error: BaseException | None) -> bool:
    """Whether nobody trusted vouches for the certificate; one for another host, say, is wrong in another way."""
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
