"""MQTT over WebSocket (MQTT 3.1.1, 6): the `websockets` library in front of the same connection."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

import websockets.asyncio.server
from websockets.exceptions import ConnectionClosed

from fleetkey.broker.connection import Connection, State

if TYPE_CHECKING:
    import ssl

    from websockets.asyncio.server import Server, ServerConnection

    from fleetkey.broker.hub import Hub

__all__ = ["WebSocketTransport", "serve_websockets"]

SUBPROTOCOL = websockets.Subprotocol("mqtt")
MAX_FRAME_BYTES = 1024 * 1024
"""A frame may hold several packets (6.0.0-2), or a part of one."""
CLOSE_SECONDS = 2


class WebSocketTransport:
    """The part of `asyncio.Transport` that a connection uses, over a WebSocket."""

    def __init__(self, socket: ServerConnection, connection: Connection) -> None:
        self._socket = socket
        self._connection = connection
        self._out = bytearray()
        self._high = 0
        self._wake = asyncio.Event()
        self._readable = asyncio.Event()
        self._readable.set()
        self._is_closing = False
        self._writer = asyncio.create_task(self._write_all(), name="fleetkey-ws-writer")

    def get_extra_info(self, name: str) -> Any:
        """Ask the transport below."""
        return self._socket.transport.get_extra_info(name)

    def set_write_buffer_limits(self, high: int) -> None:
        """Set how much may wait to be written before the connection is paused."""
        self._high = high

    def get_write_buffer_size(self) -> int:
        """Return how much waits to be written."""
        return len(self._out)

    def write(self, data: bytes) -> None:
        """Queue bytes; what is queued in one turn of the loop goes out as one binary frame (6.0.0-1, 6.0.0-2)."""
        if self._is_closing:
            return
        self._out += data
        self._wake.set()
        if len(self._out) > self._high and not self._connection.is_paused:
            self._connection.pause_writing()

    def pause_reading(self) -> None:
        """Take no more frames."""
        self._readable.clear()

    def resume_reading(self) -> None:
        """Take frames again."""
        self._readable.set()

    async def readable(self) -> None:
        """Wait until frames may be taken."""
        await self._readable.wait()

    def close(self) -> None:
        """Close after what is queued was sent."""
        self._is_closing = True
        self._readable.set()
        self._wake.set()

    def abort(self) -> None:
        """Close at once."""
        self._is_closing = True
        self._out.clear()
        self._readable.set()
        self._socket.transport.abort()
        self._wake.set()

    async def finish(self) -> None:
        """Let the writer end, for at most `CLOSE_SECONDS`."""
        self.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._writer, CLOSE_SECONDS)

    async def _write_all(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._out:
                    data = bytes(self._out)
                    await self._socket.send(data)
                    del self._out[: len(data)]
                    if self._connection.is_paused and len(self._out) <= self._high // 2:
                        self._connection.resume_writing()
                if self._is_closing:
                    await self._socket.close()
                    return
        except ConnectionClosed:
            self._is_closing = True
            self._readable.set()


async def serve_websockets(
    hub: Hub, listener: str, host: str | None, port: int, context: ssl.SSLContext | None
) -> Server:
    """Listen. Frames are bounded like packets; anything but binary frames closes the connection (6.0.0-1)."""

    async def handle(socket: ServerConnection) -> None:
        connection = Connection(hub, listener)
        transport = WebSocketTransport(socket, connection)
        connection.connection_made(transport)  # type: ignore[arg-type] # the part of it that is used
        try:
            while connection.state is not State.CLOSED:
                await transport.readable()
                data = await socket.recv()
                if not isinstance(data, bytes):
                    break
                connection.data_received(data)
        except ConnectionClosed:
            pass
        finally:
            if connection.state is not State.CLOSED:
                connection.connection_lost(None)
            await transport.finish()
            # A client that doesn't finish closing keeps no descriptor.
            socket.transport.abort()

    return await websockets.asyncio.server.serve(
        handle,
        host,
        port,
        ssl=context,
        subprotocols=[SUBPROTOCOL],
        compression=None,
        max_size=MAX_FRAME_BYTES,
        max_queue=1,
        open_timeout=hub.limits.connect_timeout_seconds,
        ping_interval=None,
        close_timeout=CLOSE_SECONDS,
        server_header=None,
    )
