"""The first packet of a connection, and the answer to one that is refused."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from amqtt.errors import AMQTTError, MQTTError, NoDataError
from amqtt.mqtt.connack import ConnackPacket
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler

if TYPE_CHECKING:
    from amqtt.adapters import ReaderAdapter, WriterAdapter
    from amqtt.broker import BrokerContext
    from amqtt.plugins.manager import PluginManager
    from amqtt.session import Session

__all__ = ["abort", "close", "read_connect", "refuse"]

CLOSE_SECONDS = 5


async def read_connect(
    reader: ReaderAdapter,
    writer: WriterAdapter,
    plugins: PluginManager[BrokerContext],
    *,
    timeout_seconds: float,
) -> tuple[BrokerProtocolHandler, Session]:
    """Read a CONNECT and return a handler and a session that exist nowhere else yet.

    Raises:
        MQTTError: no valid CONNECT came in time; the connection is closed.
    """
    try:
        async with asyncio.timeout(timeout_seconds):
            return await BrokerProtocolHandler.init_from_connect(reader, writer, plugins)
    except TimeoutError:
        await close(writer)
        msg = f"no CONNECT within {timeout_seconds:g} s"
        raise MQTTError(msg) from None
    except Exception as error:
        # Whatever a client sends first, it must not leave a connection behind.
        await close(writer)
        if isinstance(error, AMQTTError | MQTTError | NoDataError):
            raise
        msg = f"malformed CONNECT: {type(error).__name__}"
        raise MQTTError(msg) from None


async def refuse(writer: WriterAdapter, return_code: int) -> None:
    """Answer a CONNECT with a refusal, session-present 0 (MQTT 3.1.1, 3.2.2-4), and close."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await ConnackPacket.build(0, return_code).to_stream(writer)
    await close(writer)


async def close(writer: WriterAdapter) -> None:
    """Close a connection, whatever state it is in."""
    with contextlib.suppress(OSError, TimeoutError, RuntimeError):
        async with asyncio.timeout(CLOSE_SECONDS):
            await writer.close()


async def abort(handler: BrokerProtocolHandler) -> None:
    """End a connection at once, also one whose client doesn't read what is sent to it."""
    writer = handler.writer
    inner = getattr(writer, "_writer", None) or getattr(writer, "_protocol", None)
    transport = getattr(inner, "transport", None)
    if transport is not None:
        transport.abort()
    await handler.handle_connection_closed()
