"""Exactly once means once across a kill -9 as well, at whatever step of the handshake it comes."""

from __future__ import annotations

import random
import time
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from tests.support.exactly_once import Receiver, Sender
from tests.support.fleet import running
from tests.support.packets import Kind, acknowledgement, publish
from tests.support.versions import only_5
from tests.support.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fleet import Credentials, Fleet


ROUNDS = 8
ADVANCE = 5


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run a server that its tests kill."""
    with running(tmp_path_factory.mktemp("server")) as fleet:
        yield fleet


def _queue(fleet: Fleet, who: Credentials, device: Credentials, payloads: list[bytes]) -> None:
    """Let messages wait for a session, whose packet ids have gone on a little."""
    with Wire.to(fleet) as wire, Wire.to(fleet) as sender:
        wire.enter(who, clean=False).subscribe(device.topic("state"), qos=2)
        sender.enter(device)
        for _ in range(ADVANCE):
            sender.publish(device.topic("state"), b"earlier", qos=2)
        assert len(wire.hear(ADVANCE)) == ADVANCE
        wire.disconnect()
        for payload in payloads:
            sender.publish(device.topic("state"), payload, qos=2)


def test_kill_after_publish_was_sent(fleet: Fleet) -> None:
    """A receiver that has a message, unacknowledged, gets it again under the same id, or it would take it twice."""
    device, who = fleet.device(), fleet.application()
    payloads = [b"a", b"b", b"c"]
    _queue(fleet, who, device, payloads)
    with Wire.to(fleet) as wire:
        wire.enter(who, clean=False)
        first = wire.hear(3, acknowledges=False)
        fleet.server.kill9()
    fleet.server.start()
    with Wire.to(fleet) as wire:
        assert wire.enter(who, clean=False).is_session_present
        again = wire.hear(3)
        assert [(m.payload, m.number) for m in again] == [(m.payload, m.number) for m in first]
        assert [message.payload for message in first] == payloads


def test_kill_after_pubrel_was_sent(fleet: Fleet) -> None:
    """A receiver that has seen PUBREL has let go of the id: the message may not come again."""
    device, who = fleet.device(), fleet.application()
    _queue(fleet, who, device, [b"once"])
    with Wire.to(fleet) as wire:
        (first,) = wire.enter(who, clean=False).hear(acknowledges=False)
        # The message's own number has long been noted when the receiver answers.
        time.sleep(0.1)
        wire.ask(acknowledgement(Kind.PUBREC, first.number), Kind.PUBREL)
        fleet.server.kill9()
    fleet.server.start()
    with Wire.to(fleet) as wire:
        assert wire.enter(who, clean=False).is_session_present
        assert wire.publications() == []


def test_kill_after_pubcomp_was_sent(fleet: Fleet) -> None:
    """A sender that has seen PUBCOMP may use the id for another message, which is delivered."""
    device, who = fleet.device(), fleet.application()
    state = device.topic("state")
    with Wire.to(fleet) as wire:
        wire.enter(who, clean=False).subscribe(state, qos=2)
        wire.disconnect()
    with Wire.to(fleet) as sender:
        sender.enter(device, clean=False).ask(publish(state, b"one", qos=2, number=7), Kind.PUBREC)
        time.sleep(0.1)
        sender.ask(acknowledgement(Kind.PUBREL, 7), Kind.PUBCOMP)
        fleet.server.kill9()
    fleet.server.start()
    with Wire.to(fleet) as sender, Wire.to(fleet) as wire:
        assert sender.enter(device, clean=False).is_session_present
        sender.ask(publish(state, b"two", qos=2, number=7), Kind.PUBREC)
        sender.ask(acknowledgement(Kind.PUBREL, 7), Kind.PUBCOMP)
        wire.enter(who, clean=False)
        assert [message.payload for message in wire.hear(2)] == [b"one", b"two"]


@only_5
def test_exactly_once_through_kills(fleet: Fleet) -> None:
    """Eight kills at random moments of a stream of handshakes, and lost connections between: each message once."""
    device, away = fleet.device(), fleet.application()
    payloads = [b"%d" % number for number in range(30 * ROUNDS)]
    chance = random.Random(7)
    receiver = Receiver(fleet, away, device.topic("state"))
    sender = Sender(fleet, device, device.topic("state"), payloads)
    with closing(receiver), closing(sender):
        for _ in range(ROUNDS):
            for _ in range(chance.randrange(10, 50)):
                sender.step(chance, 0.05)
                receiver.take(chance, 0.05)
            if chance.random() < 0.5:
                sender.step()
            fleet.server.kill9()
            receiver.close()
            sender.close()
            fleet.server.start()
        for _ in range(4 * len(payloads)):
            sender.step()
            receiver.take()
            if sender.is_done and len(receiver.delivered) >= len(payloads):
                break
        receiver.take()
        assert receiver.delivered == payloads
