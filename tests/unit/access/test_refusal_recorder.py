"""Refusals are counted at once and recorded in batches, within bounds; who is known isn't displaced by strangers."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from fleetkey.access import RefusalRecorder
from fleetkey.access.protection import refusal_recorder
from fleetkey.access.protection.refusal_recorder import (
    COUNT_BYTES,
    MAX_KNOWN,
    MAX_OF_ADDRESS,
    MAX_STRANGERS,
    MAX_STRANGERS_BYTES,
)
from fleetkey.registry import RefusalIncrement, RefusalListener, RefusalReason, RefusalStage, StoreBusyError
from tests.unit.access.access_rig import until
from tests.unit.registry.store_rig import FakeClock

if TYPE_CHECKING:
    from collections.abc import Sequence

ADDRESS = "192.0.2.1"
DEVICE = "0" * 24


class Records:
    """What would be written; the registry may be locked."""

    def __init__(self) -> None:
        self.added: list[RefusalIncrement] = []
        self.batches: list[int] = []
        self.is_locked = False

    def add(self, increments: Sequence[RefusalIncrement]) -> None:
        """Add, unless it is locked."""
        if self.is_locked:
            msg = "locked"
            raise StoreBusyError(msg)
        self.batches.append(len(increments))
        self.added += increments


@pytest.fixture
def records() -> Records:
    """Nothing is written yet."""
    return Records()


@pytest.fixture
def clock() -> FakeClock:
    """The registry's clock."""
    return FakeClock()


@pytest.fixture
def recorder(records: Records, clock: FakeClock) -> RefusalRecorder:
    """A recorder that writes only when it is closed."""
    return RefusalRecorder(records.add, now=clock, flush_seconds=1e9)


def note(recorder: RefusalRecorder, address: str = ADDRESS, **details: Any) -> None:
    """Have an unknown key refused, unless told otherwise."""
    stage = details.pop("stage", RefusalStage.CONNECT)
    reason = details.pop("reason", RefusalReason.UNKNOWN_KEY)
    recorder.note(stage, reason, RefusalListener.MQTT, address, **details)


async def test_note_repeated(recorder: RefusalRecorder, records: Records, clock: FakeClock) -> None:
    """Refusals of one client for one reason are one increment, with the first and last time and the last claims."""
    began = clock.milliseconds
    for number in range(1_000):
        note(recorder, key="k", topic=f"t{number}", detail=str(number))
        clock.advance(1)
    await recorder.close()
    (increment,) = records.added
    assert (increment.count, increment.first_at, increment.last_at) == (1_000, began, began + 999_000)
    assert (increment.key, increment.topic, increment.detail) == ("k", "t999", "999")
    assert increment.claimant == "key:k"
    assert recorder.counts == {(RefusalStage.CONNECT, RefusalReason.UNKNOWN_KEY): 1_000}


@pytest.mark.parametrize(
    ("claims", "claimant"),
    [
        ({"serial": "S1"}, "serial:S1"),
        ({"key": "k", "client_id": "c"}, "key:k"),
        ({"client_id": "c"}, "client:c"),
        ({"client_id": ""}, f"address:{ADDRESS}"),
        ({}, f"address:{ADDRESS}"),
    ],
)
async def test_claimant(recorder: RefusalRecorder, records: Records, claims: dict[str, str], claimant: str) -> None:
    """A stranger is told from others by what it claims, or else by its address."""
    note(recorder, **claims)
    await recorder.close()
    assert [one.claimant for one in records.added] == [claimant]


async def test_claims_shown(recorder: RefusalRecorder, records: Records) -> None:
    """Claims are on one line and cut; a secret in the wrong place isn't kept."""
    note(recorder, client_id="a\nb", topic="x" * 100_000)
    note(recorder, client_id="f" * 64, topic=f"devices/{'0a' * 32}/state")
    await recorder.close()
    first, second = records.added
    assert (first.client_id, first.topic) == ("a\\nb", "x" * 127 + "…")
    assert (second.client_id, second.topic) == ("[64 hex digits]", "devices/[64 hex digits]/state")
    assert "f" * 64 not in repr(records.added)


async def test_many_of_one_address(recorder: RefusalRecorder, records: Records) -> None:
    """One address that invents identities fills only its own share; the others are counted together."""
    for number in range(3 * MAX_OF_ADDRESS):
        note(recorder, key=f"{number}")
    note(recorder, "192.0.2.2", key="other")
    await recorder.close()
    assert len(records.added) == MAX_OF_ADDRESS + 2
    assert sum(one.count for one in records.added) == 3 * MAX_OF_ADDRESS + 1
    together = next(one for one in records.added if one.claimant == f"address:{ADDRESS}")
    assert (together.count, together.key, together.address) == (2 * MAX_OF_ADDRESS, None, ADDRESS)
    assert "key:other" in {one.claimant for one in records.added}
    assert recorder.bounds == {"max_of_address": 2 * MAX_OF_ADDRESS}


async def test_many_strangers(recorder: RefusalRecorder, records: Records) -> None:
    """Strangers from everywhere fill only their own share: whoever is known has its count all the same."""
    for number in range(MAX_STRANGERS + 1_000):
        note(recorder, f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", key=f"{number}")
    note(recorder, key="mine", device_id=DEVICE, reason=RefusalReason.KEY_EXPIRED, is_proven=True)
    note(recorder, key="app", reason=RefusalReason.WRONG_SECRET, is_known=True)
    await recorder.close()
    assert {"mine", "app"} <= {one.key for one in records.added}
    together = next(one for one in records.added if not one.claimant)
    assert (together.count, together.address, together.key) == (1_000, "", None)
    assert sum(one.count for one in records.added) == MAX_STRANGERS + 1_002
    assert len(records.added) == MAX_STRANGERS + 3
    assert recorder.bounds == {"max_strangers": 1_000}


async def test_bytes_of_strangers(recorder: RefusalRecorder, records: Records) -> None:
    """Long claims count by their bytes."""
    for number in range(MAX_STRANGERS):
        address = f"10.0.{number >> 8}.{number & 255}"
        note(recorder, address, client_id=f"{number}" + "\U0001f600" * 300, topic="\U0001f600" * 300)
    await recorder.close()
    assert len(records.added) < MAX_STRANGERS_BYTES / (COUNT_BYTES + 2 * 256 * 4)
    assert sum(one.count for one in records.added) == MAX_STRANGERS


async def test_many_known(recorder: RefusalRecorder, records: Records) -> None:
    """Of known clients, there is a bound too; what has a count goes on counting."""
    for number in range(MAX_KNOWN + 10):
        note(recorder, device_id=f"{number}", is_proven=True)
    note(recorder, device_id="0", is_proven=True)
    await recorder.close()
    assert len(records.added) == MAX_KNOWN
    assert records.added[0].count == 2
    assert recorder.bounds == {"max_known": 10}


async def test_written_in_batches(records: Records, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without being closed, it writes on its own, a batch at a time."""
    monkeypatch.setattr(refusal_recorder, "BATCH", 10)
    recorder = RefusalRecorder(records.add, flush_seconds=0.01)
    for number in range(25):
        note(recorder, key=f"{number}")
    assert records.added == []
    await until(lambda: len(records.added) == 25)
    assert records.batches == [10, 10, 5]
    note(recorder, key="later")
    await until(lambda: len(records.added) == 26)
    await recorder.close()


async def test_locked(records: Records) -> None:
    """While the registry is locked, counts wait and grow; then they are written. One line tells of it."""
    records.is_locked = True
    recorder = RefusalRecorder(records.add, flush_seconds=0.001)
    with capture_logs() as lines:
        for _ in range(5):
            note(recorder, key="k")
            note(recorder, device_id=DEVICE, is_proven=True)
            await asyncio.sleep(0.01)
        records.is_locked = False
        await until(lambda: len(records.added) >= 2)
        await recorder.close()
    assert {one.count for one in records.added} == {5}
    assert [line["event"] for line in lines] == ["refusals_not_recorded"]


async def test_failed(records: Records) -> None:
    """Whatever fails, later refusals are recorded."""

    def add(increments: Sequence[RefusalIncrement]) -> None:
        if not records.batches:
            records.batches.append(0)
            raise ZeroDivisionError
        records.add(increments)

    recorder = RefusalRecorder(add, flush_seconds=0.001)
    with capture_logs() as lines:
        note(recorder, key="lost")
        await until(lambda: bool(records.batches))
        note(recorder, key="later")
        await until(lambda: bool(records.added))
        await recorder.close()
    assert [line["event"] for line in lines] == ["refusals_not_recorded"]
    assert [one.key for one in records.added] == ["later"]


async def test_only_counted() -> None:
    """Without a registry, refusals are counted alone."""
    recorder = RefusalRecorder()
    note(recorder)
    await recorder.close()
    assert recorder.counts.total() == 1


SECRET = "0123456789abcdef" * 4


@pytest.mark.parametrize(
    "claims",
    [
        {"serial": SECRET},
        {"serial": f"key:{SECRET}"},
        {"client_id": SECRET},
        {"topic": f"{'a' * 64}/{'b' * 64}/{'c' * 64}/{SECRET}"},
        {"topic": f"{'x' * 100}/{SECRET}/{'y' * 2_000}"},
        {"client_id": "z" * 250 + SECRET},
    ],
)
async def test_secret_in_a_claim(recorder: RefusalRecorder, records: Records, claims: dict[str, str]) -> None:
    """No part of a secret that a client sent in the wrong place is recorded, however the claim is cut."""
    note(recorder, **claims)
    await recorder.close()
    shown = repr(records.added)
    assert not any(SECRET[start : start + 16] in shown for start in range(48))


async def test_known_serial_of_hex_digits(recorder: RefusalRecorder, records: Records) -> None:
    """A serial that was proved is recorded as it is, even if it looks like a secret."""
    note(recorder, serial=SECRET, is_known=True, is_proven=True)
    await recorder.close()
    assert records.added[0].serial == SECRET
