"""How the broker listens: through the event loop, or over TLS with handshakes counted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from fleetkey.broker.scheduler import LINGER_SECONDS
from fleetkey.tls import TlsListener, bind_sockets

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from fleetkey.operations import Descriptors
    from fleetkey.tls import Handshakes

__all__ = ["listen"]

BACKLOG = 4096


async def listen(
    factory: Callable[[], Any],
    host: str | None,
    port: int,
    context: ssl.SSLContext | None,
    *,
    descriptors: Descriptors,
    handshakes: Handshakes,
    handshake_seconds: float,
) -> asyncio.Server | TlsListener:
    """Accept connections, with TLS if there is a context. Raises `OSError`: the address can't be bound."""
    if context is None:
        loop = asyncio.get_running_loop()
        return await loop.create_server(factory, host, port, backlog=BACKLOG, reuse_address=True)
    return TlsListener(
        factory,
        await bind_sockets(host, port, backlog=BACKLOG),
        context,
        handshakes,
        descriptors,
        handshake_seconds=handshake_seconds,
        shutdown_seconds=LINGER_SECONDS,
    )
