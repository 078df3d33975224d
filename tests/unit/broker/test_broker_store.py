"""What the broker finds in its file after a restart."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from fleetkey.broker.codec import Reason, SubscriptionOptions
from fleetkey.broker.store import schema
from fleetkey.broker.store.group_commit import MIN_BULK_ROWS
from fleetkey.broker.store.schema import open_broker_database
from tests.unit.broker.rig import Parts, message, principal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

FULL = 2
"""As SQLite numbers `synchronous=FULL`."""


def test_synchronous(tmp_path: Path) -> None:
    """Each commit is on the disk before it returns: killing the process shows too little of a power cut."""
    with closing(open_broker_database(tmp_path / "broker.db")) as connection:
        assert connection.execute("PRAGMA synchronous").fetchone() == (FULL,)


async def test_rows_without_session(new_parts: Callable[..., Parts], parts: Parts) -> None:
    """What a lost session left behind never belongs to another."""
    _, session = parts.join("lost", "#", qos=2)
    parts.publish("x", b"not yours", 2)
    parts.store.add_inbound(session, 7)
    await parts.commit()
    parts.store.note("DELETE FROM sessions")
    await parts.close()

    after = new_parts()
    after.restore()
    assert len(after.sessions) == 0
    sink, opened = after.open(principal("other"))
    assert opened.session.row == session.row
    sink.close(Reason.CONNECTION_LOST)
    await after.close()

    last = new_parts()
    last.restore()
    (restored,) = last.sessions
    assert (restored.client_id, restored.subscriptions, restored.inbound) == ("other", {}, {})
    assert not restored.queue
    assert not restored.inflight


async def test_rows_go_on(new_parts: Callable[..., Parts], parts: Parts) -> None:
    """A new process numbers on, so that what is stored keeps its order."""
    sink, session = parts.join("a", "x", qos=1)
    sink.close(Reason.CONNECTION_LOST)
    parts.publish("x", b"first", 1)
    await parts.close()
    after = new_parts()
    after.restore()
    (restored,) = after.sessions
    assert restored.row == session.row
    after.router.publish(message("x", b"second", 1))
    await after.commit()
    (stored,) = after.store.load().sessions
    assert [delivery.message.payload for delivery in stored.deliveries] == [b"first", b"second"]
    other, opened = after.open(principal("b"))
    del other
    assert opened.session.row == session.row + 1


async def test_order_of_sending(new_parts: Callable[..., Parts], parts: Parts) -> None:
    """What wasn't acknowledged is sent again in the order in which it was sent, whatever was stored first (4.6.0-1)."""
    parts.retain("x/kept", qos=1)
    sink, session = parts.join("a")
    sink.is_paused = True
    parts.sessions.subscribe(session, "x/+", SubscriptionOptions(1))
    for payload in (b"first", b"second"):
        parts.publish("x/live", payload, 1)
    sink.is_paused = False
    parts.delivery.drain(session)
    sent = [(b"kept", 1), (b"first", 2), (b"second", 3)]
    assert [(each.payload, each.number) for each in sink.take()] == sent
    parts.publish("x/live", b"third", 1)
    sink.close(Reason.CONNECTION_LOST)
    parts.publish("x/live", b"waits", 1)
    await parts.close()

    for _ in range(2):
        # Twice, since what was sent again must not count as sent later.
        after = new_parts()
        after.restore()
        sink, _ = after.open(principal("a"))
        expected = [*sent, (b"third", 4), (b"waits", 5)]
        assert [(each.payload, each.number) for each in sink.take()] == expected
        sink.close(Reason.CONNECTION_LOST)
        await after.close()


async def test_order_of_before(
    new_parts: Callable[..., Parts], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What an older Fleetkey sent, which noted no order, comes in that of its rows, and before what is sent now."""
    with monkeypatch.context() as patch:
        patch.setattr(schema.migrations, "_migrations", schema.migrations._migrations[:2])
        with closing(schema.open_broker_database(tmp_path / "broker.db")) as older:
            older.execute("INSERT INTO sessions VALUES (1, 'a', 'a', NULL)")
            older.execute("INSERT INTO subscriptions VALUES (1, 'x', 1, 0)")
            for row in (1, 2, 3):
                values = row, 1, "x", str(row).encode(), 1, 10 - row if row < 3 else 0, 0, 0
                older.execute("INSERT INTO deliveries VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
    for _ in range(2):
        parts = new_parts()
        parts.restore()
        sink, _ = parts.open(principal("a"))
        assert [(each.payload, each.number) for each in sink.take()] == [(b"1", 9), (b"2", 8), (b"3", 10)]
        sink.close(Reason.CONNECTION_LOST)
        await parts.close()


@pytest.mark.parametrize("count", [MIN_BULK_ROWS - 1, MIN_BULK_ROWS, 100])
async def test_many_at_once(tmp_path: Path, count: int) -> None:
    """What is stored is the same whether statements are executed one by one or for many rows at once."""
    found = []
    for is_bulk in (False, True):
        folder = tmp_path / str(is_bulk)
        folder.mkdir()
        parts = Parts(folder)
        if not is_bulk:
            parts.store._bulk = {}
        sinks = [parts.join(f"app-{number}", "x", qos=number % 3) for number in range(count)]
        for sink, _ in sinks[::2]:
            sink.close(Reason.CONNECTION_LOST)
        parts.publish("x", b"first", 2)
        parts.loop.settle()
        await parts.settle()
        for _, session in sinks:
            for packet_id, outgoing in list(session.inflight.items()):
                if outgoing.qos == 1:
                    parts.delivery.acknowledged(session, packet_id)
                else:
                    parts.delivery.received(session, packet_id)
        parts.publish("x", b"second", 1)
        parts.loop.settle()
        await parts.settle()
        execute = parts.store._connection.execute
        found.append(
            [
                execute("SELECT row, client_id, owner FROM sessions").fetchall(),
                execute("SELECT * FROM subscriptions").fetchall(),
                execute("SELECT * FROM deliveries").fetchall(),
                execute("SELECT row, topic, payload, owner FROM messages").fetchall(),
            ]
        )
        await parts.close()
    assert len(found[0][2]) >= count // 2
    assert found[0] == found[1]
