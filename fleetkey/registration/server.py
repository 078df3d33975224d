"""Serving the application with uvicorn, on a socket that is bound before anything starts."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
from typing import TYPE_CHECKING, Any

import uvicorn

from fleetkey.operations import Descriptors, Handshakes, TlsListener
from fleetkey.registration.forwarded import ForwardedAddress
from fleetkey.registration.http_protocol import BoundedHttpProtocol

if TYPE_CHECKING:
    import ssl
    from collections.abc import Generator

    from fleetkey.config import HttpSettings

__all__ = ["HttpServer"]

BACKLOG = 2048
SHUTDOWN_SECONDS = 5
HANDSHAKE_SECONDS = 10.0
"""For a TLS handshake; then the connection is closed."""
HANDSHAKE_SHARE = 4
"""One address, unless it is a trusted proxy's, has one in so many of the handshakes that may be under way."""


class _Uvicorn(uvicorn.Server):
    """Leaves signals to the process, which has a broker to stop as well, and counts TLS handshakes."""

    def __init__(self, config: uvicorn.Config, descriptors: Descriptors, handshakes: Handshakes) -> None:
        super().__init__(config)
        self._descriptors = descriptors
        self._handshakes = handshakes

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept: over TLS by a listener that counts from then on, which uvicorn's doesn't."""
        context = self.config.ssl
        if context is None or sockets is None:
            await super().startup(sockets)
            return
        await super().startup([])
        # What uvicorn does for each connection of a listener of its own.
        factory = functools.partial(
            self.config.http_protocol_class,  # type: ignore[call-arg] # a class of uvicorn's, which takes them
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        listener = TlsListener(
            factory,
            sockets,
            context,
            self._handshakes,
            self._descriptors,
            handshake_seconds=HANDSHAKE_SECONDS,
            shutdown_seconds=SHUTDOWN_SECONDS,
        )
        self.servers = [listener]  # type: ignore[list-item] # it is closed and waited for, as a server of asyncio's

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


class HttpServer:
    """An HTTP server on the running event loop."""

    def __init__(self, settings: HttpSettings, descriptors: Descriptors | None = None) -> None:
        """Bind the socket; `descriptors` keeps some of the process's for others than clients.

        Raises:
            OSError: the address is in use or can't be bound.
        """
        self._settings = settings
        self._descriptors = descriptors or Descriptors()
        self._socket = _bind(settings.address.host, settings.address.port)
        self._server: _Uvicorn | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def port(self) -> int:
        """The port that is bound."""
        return int(self._socket.getsockname()[1])

    @property
    def tls_context(self) -> ssl.SSLContext | None:
        """The listener's context once it is started, so that its certificate can be changed; None without TLS."""
        return self._server.config.ssl if self._server is not None else None

    async def start(self, app: Any) -> None:
        """Begin to serve; returns when requests are taken."""
        settings = self._settings
        forwarded = ForwardedAddress(app, settings.trusted_proxies)
        handshakes = Handshakes(
            "http",
            self._descriptors,
            most=settings.max_connections,
            most_per_address=max(1, settings.max_connections // HANDSHAKE_SHARE),
            exempt=forwarded.is_proxy,
        )
        self._server = _Uvicorn(
            uvicorn.Config(
                forwarded,
                log_config=None,
                access_log=False,
                server_header=False,
                http=_guarded(BoundedHttpProtocol.limited_to(settings.max_connections), self._descriptors),
                lifespan="off",
                ws="none",
                backlog=BACKLOG,
                timeout_graceful_shutdown=SHUTDOWN_SECONDS,
                proxy_headers=False,
                ssl_certfile=settings.tls_cert,
                ssl_keyfile=settings.tls_key,
            ),
            self._descriptors,
            handshakes,
        )
        self._task = asyncio.create_task(self._server.serve(sockets=[self._socket]), name="fleetkey-http")
        while not self._server.started:
            if self._task.done():
                await self._task
                msg = "the HTTP server stopped while it started"
                raise OSError(msg)
            await asyncio.sleep(0.005)

    async def stop(self) -> None:
        """Finish the requests that run, for up to `SHUTDOWN_SECONDS`, and stop."""
        if self._server is not None and self._task is not None:
            self._server.should_exit = True
            await self._task
        self._socket.close()


def _guarded(protocol: type[BoundedHttpProtocol], descriptors: Descriptors) -> type[BoundedHttpProtocol]:
    """Return the protocol with a last bound on what is kept: also connections that are refused or being closed."""

    def connection_made(self: BoundedHttpProtocol, transport: asyncio.Transport) -> None:
        protocol.connection_made(self, transport)
        if not descriptors.admits_transport(transport):
            transport.abort()

    return type("GuardedHttpProtocol", (protocol,), {"connection_made": connection_made})


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
