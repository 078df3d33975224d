"""How many connections are accepted in a turn of the event loop: a number, not a time."""

from __future__ import annotations

import asyncio
import socket
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
import uvloop

from fleetkey.listening import ACCEPTS_PER_TURN, PlainListener

if TYPE_CHECKING:
    from collections.abc import Callable

CLIENTS = 10 * ACCEPTS_PER_TURN
TURNS_OF_ONE_ROUND = 2
"""What came and what had waited, when both fall into one round of the event loop."""


async def _rounds() -> list[int]:
    """Connect many clients while the loop does nothing; return how many were accepted in each round from then on."""
    accepted: list[asyncio.BaseTransport] = []

    class Connection(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            accepted.append(transport)

    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listener = await PlainListener.start(Connection, [listening], backlog=CLIENTS)
    address = next(iter(listener.sockets)).getsockname()
    clients = [socket.create_connection(address) for _ in range(CLIENTS)]
    rounds: list[int] = []
    async with asyncio.timeout(20):
        while len(accepted) < CLIENTS:
            before = len(accepted)
            await asyncio.sleep(0)
            rounds.append(len(accepted) - before)
    assert listener.is_serving()
    listener.close()
    assert not listener.is_serving()
    assert not listener.sockets
    for transport, client in zip(accepted, clients, strict=True):
        transport.close()
        client.close()
    await listener.wait_closed()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
    return [count for count in rounds if count]


@pytest.mark.parametrize("new_loop", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_accepts(new_loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Of connections that come together, several are accepted in a turn, and no more than that."""
    with asyncio.Runner(loop_factory=new_loop) as runner:
        rounds = runner.run(_rounds())
    assert max(rounds) <= TURNS_OF_ONE_ROUND * ACCEPTS_PER_TURN
    assert len(rounds) <= TURNS_OF_ONE_ROUND * CLIENTS // ACCEPTS_PER_TURN


async def test_start_fails() -> None:
    """If a socket can't be listened on, none is, and all are closed."""
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        free, same = socket.socket(), socket.socket()
        free.bind(("127.0.0.1", 0))
        address = free.getsockname()
        same.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        same.connect(taken.getsockname())
        with pytest.raises(OSError, match="Invalid argument"):
            await PlainListener.start(asyncio.Protocol, [free, same], backlog=1)
        assert (free.fileno(), same.fileno()) == (-1, -1)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(address)
