"""Who has a place for a TLS handshake, and whose is cut for whom."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from fleetkey.operations import Descriptors
from fleetkey.tls import Handshakes
from fleetkey.tls.handshakes import Handshake

LOOPBACK = "127.0.0.1"


class Rig:
    """Handshakes, who has one, and who was cut."""

    def __init__(self, *, most: int = 4, most_per_address: int = 0, reserved: int = 2) -> None:
        self.descriptors = Descriptors()
        self.handshakes = Handshakes(
            "http",
            self.descriptors,
            most=most,
            most_per_address=most_per_address,
            exempt=lambda address: address == "198.51.100.1",
            reserved=reserved,
            may_reserve=lambda address: address == LOOPBACK,
        )
        self.under_way: dict[Handshake, str] = {}
        self.cut: list[tuple[str, int]] = []
        self._number = 0

    def begin(self, address: str) -> Handshake | None:
        """Accept a connection; number it from its address."""
        handshake = self.handshakes.begun(address, 3)
        if handshake is not None:
            self._number += 1
            number = self._number
            self.under_way[handshake] = address
            handshake.when_cut(lambda: self._on_cut(handshake, number))
        return handshake

    def end(self, handshake: Handshake) -> None:
        """End one, as a listener does: also one that was cut."""
        self.under_way.pop(handshake, None)
        self.handshakes.ended(handshake)

    def _on_cut(self, handshake: Handshake, number: int) -> None:
        self.cut.append((self.under_way.pop(handshake), number))


def test_begun_at_bound_of_all() -> None:
    """An address that has the most gives its oldest to one with fewer, until they have as many."""
    rig = Rig()
    greedy = [rig.begin("192.0.2.1") for _ in range(4)]
    assert all(greedy)
    assert rig.begin("192.0.2.2") is not None
    assert rig.begin("192.0.2.3") is not None
    assert rig.cut == [("192.0.2.1", 1), ("192.0.2.1", 2)]
    # Two, one and one: nobody would have fewer than the other by it.
    assert rig.begin("192.0.2.3") is None
    assert rig.begin("192.0.2.1") is None
    assert rig.handshakes.count == 4
    assert rig.descriptors.bounds == {"http_handshakes": 4}


def test_begun_at_bound_among_equals() -> None:
    """Where everyone has one, nobody is cut, or a fleet that comes back at once would never finish."""
    rig = Rig()
    assert all(rig.begin(f"192.0.2.{number}") for number in range(4))
    assert rig.begin("192.0.2.9") is None
    assert rig.cut == []


def test_begun_same_network() -> None:
    """IPv6 addresses of one /64 are one."""
    rig = Rig()
    assert all(rig.begin(f"2001:db8::{number}") for number in range(1, 5))
    assert rig.begin("2001:db8::9") is None
    assert rig.begin("2001:db8:0:1::1") is not None
    assert rig.cut == [("2001:db8::1", 1)]


def test_begun_at_bound_of_address() -> None:
    """An address at its own bound takes nobody's place, unless it has no such bound."""
    rig = Rig(most_per_address=1)
    assert rig.begin("192.0.2.1") is not None
    assert rig.begin("192.0.2.1") is None
    assert rig.descriptors.bounds == {"http_handshakes_per_address": 1}
    assert all(rig.begin("198.51.100.1") for _ in range(3))


@pytest.mark.parametrize("most_per_address", [pytest.param(0, id="all"), pytest.param(4, id="address")])
def test_begun_reserved(most_per_address: int) -> None:
    """From loopback one begins at every bound, in a place of its own; the oldest of those gives way to a newer one."""
    rig = Rig(most_per_address=most_per_address)
    assert all(rig.begin(LOOPBACK if most_per_address else f"192.0.2.{number}") for number in range(4))
    reserved = [rig.begin(LOOPBACK) for _ in range(3)]
    assert all(reserved)
    assert rig.cut == [(LOOPBACK, 5)]
    assert rig.handshakes.count == 6
    # A stranger has none of them.
    assert rig.begin("192.0.2.9") is None or most_per_address
    assert len(rig.handshakes._reserved) == 2


def test_ended() -> None:
    """A place is free when its handshake ends, once, however often that is told, and after it was cut too."""
    rig = Rig(most=2)
    first, second = rig.begin("192.0.2.1"), rig.begin("192.0.2.1")
    assert first is not None
    assert second is not None
    assert rig.begin("192.0.2.2") is not None
    for _ in range(2):
        rig.end(first)
    assert rig.handshakes.count == 2
    rig.end(second)
    assert rig.begin("192.0.2.3") is not None
    assert rig.handshakes.count == 2


@pytest.mark.parametrize("seed", range(5))
def test_begun_at_random(seed: int) -> None:
    """However they come and go, none is cut but for one with two fewer, and nothing is left of them in the end."""
    chance, rig = random.Random(seed), Rig(most=20)
    addresses = [f"192.0.2.{number}" for number in range(8)]
    for _ in range(2_000):
        before = Counter(rig.under_way.values())
        if rig.under_way and chance.random() < 0.4:
            rig.end(chance.choice(list(rig.under_way)))
            continue
        address = addresses[min(int(chance.expovariate(0.5)), 7)]
        rig.cut.clear()
        begun = rig.begin(address)
        most = max(before.values(), default=0)
        is_full = sum(before.values()) == 20
        assert (begun is not None) is (not is_full or most > before[address] + 1)
        assert [before[cut] for cut, _ in rig.cut] == ([most] if is_full and begun is not None else [])
        assert rig.handshakes.count == len(rig.under_way) <= 20
    for handshake in list(rig.under_way):
        rig.end(handshake)
    assert rig.handshakes.count == rig.handshakes._highest == 0
    assert not rig.handshakes._of
    assert not rig.handshakes._with
