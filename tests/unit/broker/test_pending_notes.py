"""What waits for the store: one note for each row, counted at what it takes in memory."""

from __future__ import annotations

import tracemalloc
from itertools import count
from typing import TYPE_CHECKING

import pytest

from fleetkey.broker.accounts import Accounts
from fleetkey.broker.codec import SubscriptionOptions
from fleetkey.broker.message import OutboundMessage
from fleetkey.broker.retained import RetainedMessage
from fleetkey.broker.session import Session
from fleetkey.broker.store import BrokerStore
from fleetkey.broker.store.pending_notes import Effect, Note, PendingNotes
from tests.unit.broker.rig import message, session_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ADDS, CHANGES, REMOVES = Effect.ADDS, Effect.CHANGES, Effect.REMOVES
MANY = 22_000
"""A number at which a dictionary has just grown, so that its entries take the most memory."""
MOST_ABOVE = 1.3


def _note(effect: Effect, position: int = 1) -> Note:
    return effect.name, (), 1, position, effect, 0


@pytest.mark.parametrize(
    ("effects", "left"),
    [
        ([ADDS, CHANGES], ("CHANGES", ADDS)),
        ([ADDS, REMOVES], None),
        ([ADDS, CHANGES, REMOVES], None),
        ([CHANGES, REMOVES], ("REMOVES", REMOVES)),
        ([CHANGES, CHANGES], ("CHANGES", CHANGES)),
        ([REMOVES, ADDS], ("ADDS", CHANGES)),
        ([REMOVES, ADDS, REMOVES], ("REMOVES", REMOVES)),
        ([ADDS, REMOVES, ADDS], ("ADDS", ADDS)),
    ],
)
@pytest.mark.parametrize("failed", range(3), ids=lambda failed: f"failed_after_{failed}")
def test_same_row(effects: list[Effect], left: tuple[str, Effect] | None, failed: int) -> None:
    """The last note is left, unless the row was never in the file; so it is if a commit failed between them."""
    first, later = PendingNotes(), PendingNotes()
    for number, effect in enumerate(effects):
        (first if number < failed else later).add("row", _note(effect))
    first.extend(later)
    assert [(note[0], note[4]) for note in first.all()] == ([left] if left is not None else [])
    assert first.size == len(first)


def test_order() -> None:
    """A note that takes another's place comes after what was noted in between; others stay in order."""
    first, later = PendingNotes(), PendingNotes()
    for position, key in enumerate(("a", "b", "c", "a"), start=1):
        first.add(key, _note(CHANGES, position))
    assert [note[3] for note in first.all()] == [2, 3, 4]
    for position, key in enumerate(("d", "b"), start=5):
        later.add(key, _note(CHANGES, position))
    first.extend(later)
    assert [note[3] for note in first.all()] == [3, 4, 5, 6]
    first.discard("a")
    first.discard("nothing")
    assert first.discard_oldest(2) == 3
    assert [note[3] for note in first.all()] == [5, 6]
    assert first.discard_oldest(2) == 0
    assert first.size == len(first) == 2


def _kinds(store: BrokerStore) -> dict[str, Callable[[int], None]]:
    """Return how each kind of note is made, from a number of its own."""
    numbers = count(1_000_000)
    store._rows = dict.fromkeys(store._rows, 1_000_000)
    accounts = Accounts()
    one = session_of("c" * 24, "o" * 24)
    one.row = next(numbers)

    def session(_: int) -> Session:
        made = session_of(f"{next(numbers)}", "o" * 24, accounts)
        made.row = next(numbers)
        return made

    def delivery(_: int) -> OutboundMessage:
        outgoing = OutboundMessage(message("t", qos=1), 1)
        outgoing.row, outgoing.packet_id = next(numbers), 1_000
        outgoing.message.row, outgoing.message.references = next(numbers), 2
        return outgoing

    def topic(_: int) -> str:
        return f"devices/{next(numbers)}"

    def retain(number: int) -> None:
        kept = RetainedMessage(message=message(topic(number)))
        kept.message.row, kept.message.references = next(numbers), 1
        store.keep_retained(kept, None)

    def drop(number: int) -> None:
        outgoing = delivery(number).message
        outgoing.references = 1
        store._unrefer(outgoing)

    return {
        "session": lambda number: store.add_session(session(number)),
        "session_dropped": lambda number: store.drop_session(session(number)),
        "subscription": lambda number: store.add_subscription(
            one, topic(number), SubscriptionOptions(1), is_replay_due=False
        ),
        "subscription_dropped": lambda number: store.drop_subscription(one, topic(number)),
        "delivery": lambda number: store.add_delivery(one, delivery(number)),
        "delivery_sent": lambda number: store.mark_sent(one, delivery(number)),
        "delivery_dropped": lambda number: store.drop_delivery(delivery(number)),
        "message": lambda _: store._refer(message("t", bytes(10))),
        "message_long": lambda _: store._refer(message("t", bytes(2_000))),
        "message_dropped": drop,
        "inbound": lambda _: store.add_inbound(one, next(numbers)),
        "inbound_dropped": lambda _: store.drop_inbound(one, next(numbers)),
        "retained": retain,
        "retained_dropped": lambda number: store.drop_retained(topic(number), None),
    }


@pytest.mark.parametrize(
    "kind",
    [
        "session",
        "session_dropped",
        "subscription",
        "subscription_dropped",
        "delivery",
        "delivery_sent",
        "delivery_dropped",
        "message",
        "message_long",
        "message_dropped",
        "inbound",
        "inbound_dropped",
        "retained",
        "retained_dropped",
    ],
)
async def test_counted_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """A note counts at least what it takes in memory, with what only it holds, and at most 30 % more."""
    store = BrokerStore(tmp_path / "broker.db")
    with monkeypatch.context() as patch:
        # Nothing is to be committed.
        patch.setattr(store, "_schedule", lambda: None)
        make = _kinds(store)[kind]
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            for number in range(MANY):
                make(number)
            taken = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        counted = store.waiting_bytes
        store._pending = PendingNotes()
    await store.close()
    assert taken <= counted <= MOST_ABOVE * taken
