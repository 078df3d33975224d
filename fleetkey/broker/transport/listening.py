"""How the broker listens: through the event loop, or over TLS with handshakes counted."""

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Any

from fleetkey.broker.scheduler import LINGER_SECONDS
from fleetkey.tls import TlsListener, bind_sockets

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable

    from fleetkey.operations import Descriptors
    from fleetkey.registry import RefusalReason
    from fleetkey.tls import Handshakes

__all__ = ["listen"]

BACKLOG = 4096
RECEIVE_BUFFER_BYTES = 32 * 1024
"""Size of a connection's receive buffer in the system, which doubles it. A read returns no more than fits, so this also
bounds what each client can make the broker hold before anything is known of it."""


async def listen(
    factory: Callable[[], Any],
    host: str | None,
    port: int,
    context: ssl.SSLContext | None,
    *,
    descriptors: Descriptors,
    handshakes: Handshakes,
    handshake_seconds: float,
    refused: Callable[[RefusalReason, str, str], None] = lambda *_: None,
) -> asyncio.Server | TlsListener:
    """Accept connections, with TLS if there is a context. Raises `OSError`: the address can't be bound.

    `refused` is called with each handshake that failed; see `TlsListener`.
    """
    if context is None:
        loop = asyncio.get_running_loop()
        server = await loop.create_server(factory, host, port, backlog=BACKLOG, reuse_address=True)
        _bound_reads(server.sockets)
        return server
    sockets = await bind_sockets(host, port, backlog=BACKLOG)
    _bound_reads(sockets)
    return TlsListener(
        factory,
        sockets,
        context,
        handshakes,
        descriptors,
        handshake_seconds=handshake_seconds,
        shutdown_seconds=LINGER_SECONDS,
        refused=refused,
    )


def _bound_reads(sockets: Iterable[Any]) -> None:
    """Set the receive buffer of the connections that listening sockets accept: they inherit it."""
    for listening in sockets:
        # The event loop's sockets have no such method; a duplicate has the same options.
        with socket.socket(fileno=os.dup(listening.fileno())) as same:
            same.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
