"""PUBACK, PUBREC, PUBREL and PUBCOMP from a client, and what each answer waits for."""

from __future__ import annotations

import pytest

from fleetkey.broker.codec import Kind, MalformedPacketError
from fleetkey.broker.handlers import AcknowledgeHandler
from fleetkey.broker.session import Session
from tests.unit.broker.rig import Parts, Sink

PACKET_ID = 7
PUBCOMP = b"\x70\2\0\7"


def _handle(parts: Parts, sink: Sink, session: Session, kind: int, body: bytes = b"\0\7") -> None:
    AcknowledgeHandler(parts.delivery, parts.store).handle(sink, session, kind, body, 0, len(body))


def _remember(parts: Parts, session: Session) -> None:
    session.inbound[PACKET_ID] = 0
    parts.store.add_inbound(session, PACKET_ID)


async def test_release(parts: Parts) -> None:
    """The id is forgotten, and PUBCOMP waits until the store has forgotten it."""
    sink, session = parts.join("a")
    _remember(parts, session)
    await parts.commit()
    _handle(parts, sink, session, Kind.PUBREL)
    assert session.inbound == {}
    assert sink.acknowledged == [(PUBCOMP, parts.store.position)]
    assert parts.store.position > parts.store.committed


async def test_release_unknown(parts: Parts) -> None:
    """An id that isn't known is answered, so that it ends, and there is nothing to wait for."""
    sink, session = parts.join("a")
    await parts.commit()
    _handle(parts, sink, session, Kind.PUBREL)
    ((packet, position),) = sink.acknowledged
    assert packet == PUBCOMP
    assert position <= parts.store.committed


async def test_release_of_clean_session(parts: Parts) -> None:
    """What isn't stored waits for nothing, also while the store fails."""
    sink, session = parts.join("a", clean=True)
    parts.join("other", "x")
    with parts.failing():
        session.inbound[PACKET_ID] = 0
        _handle(parts, sink, session, Kind.PUBREL)
        _handle(parts, sink, session, Kind.PUBREL)
    assert sink.acknowledged == [(PUBCOMP, 0)] * 2


async def test_release_again_while_store_fails(parts: Parts) -> None:
    """The first PUBREL was not answered; nor is the next, before the store has forgotten the id.

    Otherwise the client uses the id for another message, which would be taken for this one after a power cut.
    """
    sink, session = parts.join("a")
    _remember(parts, session)
    await parts.commit()
    with parts.failing():
        _handle(parts, sink, session, Kind.PUBREL)
        assert not await parts.commit()
        _handle(parts, sink, session, Kind.PUBREL)
        assert all(position > parts.store.committed for _, position in sink.acknowledged)
    await parts.settle()
    assert all(position <= parts.store.committed for _, position in sink.acknowledged)


@pytest.mark.parametrize(
    "kind",
    [0, 15, *(kind for kind in Kind if kind not in {Kind.PUBACK, Kind.PUBREC, Kind.PUBREL, Kind.PUBCOMP})],
)
async def test_unexpected(parts: Parts, kind: int) -> None:
    """A second CONNECT, what only a server sends, and reserved types are malformed."""
    sink, session = parts.join("a")
    with pytest.raises(MalformedPacketError):
        _handle(parts, sink, session, kind)


@pytest.mark.parametrize("kind", [Kind.PUBACK, Kind.PUBREC, Kind.PUBREL, Kind.PUBCOMP])
@pytest.mark.parametrize("body", [b"", b"\0", b"\0\7\0"])
async def test_malformed(parts: Parts, kind: Kind, body: bytes) -> None:
    """Not two bytes."""
    sink, session = parts.join("a")
    with pytest.raises(MalformedPacketError):
        _handle(parts, sink, session, kind, body)


async def test_wrong_answer(parts: Parts) -> None:
    """An answer to something else than what was sent is malformed."""
    sink, session = parts.join("a", "x", qos=1)
    parts.publish("x", qos=1)
    with pytest.raises(MalformedPacketError):
        _handle(parts, sink, session, Kind.PUBREC, b"\0\1")
    _handle(parts, sink, session, Kind.PUBACK, b"\0\1")
    assert not session.inflight
