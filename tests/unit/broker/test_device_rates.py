"""Which devices have a rate, what is remembered of them, and what is counted and said."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from fleetkey.access import Principal
from fleetkey.broker import device_rates
from fleetkey.broker.counters import Counters
from fleetkey.broker.device_rates import LASTING_SECONDS, DeviceRate, DeviceRates
from fleetkey.broker.message_rate import BURST_SECONDS, MessageRate
from fleetkey.broker.timed_queue import SLOT_SECONDS
from fleetkey.registry import NO_POLICY, DevicePolicy
from tests.unit.broker.rig import Loop, limits, principal

DEVICE, OTHER = "0" * 23 + "1", "0" * 23 + "2"


class Connection:
    """A connection that notes when it is let go."""

    def __init__(self, loop: Loop) -> None:
        self.loop, self.let_go_at = loop, list[float]()

    def let_go(self) -> None:
        """Note it."""
        self.let_go_at.append(self.loop.now)


class Rig:
    """Rates under some bounds."""

    def __init__(self, **bounds: int) -> None:
        self.loop, self.counters = Loop(), Counters()
        self.loop.now = 1_000.0
        self.rates = DeviceRates(limits(**bounds), self.counters, self.loop.as_loop())
        self.connection = Connection(self.loop)

    def of(self, device_id: str = DEVICE, policy: DevicePolicy = NO_POLICY) -> DeviceRate | None:
        """Return the rate of a device, which got this from its profile."""
        who = principal(device_id, is_device=True)
        who.policy = policy
        return self.rates.of(who)

    def joined(self, device_id: str = DEVICE) -> DeviceRate:
        """Return the rate of a device that has one."""
        rate = self.of(device_id)
        assert rate is not None
        return rate

    def run(self, seconds: float) -> None:
        """Let time pass."""
        for _ in range(round(seconds / SLOT_SECONDS)):
            self.loop.now += SLOT_SECONDS
            self.loop.tick()
            self.loop.settle()
            self.rates.expire(self.loop.now)

    def exceed(self, rate: DeviceRate, seconds: float) -> None:
        """Publish so much that a device has to wait so long."""
        while (wait := rate.take(self.loop.now, 1)) < seconds:
            pass
        self.rates.hold_back(rate, self.connection, wait)


def _shape(rate: MessageRate | None) -> tuple[float, float] | None:
    return (rate._seconds_per_message, rate._seconds_per_byte) if rate is not None else None


@pytest.mark.parametrize(
    ("settings", "policy", "expected"),
    [
        pytest.param((0, 0), NO_POLICY, None, id="none"),
        pytest.param((10, 0), NO_POLICY, (0.1, 0.0), id="settings"),
        pytest.param((10, 100), DevicePolicy(max_messages_per_second=2), (0.5, 0.01), id="profile_in_part"),
        pytest.param((0, 0), DevicePolicy(max_bytes_per_second=4), (0.0, 0.25), id="profile_alone"),
        pytest.param((10, 0), DevicePolicy(max_messages_per_second=0), None, id="profile_without_a_limit"),
    ],
)
def test_of(settings: tuple[int, int], policy: DevicePolicy, expected: Any) -> None:
    """A device's profile comes before the settings, value by value."""
    rig = Rig(max_messages_per_second=settings[0], max_bytes_per_second=settings[1])
    assert _shape(rig.of(policy=policy)) == expected


def test_of_application() -> None:
    """Applications have no rate: they serve the whole fleet."""
    who: Principal = principal("key")
    assert Rig(max_messages_per_second=1, max_bytes_per_second=1).rates.of(who) is None


def test_hold_back() -> None:
    """It is let go when its wait is over; how often and for how long it was held is counted by the setting."""
    rig = Rig(max_messages_per_second=10)
    rate = rig.joined()
    rig.exceed(rate, 2.0)
    rig.run(1.9)
    assert rig.connection.let_go_at == []
    rig.run(0.3)
    (at,) = rig.connection.let_go_at
    assert at >= 1_002.0
    assert rig.counters.bounds == {"max_messages_per_second": 1}
    assert rig.counters.held_back_seconds == {"max_messages_per_second": pytest.approx(at - 1_000.0)}
    assert rate.wait_seconds(rig.loop.now) <= 0


def test_hold_back_flood() -> None:
    """A flood is handled as fast as the rate allows, in few pieces."""
    rig, seconds, per_second = Rig(max_messages_per_second=1_000), 10, 1_000
    rate, taken, may_read = rig.joined(), 0, 0
    for _ in range(round(seconds / SLOT_SECONDS)):
        if len(rig.connection.let_go_at) >= may_read:
            while (wait := rate.take(rig.loop.now, 1)) <= 0:
                taken += 1
            taken += 1
            rig.rates.hold_back(rate, rig.connection, wait)
            may_read += 1
        rig.run(SLOT_SECONDS)
    assert (seconds - 0.5) * per_second <= taken <= (seconds + BURST_SECONDS) * per_second + 1
    assert rig.counters.bounds["max_messages_per_second"] <= 10 * seconds + 1


def test_leave() -> None:
    """The next connection goes on where the last one was, however often it reconnects; a full bucket is forgotten."""
    rig = Rig(max_messages_per_second=10)
    for _ in range(1_000):
        rate = rig.joined()
        rig.exceed(rate, 5.0)
        rig.rates.leave(rate)
    assert rig.connection.let_go_at == []
    assert (len(rig.rates._away), len(rig.rates._held)) == (1, 0)
    assert rig.joined() is rate
    rig.rates.leave(rate)
    rig.loop.now += 1_000
    rig.rates.expire(rig.loop.now)
    assert not rig.rates._away
    fresh = rig.joined()
    assert fresh is not rate
    rig.rates.leave(fresh)
    assert not rig.rates._away


def test_leave_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """So many are remembered; beyond that, the one that left first is forgotten."""
    monkeypatch.setattr(device_rates, "MAX_AWAY", 3)
    rig = Rig(max_messages_per_second=10)
    left = {f"{number:024}": rig.joined(f"{number:024}") for number in range(5)}
    for rate in left.values():
        rate.take(rig.loop.now, 1)
        rig.rates.leave(rate)
    assert [rig.joined(device_id) is rate for device_id, rate in left.items()] == [False, False, True, True, True]


def test_log() -> None:
    """A device that is over its rate for long is logged once, and once more when it isn't any longer."""
    rig = Rig(max_messages_per_second=10)
    rate = rig.joined()
    with capture_logs() as lines:
        for _ in range(30):
            rig.exceed(rate, 0.5)
            rig.run(1)
        assert [line["event"] for line in lines] == ["device_over_rate"]
        assert (lines[0]["device_id"], lines[0]["bound"]) == (DEVICE, "max_messages_per_second")
        rig.run(LASTING_SECONDS - 1)
        assert len(lines) == 1
        rig.run(2)
    assert [line["event"] for line in lines] == ["device_over_rate", "device_within_rate"]
    assert lines[1]["device_id"] == DEVICE
    assert lines[1]["over_seconds"] == pytest.approx(29.5, abs=0.2)
    assert lines[1]["held_seconds"] == pytest.approx(15, abs=2)


def test_log_nothing() -> None:
    """A device that is over its rate now and then is counted and not logged."""
    rig = Rig(max_messages_per_second=10)
    rate = rig.joined()
    with capture_logs() as lines:
        for _ in range(5):
            rig.exceed(rate, 1)
            rig.run(LASTING_SECONDS + 2)
    assert lines == []
    assert rig.counters.bounds == {"max_messages_per_second": 5}


def test_log_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only so many devices are logged as over their rate at once, each with both lines."""
    monkeypatch.setattr(device_rates, "MAX_LOGGED", 2)
    rig = Rig(max_messages_per_second=10)
    with capture_logs() as lines:
        for number in range(5):
            rig.exceed(rig.joined(f"{number:024}"), 2 * LASTING_SECONDS)
        assert [line["event"] for line in lines] == ["device_over_rate"] * 2
        rig.run(4 * LASTING_SECONDS)
        assert [line["event"] for line in lines] == ["device_over_rate"] * 2 + ["device_within_rate"] * 2
        rig.exceed(rig.joined(OTHER), 2 * LASTING_SECONDS)
    assert lines[-1]["device_id"] == OTHER
