"""What the broker keeps of clients that haven't proven who they are is what it charges them for, and is bounded."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

from fleetkey.broker import connection_limits
from fleetkey.broker.admission import Admission
from fleetkey.broker.codec import Reason
from fleetkey.broker.transport.websocket import WebSocket
from tests.integration.broker.broker_rig import running
from tests.support.packets import connect, publish
from tests.support.streams import UPGRADE, TcpStream, frame
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fleetkey.broker import FleetkeyBroker

BEHIND = publish("devices/x/y", bytes(80)) * 200
"""What a client sends before it is answered."""
INCOMPLETE = publish("x", bytes(60_000))[:20_000]
"""The beginning of a packet."""
LOG_IN = connect("x" * 24, username="f" * 32, password="f" * 64)


@pytest.fixture
def hosted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FleetkeyBroker]:
    """Run a broker that answers no CONNECT, over TCP and WebSocket."""

    async def decide(*_: object) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr(Admission, "decide", decide)
    with running(tmp_path, ws_bind="127.0.0.1:0", connect_timeout_seconds=60.0) as (_, broker):
        yield broker


def _in_its_loop(broker: FleetkeyBroker, look: Any) -> Any:
    async def call() -> Any:
        return look(broker)

    return asyncio.run_coroutine_threadsafe(call(), broker.core.scheduler.loop).result(10)


def _kept(broker: FleetkeyBroker) -> tuple[int, int]:
    """Return the bytes that are kept of all connections, in how many buffers."""
    buffers = []
    for connection in broker.core.connections._connections:
        assert hasattr(connection, "_backlog")
        assert hasattr(connection, "_backlog_at")
        buffers.append(len(connection._backlog) - connection._backlog_at)
        if isinstance(connection.transport, WebSocket):
            buffers.append(connection.transport._protocol.held_bytes)
    return sum(buffers), sum(1 for size in buffers if size > 0)


def _charged(broker: FleetkeyBroker) -> int:
    return broker.core.connections._held_bytes


def _charged_when_all_are_gone(broker: FleetkeyBroker) -> int:
    for connection in list(broker.core.connections._connections):
        connection.abort(Reason.CONNECT_TIMEOUT)
    return _charged(broker)


def _is_charged_for(broker: FleetkeyBroker, buffers: int, least: int) -> bool:
    def look(_: object) -> bool:
        kept, count = _kept(broker)
        return count == buffers and kept >= least and kept == _charged(broker)

    return bool(_in_its_loop(broker, look))


def test_both_buffers(hosted: FleetkeyBroker) -> None:
    """Of a WebSocket client, what waits as frames and what waits as packets counts together; nothing is left of it."""
    port = hosted.port_of("ws")
    assert port is not None
    with TcpStream(port, UPGRADE + frame(LOG_IN + BEHIND[:300]) + frame(BEHIND)):
        assert eventually(lambda: _is_charged_for(hosted, 2, len(BEHIND)))
    assert _in_its_loop(hosted, _charged_when_all_are_gone) == 0


def test_unfinished_frame(hosted: FleetkeyBroker) -> None:
    """What came of a frame counts until the frame is complete."""
    port = hosted.port_of("ws")
    assert port is not None
    part = frame(bytes(60_000))[:10_000]
    with TcpStream(port, UPGRADE) as stream:
        assert stream.receive()
        header_bytes = 8
        for sent in range(1, 4):
            stream.send(part if sent == 1 else bytes(len(part)))
            charge = len(part) * sent - header_bytes
            assert eventually(lambda: _in_its_loop(hosted, _charged) == charge)  # noqa: B023 - called at once
    assert _in_its_loop(hosted, _charged_when_all_are_gone) == 0


@pytest.mark.parametrize(
    ("listener", "data"),
    [
        pytest.param("tcp", LOG_IN + BEHIND, id="packets"),
        pytest.param("tcp", LOG_IN + INCOMPLETE, id="incomplete_packet"),
        pytest.param("ws", UPGRADE + frame(LOG_IN + BEHIND), id="frames"),
        pytest.param("ws", UPGRADE + frame(BEHIND)[:-1], id="unfinished_frame"),
        pytest.param("ws", UPGRADE[:-4] + b"\r\nX: " + bytes(8_000).replace(b"\0", b"x"), id="upgrade"),
    ],
)
def test_bound(hosted: FleetkeyBroker, monkeypatch: pytest.MonkeyPatch, listener: str, data: bytes) -> None:
    """At the bound on all of them, the next one is closed; those before it stay, and it is said and counted."""
    monkeypatch.setattr(connection_limits, "MAX_PENDING_BYTES", 3 * len(data))
    port = hosted.port_of(listener)
    assert port is not None
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(TcpStream(port, data))
        assert eventually(lambda: _in_its_loop(hosted, _charged) > 2.7 * len(data))
        further = stack.enter_context(TcpStream(port, data))
        read = b""
        try:
            while part := further.receive():
                read += part
        except ConnectionError:
            pass
        assert b"\x20\x02" not in read
        assert _in_its_loop(hosted, lambda _: len(hosted.core.connections)) == 3
        assert hosted.core.counters.bounds["pending_bytes"] == 1
    assert _in_its_loop(hosted, _charged_when_all_are_gone) == 0
