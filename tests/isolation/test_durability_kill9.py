"""Whatever was acknowledged is there after a kill -9 at any moment of a load."""

from __future__ import annotations

import random
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.fleet import running
from tests.support.packets import Kind, publish
from tests.support.versions import only_3_1_1, only_5
from tests.support.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fleet import Credentials, Fleet


ROUNDS = 10
WINDOW = 20
MOST_PER_ROUND = 4_000
QUEUE = 20_000


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run a server whose queues are long enough for a round."""
    folder = tmp_path_factory.mktemp("server")
    with running(folder, max_queued_messages=QUEUE, max_queued_bytes=QUEUE * 1000) as fleet:
        yield fleet


class _Publisher(threading.Thread):
    """Publishes numbers at QoS 1, a window at a time, until its connection ends; notes which were acknowledged."""

    def __init__(self, wire: Wire, topic: str, first: int) -> None:
        super().__init__(daemon=True)
        self._wire, self._topic, self._next = wire, topic, first
        self.acknowledged: list[int] = []

    def run(self) -> None:
        """Publish."""
        open_numbers: dict[int, int] = {}
        try:
            for _ in range(MOST_PER_ROUND):
                while len(open_numbers) < WINDOW:
                    number = self._wire.new_number()
                    open_numbers[number] = self._next
                    self._wire.send(publish(self._topic, b"%d" % self._next, qos=1, number=number))
                    self._next += 1
                answer = self._wire.find(Kind.PUBACK)
                if answer is None:
                    return
                self.acknowledged.append(open_numbers.pop(int.from_bytes(answer.body, "big")))
        except ConnectionError:
            return


@only_5
def test_kill9_under_load_for_an_absent_session(fleet: Fleet) -> None:
    """Ten kills under a stream of QoS 1 messages: every acknowledged one is delivered afterwards, in order."""
    device, away = fleet.device(), fleet.application()
    state = device.topic("state")
    chance = random.Random(9)
    with Wire.to(fleet) as wire:
        wire.enter(away, clean=False).subscribe(state, qos=1)
        wire.disconnect()
    total = 0
    for number in range(ROUNDS):
        acknowledged = _kill_under_load(fleet, device, state, number * 100_000, chance.uniform(0.02, 0.25))
        fleet.server.start()
        heard = _take_all(fleet, away)
        missing = set(acknowledged) - set(heard)
        assert not missing, f"round {number}: {len(missing)} of {len(acknowledged)} lost, such as {min(missing)}"
        assert heard == sorted(heard)
        total += len(acknowledged)
    assert total > ROUNDS * WINDOW


def _kill_under_load(fleet: Fleet, device: Credentials, topic: str, first: int, seconds: float) -> list[int]:
    with Wire.to(fleet) as wire:
        publisher = _Publisher(wire.enter(device), topic, first)
        publisher.start()
        time.sleep(seconds)
        fleet.server.kill9()
        publisher.join(10)
        assert not publisher.is_alive()
        return publisher.acknowledged


def _take_all(fleet: Fleet, who: Credentials) -> list[int]:
    with Wire.to(fleet) as wire:
        assert wire.enter(who, clean=False).is_session_present
        heard = [int(message.payload) for message in wire.hear(QUEUE, seconds=0.5)]
        wire.disconnect()
    return heard


@only_3_1_1
def test_kill9_after_a_subscription_was_granted(fleet: Fleet) -> None:
    """A SUBACK, an UNSUBACK and a retained message's PUBACK hold from the moment at which they come."""
    device = fleet.device()
    for number in range(3):
        with Wire.to(fleet) as wire:
            wire.enter(device, clean=False).subscribe(device.topic(f"command/{number}"), qos=1)
            fleet.server.kill9()
        fleet.server.start()
        with Wire.to(fleet) as wire:
            assert wire.enter(device, clean=False).is_session_present
            wire.publish(device.topic(f"command/{number}"), b"heard", qos=1)
            assert [message.payload for message in wire.hear()] == [b"heard"]
            wire.publish(device.topic("state"), b"%d" % number, qos=1, retain=True)
            fleet.server.kill9()
        fleet.server.start()
        with Wire.to(fleet) as wire:
            wire.enter(device, clean=False).subscribe(device.topic("state"), qos=0)
            assert [message.payload for message in wire.hear()][-1:] == [b"%d" % number]
            wire.disconnect()
