"""MQTT over WebSocket (MQTT 3.1.1, 6): the `websockets` library in front of the same connection."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import TYPE_CHECKING, Any

import websockets
from websockets.asyncio.messages import Assembler
from websockets.asyncio.server import Server, ServerConnection
from websockets.exceptions import ConnectionClosed
from websockets.server import ServerProtocol

from fleetkey.broker.connection import Connection
from fleetkey.broker.listening import listen
from fleetkey.broker.stream import State, unread

if TYPE_CHECKING:
    import ssl

    from fleetkey.broker.hub import Hub

__all__ = ["WebSocketTransport", "serve_websockets"]

SUBPROTOCOL = websockets.Subprotocol("mqtt")
MAX_FRAME_BYTES = 1024 * 1024
"""A frame may hold several packets (6.0.0-2), or a part of one."""
MAX_FIRST_BYTES = 64 * 1024
"""What may come before the upgrade is done, and in one frame before the client has proven who it is."""
MAX_UNSENT_BYTES = 64 * 1024
"""What may wait to be framed; more is held by the connection."""
FEED_BYTES = 512
FEED_SECONDS = 0.001
"""How long the bytes of one client are taken apart into frames before the others get a turn."""
FRAMES_PER_TURN = 16
"""Frames of one client that are handled before the others get a turn."""
CLOSE_SECONDS = 2
BUSY_SECONDS = 0.005


class WebSocketTransport:
    """The part of `asyncio.Transport` that a connection uses, over a WebSocket."""

    def __init__(self, socket: ServerConnection, connection: Connection) -> None:
        self._socket = socket
        self._connection = connection
        self._out = bytearray()
        self._is_full = False
        self._wake = asyncio.Event()
        self._readable = asyncio.Event()
        self._readable.set()
        self._is_closing = False
        self._writer: asyncio.Task[None] | None = None

    def get_extra_info(self, name: str) -> Any:
        """Ask the transport below."""
        return self._socket.transport.get_extra_info(name)

    def set_write_buffer_limits(self, high: int, low: int) -> None:
        """Keep `MAX_UNSENT_BYTES`: nothing can be framed at once."""

    def get_write_buffer_size(self) -> int:
        """Return how much waits to be written."""
        return len(self._out) + int(self._socket.transport.get_write_buffer_size())

    def write(self, data: bytes) -> None:
        """Queue bytes; what is queued in one turn of the loop goes out as one binary frame (6.0.0-1, 6.0.0-2)."""
        if self._is_closing:
            return
        self._out += data
        self._wake.set()
        if len(self._out) > MAX_UNSENT_BYTES and not self._is_full:
            self._is_full = True
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

    def start(self) -> None:
        """Begin to send: the upgrade is done."""
        self._writer = asyncio.create_task(self._write_all(), name="fleetkey-ws-writer")

    def close(self) -> None:
        """Close after what is queued was sent."""
        if self._writer is None:
            self.abort()
        if not self._is_closing:
            # A client that reads nothing more doesn't keep its connection.
            self._socket.loop.call_later(CLOSE_SECONDS, self._socket.transport.abort)
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

    def stop(self) -> None:
        """Drop what is sent: the client is gone."""
        self._is_closing = True
        self._out.clear()
        self._has_room()

    async def finish(self) -> None:
        """Let the writer end, for at most `CLOSE_SECONDS`."""
        self.close()
        if self._writer is not None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._writer, CLOSE_SECONDS)

    async def _write_all(self) -> None:
        try:
            while True:
                await self._wake.wait()
                self._wake.clear()
                while self._out:
                    data = bytes(self._out)
                    self._out.clear()
                    await self._socket.send(data)
                    self._has_room()
                if self._is_closing:
                    await self._socket.close()
                    return
        except ConnectionClosed:
            # What came in before is still handled; the answers go nowhere.
            self._is_closing = True
            self._out.clear()
            self._has_room()
            self._readable.set()

    def _has_room(self) -> None:
        if self._is_full and not self._out:
            self._is_full = False
            self._connection.resume_writing()


class _Socket(ServerConnection):
    """A WebSocket whose MQTT connection is there, and counted, from the first byte on.

    What comes is handed to the library piece by piece, for `FEED_SECONDS` in a turn of the loop, and not while it waits
    for its frames to be taken or its answers to be read.
    """

    def __init__(self, hub: Hub, listener: str, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._first_bytes = 0
        self._incoming = bytearray()
        self._is_full = False
        self._is_feeding = False
        self._is_lost = False
        """Whether the client is gone, and what it sent before is still handed on."""
        self._is_ended = False
        self.mqtt = Connection(hub, listener)
        self.mqtt_transport = WebSocketTransport(self, self.mqtt)
        self.is_upgraded = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.recv_messages = Assembler(*self.max_queue, pause=self._on_full, resume=self._on_room)
        self.mqtt.connection_made(self.mqtt_transport)  # type: ignore[arg-type] # the part of it that is used

    def data_received(self, data: bytes) -> None:
        if not self.is_upgraded:
            self._first_bytes += len(data)
            if self._first_bytes > MAX_FIRST_BYTES:
                self.mqtt.abort("upgrade_too_long")
                return
        self._incoming += data
        if not self._is_feeding:
            self._feed()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._feed_soon()

    def connection_lost(self, exc: Exception | None) -> None:
        self._incoming += unread(self.transport)
        if not self.is_upgraded or not self._incoming:
            self._end(exc)
            return
        # What came before is still handed on, for at most `CLOSE_SECONDS`.
        self._is_lost = True
        self.mqtt_transport.stop()
        self.loop.call_later(CLOSE_SECONDS, self._end, exc)
        self._feed_soon()

    def _end(self, exc: Exception | None = None) -> None:
        self._incoming.clear()
        if self._is_ended:
            return
        self._is_ended = True
        super().connection_lost(exc)
        if not self.is_upgraded and self.mqtt.state is not State.CLOSED:
            self.mqtt.lost()

    def _on_full(self) -> None:
        self._is_full = True

    def _on_room(self) -> None:
        self._is_full = False
        if self._incoming:
            self._feed_soon()
        elif not self._is_lost:
            self.transport.resume_reading()

    def _feed_soon(self) -> None:
        if self._incoming and not self._is_feeding:
            self._is_feeding = True
            self.loop.call_soon(self._feed)

    def _feed(self) -> None:
        """Hand on what came; go on in the next turn, or when there is room."""
        self._is_feeding = False
        until = time.perf_counter() + FEED_SECONDS
        while self._incoming:
            if self._must_wait():
                self.transport.pause_reading()
                return
            if time.perf_counter() > until:
                self.transport.pause_reading()
                self._feed_soon()
                return
            if self.mqtt.state is State.OPEN:
                self.protocol.max_size = MAX_FRAME_BYTES
            piece = bytes(self._incoming[:FEED_BYTES])
            del self._incoming[:FEED_BYTES]
            super().data_received(piece)
        if self._is_lost:
            self._end()
        elif not self._is_full:
            self.transport.resume_reading()
        else:
            self.transport.pause_reading()

    def _must_wait(self) -> bool:
        """Whether its frames are to be taken first, or its answers to be read."""
        is_unread = not self._is_lost and self.transport.get_write_buffer_size() > MAX_UNSENT_BYTES
        return self._is_full or is_unread

    async def run(self) -> None:
        """Handle the frames of an upgraded connection until it is closed."""
        connection, transport = self.mqtt, self.mqtt_transport
        self.is_upgraded = True
        transport.start()
        taken = 0
        try:
            while connection.state is not State.CLOSED:
                await transport.readable()
                data = await self.recv()
                taken += 1
                if not taken % FRAMES_PER_TURN:
                    await asyncio.sleep(0)
                if not isinstance(data, bytes):
                    break
                connection.data_received(data)
        except ConnectionClosed:
            await self._work_off()
        finally:
            if connection.state is not State.CLOSED:
                connection.lost()
            await transport.finish()
            # A client that doesn't finish closing keeps no descriptor.
            self.transport.abort()

    async def _work_off(self) -> None:
        """Handle what came before the close, for at most `CLOSE_SECONDS`."""
        deadline = self.loop.time() + CLOSE_SECONDS
        while self.mqtt.is_busy and self.loop.time() < deadline:  # noqa: ASYNC110 - an event would be set in the hot path
            await asyncio.sleep(BUSY_SECONDS)


async def serve_websockets(
    hub: Hub, listener: str, host: str | None, port: int, context: ssl.SSLContext | None
) -> Server:
    """Listen. Frames are bounded like packets; anything but binary frames closes the connection (6.0.0-1)."""

    async def handle(socket: Any) -> None:
        await socket.run()

    # What `websockets.asyncio.server.serve` does; but it would let the event loop accept, which counts no handshakes.
    server = Server(handle, server_header=None, open_timeout=hub.limits.connect_timeout_seconds)

    def create() -> ServerConnection:
        return _Socket(
            hub,
            listener,
            ServerProtocol(subprotocols=[SUBPROTOCOL], max_size=MAX_FIRST_BYTES),
            server,
            ping_interval=None,
            close_timeout=CLOSE_SECONDS,
            max_queue=1,
        )

    server.wrap(await listen(hub, create, host, port, context, shutdown_seconds=CLOSE_SECONDS))  # type: ignore[arg-type] # or as good as one
    return server
