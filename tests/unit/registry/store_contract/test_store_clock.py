"""The time that a store tells, and how far a server's clock had come."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.registry import ClockMark
from tests.unit.registry.store_rig import JournalReader, issue

if TYPE_CHECKING:
    from fleetkey.registry import Store
    from tests.unit.registry.store_rig import FakeClock, StoreFactory

MARK = ClockMark(now=1_700_000_000.25, lasted=1_600_000_000.5, monotonic=12.125, boot="a-boot")


def test_now(store: Store, clock: FakeClock) -> None:
    """It is the time that the store stamps with."""
    clock.advance(5)
    assert store.now() == clock.now


def test_save_clock(make_store: StoreFactory) -> None:
    """The newest mark is kept, for the next process too; neither feed nor audit says anything of it."""
    store = make_store()
    journal = JournalReader(store)
    assert store.clock_mark() is None
    store.save_clock(ClockMark(now=1.0, lasted=1.0, monotonic=1.0, boot=""))
    store.save_clock(MARK)
    assert store.clock_mark() == make_store().clock_mark() == MARK
    assert journal.read() == ([], [])


def test_recorded_at(store: Store, clock: FakeClock) -> None:
    """It is when the newest entry was made; None as long as there is none."""
    assert store.recorded_at() is None
    issue(store)
    assert store.recorded_at() == clock.now
