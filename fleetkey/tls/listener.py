"""A TLS listener that counts connections from the moment they are accepted, not from the end of their handshake.

`loop.create_server` doesn't report a connection before its handshake is done. Until then, a silent client would hold a
file descriptor, bounded only by how many there are.
"""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from typing import TYPE_CHECKING

from fleetkey.registry import RefusalReason
from fleetkey.tls.connections import TlsConnections
from fleetkey.tls.transport import TlsTransport

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

    from fleetkey.operations.descriptors import Descriptors
    from fleetkey.tls.handshakes import Handshakes

__all__ = ["TlsListener", "bind_sockets"]

ACCEPTS_PER_TURN = 16
"""Connections accepted before others get a turn."""
ACCEPT_PAUSE_SECONDS = 0.5
"""Pause before accepting again after running out of file descriptors."""


class TlsListener:
    """A listener with the closing methods of `asyncio.Server`; it accepts on the running event loop once created.

    Args:
        factory: creates a connection's protocol, before its handshake.
        sockets: bound and listening; the listener closes them.
        handshake_seconds: how long a handshake may take before the connection is closed.
        shutdown_seconds: how long the TLS shutdown of a closed connection may take.
        refused: called with why a connection ended before its handshake was done, the client's address, and a detail.
    """

    def __init__(
        self,
        factory: Callable[[], asyncio.BaseProtocol],
        sockets: Sequence[socket.socket],
        context: ssl.SSLContext,
        handshakes: Handshakes,
        descriptors: Descriptors,
        *,
        handshake_seconds: float,
        shutdown_seconds: float,
        refused: Callable[[RefusalReason, str, str], None] = lambda *_: None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._factory = factory
        self._sockets = list(sockets)
        self._handshakes = handshakes
        self._descriptors = descriptors
        self._refused = refused
        self._shared = TlsConnections(
            context,
            lambda bound, address: descriptors.reached(bound, address=address),
            refused,
            handshake_seconds=handshake_seconds,
            shutdown_seconds=shutdown_seconds,
        )
        self._tasks: set[asyncio.Task[None]] = set()
        for listening in self._sockets:
            listening.setblocking(False)  # noqa: FBT003 - the library's signature
            self._loop.add_reader(listening, self._accept, listening)

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The listening sockets; none once it is closed."""
        return tuple(self._sockets)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop."""
        return self._loop

    def is_serving(self) -> bool:
        """Whether it accepts connections."""
        return bool(self._sockets)

    def close(self) -> None:
        """Stop accepting, and abort pending handshakes; established connections stay open."""
        for listening in self._sockets:
            self._loop.remove_reader(listening)
            listening.close()
        self._sockets.clear()
        for tls in list(self._shared.shaking_hands):
            tls.abort()

    async def wait_closed(self) -> None:
        """Wait until the handshakes have ended."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTS_PER_TURN):
            try:
                taken, peer = listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                # Otherwise the client or its network aborted the connection, which says nothing about the next one.
                if self._descriptors.failed(error):
                    self._pause(listening)
                    return
                continue
            address = str(peer[0])
            handshake = self._handshakes.begun(address, taken.fileno())
            if handshake is None:
                taken.close()
                self._refused(RefusalReason.BOUND_REACHED, address, "handshakes")
                continue
            taken.setblocking(False)  # noqa: FBT003 - the library's signature
            tls = TlsTransport(self._shared, self._factory, address, partial(self._handshakes.ended, handshake))
            handshake.when_cut(partial(tls.refuse, RefusalReason.BOUND_REACHED, "handshakes"))
            task = self._loop.create_task(self._connect(taken, tls), name="fleetkey-accept")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connect(self, taken: socket.socket, tls: TlsTransport) -> None:
        """Start a handshake."""
        try:
            await self._loop.connect_accepted_socket(lambda: tls, taken)
        except OSError:
            # The client is already gone.
            tls.abort()
            taken.close()

    def _pause(self, listening: socket.socket) -> None:
        """Stop accepting for a while: the socket stays readable, so the event loop would spin."""
        self._loop.remove_reader(listening)
        self._loop.call_later(ACCEPT_PAUSE_SECONDS, self._go_on, listening)

    def _go_on(self, listening: socket.socket) -> None:
        if listening in self._sockets:
            self._loop.add_reader(listening, self._accept, listening)


async def bind_sockets(host: str | None, port: int, *, backlog: int) -> list[socket.socket]:
    """Listen on each address of a host, as `loop.create_server` does; None is every interface.

    Raises:
        OSError: an address is in use or can't be bound; then none is listened on.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    sockets: list[socket.socket] = []
    try:
        for family, kind, protocol, _, address in dict.fromkeys(found):
            listening = socket.socket(family, kind, protocol)
            sockets.append(listening)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listening.bind(address)
            listening.listen(backlog)
    except OSError:
        for listening in sockets:
            listening.close()
        raise
    return sockets
