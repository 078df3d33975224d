"""A bounded HTTP POST: no redirects, limits on size and time, and it can be aborted."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import threading
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from fleetkey import __version__

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

__all__ = ["Poster", "Reply", "TransportError", "is_loopback"]

MAX_ANSWER_BYTES = 65_536


class TransportError(Exception):
    """There was no complete response; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A complete HTTP response with any status.

    Attributes:
        status: HTTP status.
        content_type: media type in lower case, without parameters.
        retry_after: the `Retry-After` header as sent, or None.
        body: at most 64 KiB; may contain a secret, so it isn't shown.
    """

    status: int
    content_type: str
    retry_after: str | None
    body: bytes = field(repr=False)


class Poster:
    """Posts documents to one URL.

    Args:
        url: an absolute http or https URL.
        timeout_seconds: the time limit from the connection to the complete response; also limits each connection
            attempt.
        tls_context: trust for https, or None for the system's.
    """

    def __init__(self, url: str, *, timeout_seconds: float, tls_context: ssl.SSLContext | None = None) -> None:
        self._url = url
        self._timeout_seconds = timeout_seconds
        self._tls_context = tls_context
        self._lock = threading.Lock()
        self._call: _Call | None = None
        self._aborted = False

    def post(self, body: bytes) -> Reply:
        """Send a JSON body and return the response, whatever its status.

        Raises:
            TransportError: there was no complete response in time, it exceeds 64 KiB, or `abort` was called.
        """
        call = _Call()
        with self._lock:
            self._call = call
            if self._aborted:
                call.cut()
        # A server that sends a byte now and then would defeat a timeout per read, so this limits the whole response.
        watchdog = threading.Timer(self._timeout_seconds, call.cut)
        watchdog.daemon = True
        watchdog.start()
        try:
            return self._exchange(call, body)
        except (OSError, http.client.HTTPException, ValueError) as error:
            if call.was_cut or isinstance(error, TimeoutError):
                raise TransportError(f"no complete response within {self._timeout_seconds:g} s") from error
            raise TransportError(_describe(error)) from error
        finally:
            watchdog.cancel()

    def abort(self) -> None:
        """Abort a call in another thread, and refuse every later one."""
        with self._lock:
            self._aborted = True
            if self._call is not None:
                self._call.cut()

    def _exchange(self, call: _Call, body: bytes) -> Reply:
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json, application/problem+json",
            "User-Agent": f"fleetkey-device/{__version__}",
        }
        request = urllib.request.Request(self._url, data=body, headers=headers, method="POST")  # noqa: S310 - checked http(s)
        answer = self._opener(call).open(request, timeout=self._timeout_seconds)
        if answer is None:
            raise TransportError("this URL can't be opened")
        with answer:
            content: bytes = answer.read(MAX_ANSWER_BYTES + 1)
            if len(content) > MAX_ANSWER_BYTES:
                raise TransportError("the response is larger than 64 KiB")
            if call.was_cut:
                raise OSError("aborted")
            return Reply(
                status=answer.status,
                content_type=answer.headers.get("Content-Type", "").partition(";")[0].strip().lower(),
                retry_after=answer.headers.get("Retry-After"),
                body=content,
            )

    def _opener(self, call: _Call) -> urllib.request.OpenerDirector:
        """Build an opener that follows no redirects and supports no file or FTP URLs."""
        opener = urllib.request.OpenerDirector()
        # A proxy from the environment must not be used between a device and its own machine.
        proxies: dict[str, str] | None = {} if is_loopback(urlsplit(self._url).hostname or "") else None
        opener.add_handler(urllib.request.ProxyHandler(proxies))
        opener.add_handler(_PlainHandler(call.watch))
        opener.add_handler(_TlsHandler(call.watch, self._tls_context))
        return opener


class _Call:
    """The socket of a call, which another thread can abort."""

    def __init__(self) -> None:
        self.was_cut = False
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None

    def watch(self, opened: socket.socket) -> None:
        with self._lock:
            self._socket = opened
            if self.was_cut:
                self._shut()

    def cut(self) -> None:
        with self._lock:
            self.was_cut = True
            self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            with suppress(OSError):
                # The plain socket's method, since SSLSocket's own would break the TLS session while it is being read.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


class _PlainConnection(http.client.HTTPConnection):
    def __init__(self, host: str, *, watch: Callable[[socket.socket], None], **options: Any) -> None:
        super().__init__(host, **options)
        self._watch = watch

    def connect(self) -> None:
        super().connect()
        self._watch(self.sock)


class _TlsConnection(http.client.HTTPSConnection):
    def __init__(self, host: str, *, watch: Callable[[socket.socket], None], **options: Any) -> None:
        super().__init__(host, **options)
        self._watch = watch

    def connect(self) -> None:
        super().connect()
        self._watch(self.sock)


class _PlainHandler(urllib.request.HTTPHandler):
    def __init__(self, watch: Callable[[socket.socket], None]) -> None:
        super().__init__()
        self._watch = watch

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_PlainConnection, request, watch=self._watch)  # type: ignore[arg-type]


class _TlsHandler(urllib.request.HTTPSHandler):
    def __init__(self, watch: Callable[[socket.socket], None], context: ssl.SSLContext | None) -> None:
        super().__init__(context=context)
        self._watch = watch
        self._tls_context = context

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(_TlsConnection, request, watch=self._watch, context=self._tls_context)  # type: ignore[arg-type]


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine. A name other than `localhost` counts as another machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _describe(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    if isinstance(reason, TimeoutError):
        return "connecting took too long"
    if isinstance(reason, OSError):
        error = reason
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
