"""What the broker finds in its file after a restart."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from fleetkey.broker.codec import Reason
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
    after.sessions.restore()
    assert len(after.sessions) == 0
    sink, opened = after.open(principal("other"))
    assert opened.session.row == session.row
    sink.close(Reason.CONNECTION_LOST)
    await after.close()

    last = new_parts()
    last.sessions.restore()
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
    after.sessions.restore()
    (restored,) = after.sessions
    assert restored.row == session.row
    after.router.publish(message("x", b"second", 1))
    await after.commit()
    (stored,) = after.store.load_sessions()
    assert [delivery.payload for delivery in stored.deliveries] == [b"first", b"second"]
    other, opened = after.open(principal("b"))
    del other
    assert opened.session.row == session.row + 1
