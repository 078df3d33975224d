"""How the broker listens: plainly as the event loop does, and over TLS so that handshakes are counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.operations import TlsListener, bind_sockets

if TYPE_CHECKING:
    import asyncio
    import ssl
    from collections.abc import Callable

    from fleetkey.broker.hub import Hub

__all__ = ["BACKLOG", "listen"]

BACKLOG = 4096


async def listen(
    hub: Hub,
    factory: Callable[[], asyncio.BaseProtocol],
    host: str | None,
    port: int,
    context: ssl.SSLContext | None,
    *,
    shutdown_seconds: float,
) -> asyncio.Server | TlsListener:
    """Accept connections, with TLS if there is a context.

    Raises:
        OSError: the address is in use or can't be bound.
    """
    if context is None:
        return await hub.loop.create_server(
            factory,
            host,
            port,
            backlog=BACKLOG,
            reuse_address=True,
        )
    return TlsListener(
        factory,
        await bind_sockets(host, port, backlog=BACKLOG),
        context,
        hub.handshakes,
        hub.descriptors,
        handshake_seconds=hub.limits.connect_timeout_seconds,
        shutdown_seconds=shutdown_seconds,
    )
