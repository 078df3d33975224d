"""What a client that reads slowly is owed: in order, and a part per turn."""

from __future__ import annotations

from typing import Any

import pytest

from fleetkey.broker.scheduler import Scheduler
from fleetkey.broker.transport.outbound import DRAIN_BYTES, OutboundStream, State
from tests.unit.broker.rig import Loop, Observer, Transport


class SlowTransport(Transport):
    """Sends nothing until it is told to, and then everything at once."""

    def __init__(self, stream: OutboundStream) -> None:
        super().__init__()
        self.is_full = True
        self._stream = stream

    def write(self, data: bytes) -> None:
        """Keep it; if it can't be sent, more is to wait."""
        super().write(data)
        if self.is_full:
            self._stream.pause_writing()


@pytest.fixture
def loop() -> Loop:
    """A loop that the test turns."""
    return Loop()


def _stream(loop: Loop) -> tuple[OutboundStream, SlowTransport]:
    stream = OutboundStream(Scheduler(loop.as_loop()), Observer(), 100 * DRAIN_BYTES)
    transport: Any = SlowTransport(stream)
    stream._use(transport)
    stream.state = State.OPEN
    return stream, transport


def test_drain_a_part_per_turn(loop: Loop) -> None:
    """Once the client reads again, each turn hands over a part; what is sent meanwhile comes behind all of it."""
    stream, transport = _stream(loop)
    stream.send(b"first")
    loop.settle()
    held = bytes(10 * DRAIN_BYTES)
    stream.send(held)
    assert transport.written == b"first"
    transport.is_full = False
    stream.resume_writing()
    written, is_more_sent = len(transport.written), False
    while loop.due:
        loop.turn()
        assert len(transport.written) - written <= DRAIN_BYTES
        written = len(transport.written)
        if not is_more_sent and written > 3 * DRAIN_BYTES:
            stream.send(b"last")
            is_more_sent = True
    assert transport.written == b"first" + held + b"last"


def test_drain_until_the_transport_is_full(loop: Loop) -> None:
    """If the transport can't send a part at once, the next one waits until it has."""
    stream, transport = _stream(loop)
    stream.send(b"first")
    loop.settle()
    stream.send(bytes(3 * DRAIN_BYTES))
    for parts in range(1, 4):
        stream.resume_writing()
        loop.settle()
        assert len(transport.written) == len(b"first") + parts * DRAIN_BYTES
