"""A TLS listener that counts connections from the moment they are accepted, not from the end of their handshake.

`loop.create_server` tells nobody of a connection before its handshake is done: until then a client that says nothing
would hold a descriptor, and nothing but their number would be a bound.
"""

from __future__ import annotations

import asyncio
import socket
from functools import partial
from typing import TYPE_CHECKING

from fleetkey.tls.connections import TlsConnections
from fleetkey.tls.transport import TlsTransport

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Sequence

    from fleetkey.operations.descriptors import Descriptors
    from fleetkey.tls.handshakes import Handshakes

__all__ = ["TlsListener", "bind_sockets"]

ACCEPTS_PER_TURN = 16
"""Connections that are accepted before others get a turn."""
ACCEPT_PAUSE_SECONDS = 0.5
"""Before the next connection is accepted after there was no descriptor for one."""


class TlsListener:
    """What `asyncio.Server` is for whoever closes it; accepts on the running event loop from the start.

    Args:
        factory: makes a connection's protocol, before its handshake.
        sockets: bound and listening; closed with it.
        handshake_seconds: for a handshake; then the connection is closed.
        shutdown_seconds: for the end of TLS when a connection is closed.
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
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._factory = factory
        self._sockets = list(sockets)
        self._handshakes = handshakes
        self._descriptors = descriptors
        self._shared = TlsConnections(
            context,
            lambda bound, address: descriptors.reached(bound, address=address),
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
        """Accept nothing more, and end the handshakes that are under way; connections stay."""
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
                # Else it was the client that gave up, or its network; the next one may not have.
                if self._descriptors.failed(error):
                    self._pause(listening)
                    return
                continue
            address = str(peer[0])
            handshake = self._handshakes.begun(address, taken.fileno())
            if handshake is None:
                taken.close()
                continue
            taken.setblocking(False)  # noqa: FBT003 - the library's signature
            tls = TlsTransport(self._shared, self._factory, address, partial(self._handshakes.ended, handshake))
            handshake.when_cut(tls.abort)
            task = self._loop.create_task(self._connect(taken, tls), name="fleetkey-accept")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connect(self, taken: socket.socket, tls: TlsTransport) -> None:
        """Begin a handshake."""
        try:
            await self._loop.connect_accepted_socket(lambda: tls, taken)
        except OSError:
            # The client was gone already.
            tls.abort()
            taken.close()

    def _pause(self, listening: socket.socket) -> None:
        """Accept again in a while: the socket stays readable, and the loop would do nothing else."""
        self._loop.remove_reader(listening)
        self._loop.call_later(ACCEPT_PAUSE_SECONDS, self._go_on, listening)

    def _go_on(self, listening: socket.socket) -> None:
        if listening in self._sockets:
            self._loop.add_reader(listening, self._accept, listening)


async def bind_sockets(host: str | None, port: int, *, backlog: int) -> list[socket.socket]:
    """Listen on each address of a host, as `loop.create_server` does; None is every interface.

    Raises:
        OSError: one of them is in use or can't be bound; none is listened on then.
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
