"""Serves the application with uvicorn, on a socket bound before anything starts."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from typing import TYPE_CHECKING, Any

import uvicorn

from fleetkey.http.connections import HttpConnections
from fleetkey.http.forwarded import ForwardedAddress, TrustedProxies
from fleetkey.http.local import is_loopback
from fleetkey.http.protocol import BoundedHttpProtocol
from fleetkey.http.request_turns import RequestTurns
from fleetkey.listening import PlainListener
from fleetkey.operations import TLS_CIPHERS, Descriptors
from fleetkey.tls import Handshakes, TlsListener

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Generator, Mapping

    from fleetkey.config import HttpSettings
    from fleetkey.registry import RefusalReason

    HandshakeRefused = Callable[[RefusalReason, str, str], None]

__all__ = ["HttpServer"]

BACKLOG = 2048
SHUTDOWN_SECONDS = 5
HANDSHAKE_SECONDS = 10.0
"""How long a TLS handshake may take before the connection is closed."""
MAX_RESERVED_HANDSHAKES = 8
"""Slots for TLS handshakes from loopback above a bound on handshakes, so that health checks still work."""
CLOSE_SECONDS = 2.0
"""How long a client may take to close its side of TLS before the connection is aborted."""
MALFORMED = "Invalid HTTP request received."
"""What uvicorn logs for each malformed request."""


class _Uvicorn(uvicorn.Server):
    """Leaves signals to the process, which must also stop the broker, and counts TLS handshakes."""

    def __init__(
        self,
        config: uvicorn.Config,
        listener: socket.socket,
        connections: HttpConnections,
        descriptors: Descriptors,
        handshakes: Handshakes,
        refused: HandshakeRefused,
    ) -> None:
        super().__init__(config)
        self._listener = listener
        self._connections = connections
        self._descriptors = descriptors
        self._handshakes = handshakes
        self._refused = refused

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start accepting; over TLS with our own listener, which counts handshakes, unlike uvicorn's."""
        del sockets
        loop = asyncio.get_running_loop()

        def factory() -> BoundedHttpProtocol:
            return BoundedHttpProtocol(
                shared=self._connections,
                config=self.config,
                server_state=self.server_state,
                app_state=self.lifespan.state,
                _loop=loop,
            )

        if self.config.ssl is None:
            listener: PlainListener | TlsListener = await PlainListener.start(
                factory, [self._listener], backlog=BACKLOG
            )
        else:
            listener = TlsListener(
                factory,
                [self._listener],
                self.config.ssl,
                self._handshakes,
                self._descriptors,
                handshake_seconds=HANDSHAKE_SECONDS,
                shutdown_seconds=CLOSE_SECONDS,
                refused=self._refused,
            )
        self.servers = [listener]  # type: ignore[list-item] # uvicorn only closes it and waits for that
        self.started = True


class HttpServer:
    """An HTTP server on the running event loop."""

    def __init__(
        self,
        settings: HttpSettings,
        descriptors: Descriptors | None = None,
        *,
        refused: HandshakeRefused = lambda *_: None,
    ) -> None:
        """Bind the socket.

        Args:
            settings: addresses, bounds and timeouts.
            descriptors: reserves some of the process's file descriptors.
            refused: called with why a client is refused before it sent a request, its address, and a detail.

        Raises:
            OSError: the address is in use or can't be bound.
        """
        self._settings = settings
        self._refused = refused
        self._descriptors = descriptors or Descriptors()
        self._socket = _bind(settings.address.host, settings.address.port)
        self._connections = HttpConnections(settings, self._descriptors, refused=refused)
        self._server: _Uvicorn | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port that the socket is bound to."""
        return int(self._socket.getsockname()[1])

    @property
    def bounds_reached(self) -> Mapping[str, int]:
        """How often a bound on connections or requests was reached, by its name."""
        return self._connections.bounds

    @property
    def unsent_bytes(self) -> int:
        """Bytes of answers that clients haven't read yet, not counting `WRITE_BUFFER_BYTES` of each connection."""
        return self._connections.unsent.total

    def memory(self) -> dict[str, int]:
        """Return the bytes of input and output that are held for clients, for the budget."""
        return {"http": self._connections.held_bytes + self._connections.unsent.total}

    @property
    def tls_context(self) -> ssl.SSLContext | None:
        """The listener's context once it is started, so that its certificate can be replaced; None without TLS."""
        return self._server.config.ssl if self._server is not None else None

    async def start(self, app: Any) -> None:
        """Start serving; returns once requests are accepted."""
        settings = self._settings
        guarded = RequestTurns(ForwardedAddress(app, settings.trusted_proxies))
        handshakes = Handshakes(
            "http",
            self._descriptors,
            most=settings.max_connections,
            most_per_address=settings.max_connections_per_address,
            exempt=TrustedProxies(settings.trusted_proxies).trust,
            reserved=MAX_RESERVED_HANDSHAKES,
            may_reserve=is_loopback,
        )
        self._server = _Uvicorn(
            uvicorn.Config(
                guarded,
                log_config=None,
                access_log=False,
                server_header=False,
                http=BoundedHttpProtocol,
                lifespan="off",
                ws="none",
                timeout_graceful_shutdown=SHUTDOWN_SECONDS,
                proxy_headers=False,
                ssl_certfile=settings.tls_cert,
                ssl_keyfile=settings.tls_key,
                ssl_ciphers=TLS_CIPHERS,
            ),
            self._socket,
            self._connections,
            self._descriptors,
            handshakes,
            self._refused,
        )
        logging.getLogger("uvicorn.error").addFilter(_worth_a_line)
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]), name="fleetkey-http")
        while not self._server.started:
            if self._task.done():
                await self._task
                msg = "the HTTP server stopped during startup"
                raise OSError(msg)
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Finish running requests, for up to `SHUTDOWN_SECONDS`, and stop."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task
        self._socket.close()


def _bind(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and host != "::":
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
        listener.setblocking(False)  # noqa: FBT003 - the library's signature
    except OSError:
        listener.close()
        raise
    return listener


def _worth_a_line(record: logging.LogRecord) -> bool:
    """Drop a log line that any client could cause endlessly: it identifies nobody, and the client has its answer."""
    return record.msg != MALFORMED
