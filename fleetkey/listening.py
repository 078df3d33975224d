"""A listener without TLS that accepts a few connections per turn of the event loop: several, but not all that wait."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

__all__ = ["ACCEPTS_PER_TURN", "PlainListener"]

ACCEPTS_PER_TURN = 32
"""Connections accepted on each address before the others get a turn."""


class PlainListener:
    """A listener with the closing methods of `asyncio.Server`.

    All connections wait in one queue of the system, whoever opened them. uvloop accepts one per listening handle and
    turn, so everybody would wait for as many turns as there are connections before theirs, and once the queue is full,
    for a second until TCP tries again. So each socket has `ACCEPTS_PER_TURN` handles.
    """

    def __init__(self, servers: Sequence[asyncio.Server]) -> None:
        self._servers = servers
        self._loop = asyncio.get_running_loop()

    @classmethod
    async def start(
        cls, factory: Callable[[], asyncio.BaseProtocol], sockets: Sequence[socket.socket], *, backlog: int
    ) -> PlainListener:
        """Start accepting.

        Args:
            factory: creates a connection's protocol.
            sockets: bound; the listener closes them.
            backlog: how many connections the system queues for each before they are accepted.

        Raises:
            OSError: a socket can't be listened on; then all are closed.
        """
        loop = asyncio.get_running_loop()
        handles = [*sockets]
        servers: list[asyncio.Server] = []
        try:
            for listening in sockets:
                handles += (listening.dup() for _ in range(ACCEPTS_PER_TURN - 1))
            # The event loops of asyncio accept as many in a turn as they are told here.
            servers.extend([await loop.create_server(factory, sock=each, backlog=1) for each in handles])
            for listening in sockets:
                listening.listen(backlog)
        except OSError:
            for server in servers:
                server.close()
            for each in handles:
                each.close()
            raise
        return cls(servers)

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """The listening sockets; none once it is closed."""
        return tuple(each for server in self._servers for each in server.sockets)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the event loop."""
        return self._loop

    def is_serving(self) -> bool:
        """Whether it accepts connections."""
        return any(server.is_serving() for server in self._servers)

    def close(self) -> None:
        """Stop accepting; connections stay open."""
        for server in self._servers:
            server.close()

    async def wait_closed(self) -> None:
        """Wait until it is closed."""
        for server in self._servers:
            await server.wait_closed()
