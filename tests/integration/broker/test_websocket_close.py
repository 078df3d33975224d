"""The closing handshake of a WebSocket that the broker closes (RFC 6455, 7.1.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.broker import lingering
from tests.integration.broker.broker_rig import running
from tests.support.packets import connect
from tests.support.streams import CLOSE_FRAME, NORMAL, PING_FRAME, UPGRADE, TcpStream, frame, frames_of
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_client_that_answers_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its close frame is found behind many others, which aren't answered, without a timeout."""
    monkeypatch.setattr(lingering, "LINGER_SECONDS", 3_600.0)
    with running(tmp_path, ws_bind="127.0.0.1:0") as (fleet, broker):
        device, port = fleet.device(), broker.port_of("ws")
        assert port is not None
        hello = connect(device.client_id, username=device.key, password=device.secret)
        with TcpStream(port, UPGRADE + frame(hello)) as stream:
            received = b""
            while not received.endswith(b"\x20\x02\x00\x00"):
                received += stream.receive()
            stream.send(frame(b"\xe0\0") + frame(b"x", PING_FRAME) * 1_000 + frame(NORMAL, CLOSE_FRAME))
            rest = b""
            while part := stream.receive():
                rest += part
            assert [first for first, _ in frames_of(rest)] == [CLOSE_FRAME]
            assert eventually(lambda: len(broker.core.connections) == 0)
        monkeypatch.undo()
