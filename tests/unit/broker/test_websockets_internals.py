"""What the bounds on WebSocket rest on in the websockets library: a release that moves it would undo them silently."""

from __future__ import annotations

import pytest
from websockets.client import ClientProtocol
from websockets.exceptions import PayloadTooBig
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol
from websockets.uri import parse_uri

MAX_BYTES = 100


@pytest.fixture
def protocol() -> ServerProtocol:
    """Return an open connection whose bound was set after the handshake, as ours is after CONNECT."""
    client = ClientProtocol(parse_uri("ws://localhost/"))
    client.send_request(client.connect())
    server = ServerProtocol(max_size=10 * MAX_BYTES)
    server.receive_data(b"".join(client.data_to_send()))
    (request,) = server.events_received()
    assert isinstance(request, Request)
    server.send_response(server.accept(request))
    server.data_to_send()
    server.max_size = MAX_BYTES
    return server


def _header(size: int, *, opcode: Opcode = Opcode.BINARY, is_last: bool = True) -> bytes:
    """Return a masked frame's first bytes, with the first of its payload."""
    assert size < 126
    return bytes([is_last << 7 | opcode, 0x80 | size, 0, 0, 0, 0, 0])


def test_frame_at_the_bound(protocol: ServerProtocol) -> None:
    """As much as is allowed is taken."""
    protocol.receive_data(_header(MAX_BYTES) + bytes(MAX_BYTES - 1))
    (frame,) = protocol.events_received()
    assert isinstance(frame, Frame)
    assert len(frame.data) == MAX_BYTES


def test_frame_beyond_the_bound(protocol: ServerProtocol) -> None:
    """A frame is refused at its header, before its payload is there."""
    protocol.receive_data(_header(MAX_BYTES + 1))
    assert isinstance(protocol.parser_exc, PayloadTooBig)
    assert protocol.close_sent is not None
    assert protocol.close_sent.code == CloseCode.MESSAGE_TOO_BIG


def test_message_beyond_the_bound(protocol: ServerProtocol) -> None:
    """The frames of one message share the bound."""
    protocol.receive_data(_header(MAX_BYTES, is_last=False) + bytes(MAX_BYTES - 1))
    assert protocol.parser_exc is None
    protocol.receive_data(_header(1, opcode=Opcode.CONT))
    assert isinstance(protocol.parser_exc, PayloadTooBig)
