"""A connection that is held back: nothing of it is read or handled until it is let go, then all of it in order."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest

from fleetkey.broker.codec import Reason
from fleetkey.broker.connection import Connection
from fleetkey.broker.transport.outbound import State
from tests.support.packets import publish
from tests.unit.broker.amqtt.engine_rig import DEVICE, EngineRig, new_engine
from tests.unit.broker.rig import Transport, connect, principal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PINGREQ, PINGRESP = b"\xc0\0", b"\xd0\0"


class Socket(Transport):
    """A transport that notes whether it reads."""

    is_reading = True

    def pause_reading(self) -> None:
        """Note it."""
        self.is_reading = False

    def resume_reading(self) -> None:
        """Note it."""
        self.is_reading = True


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[EngineRig]:
    """Run an engine whose devices may publish one message per second."""
    engine = new_engine(tmp_path, max_messages_per_second=1)
    await engine.start()
    yield EngineRig(engine)
    await engine.stop()


def _enter(rig: EngineRig, *, is_device: bool = True) -> Connection:
    """Let a client in."""
    connection = rig.core.connection("tcp", is_websocket=False)
    assert isinstance(connection, Connection)
    connection.connection_made(cast("asyncio.Transport", Socket()))
    who = principal(DEVICE if is_device else "key", is_device=is_device)
    opened = rig.core.sessions.open(connection, connect(), who, who.owner)
    connection.accept(opened.session, who, connect())
    connection.open(None)
    return connection


def _socket(connection: Connection) -> Socket:
    return cast("Socket", connection.transport)


def _payloads(number: int, count: int) -> bytes:
    return b"".join(publish("x", b"%d" % each) for each in range(number, number + count))


async def test_held_back(rig: EngineRig) -> None:
    """What comes at once, what comes in pieces meanwhile, and a PINGREQ wait; in the end all of it is heard."""
    sink, _ = rig.join("1" * 24, "x")
    connection = _enter(rig)
    connection.data_received(_payloads(0, 4) + PINGREQ)
    assert sink.payloads() == [b"0", b"1"]
    assert connection.held_back_by
    assert not _socket(connection).is_reading
    late = _payloads(4, 2)
    for position in range(len(late)):
        connection.data_received(late[position : position + 1])
    for number in range(2, 6):
        assert sink.payloads() == []
        connection._rate._messages_full_at = 0.0 if number == 5 else 1e12  # type: ignore[union-attr] # replenished, or not
        connection.let_go()
        assert sink.payloads() == [b"%d" % number]
        assert bool(connection.held_back_by) is (number < 5)
        assert _socket(connection).is_reading is (number == 5)
    await asyncio.sleep(0)
    assert _socket(connection).written == PINGRESP
    connection.close(Reason.CLIENT_DISCONNECTED)


async def test_fast_path(rig: EngineRig) -> None:
    """The fast path, which doesn't count, isn't for devices with a rate, nor for applications with many connections."""
    device, application = _enter(rig), _enter(rig, is_device=False)
    for connection in (device, application):
        connection.data_received(publish("x"))
        assert connection._last_route is None
    device._rate = None
    device.data_received(publish("x"))
    assert device._last_route is not None


async def test_other_reasons_to_wait(rig: EngineRig) -> None:
    """Whatever else the connection waited for, it goes on waiting until it is let go, and the other way round."""
    sink, _ = rig.join("1" * 24, "x")
    connection = _enter(rig)
    connection.data_received(_payloads(0, 3))
    connection.suspend()
    connection.proceed()
    assert sink.payloads() == [b"0", b"1"]
    assert not _socket(connection).is_reading
    connection.suspend()
    connection.let_go()
    assert sink.payloads() == []
    assert not _socket(connection).is_reading
    connection._rate._messages_full_at = 0.0  # type: ignore[union-attr] # replenished
    connection.proceed()
    assert sink.payloads() == [b"2"]
    assert _socket(connection).is_reading


async def test_keep_alive(rig: EngineRig) -> None:
    """Its silence counts from when it is let go."""
    connection = _enter(rig)
    connection.keep_alive_seconds = 1.5
    connection.data_received(_payloads(0, 2))
    now = rig.core.scheduler.loop.time()
    # As if it had been held back for that long.
    connection.last_heard = now - 1_000
    rig.core.connections.expire(now)
    assert connection.state is State.OPEN
    connection.let_go()
    rig.core.connections.expire(now)
    assert connection.state is State.OPEN


@pytest.mark.parametrize("is_lost_first", [True, False])
async def test_next_connection(rig: EngineRig, *, is_lost_first: bool) -> None:
    """Who used up its rate is let in and then held back at once; who is gone isn't let go."""
    sink, _ = rig.join("1" * 24, "x")
    first = _enter(rig)
    first.data_received(_payloads(0, 2))
    if is_lost_first:
        first.connection_lost(None)
    second = _enter(rig)
    assert second.held_back_by
    assert not _socket(second).is_reading
    assert second.session is not None
    second.data_received(_payloads(2, 1))
    assert sink.payloads() == [b"0", b"1"]
    assert len(rig.core.parts.rates._held) == 1
    second.abort(Reason.REVOKED)
    assert len(rig.core.parts.rates._held) == 0
