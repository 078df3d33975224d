"""The audit of any store: finding entries, and letting old ones go; and that SQLite keeps what may not go."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from fleetkey.registry import AuditEntry, AuditFilter, SqliteStore, Store
from fleetkey.registry.sqlite import audit as sqlite_audit

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.registry.store_rig import FakeClock, StoreFactory

DAY = 86_400


def _record(store: Store, count: int, **fields: str) -> None:
    for number in range(count):
        entry: dict[str, Any] = {"actor": "cli:ann", "action": "counted", "outcome": "ok", "reason": str(number)}
        entry |= fields
        store.record(AuditEntry(**entry))


@pytest.mark.parametrize(
    ("wanted", "reasons"),
    [
        (AuditFilter(), ["a", "b", "c", "d"]),
        (AuditFilter(actor="cli"), ["b", "c"]),
        (AuditFilter(actor="cli:ann"), ["b"]),
        (AuditFilter(actor="cl"), []),
        (AuditFilter(outcome="refused", action="register"), ["a"]),
        (AuditFilter(serial="S1"), ["a", "d"]),
        (AuditFilter(device_id="d1"), ["c"]),
        (AuditFilter(key="k1"), ["c"]),
        (AuditFilter(address="192.0.2.1"), ["a"]),
    ],
)
def test_find_audit(store: Store, wanted: AuditFilter, reasons: list[str]) -> None:
    """Every filter that is given has to match; newest and paged reading find the same."""
    entry: dict[str, Any] = {"action": "register", "outcome": "ok"}
    store.record(
        AuditEntry(actor="device", action="register", outcome="refused", reason="a", address="192.0.2.1", serial="S1")
    )
    store.record(AuditEntry(actor="cli:ann", reason="b", **entry))
    store.record(AuditEntry(actor="cli:bob", reason="c", device_id="d1", key="k1", **entry))
    store.record(AuditEntry(actor="device", reason="d", serial="S1", **entry))
    assert [row.reason for row in store.find_audit(wanted).records] == reasons
    assert [row.reason for row in store.last_audit(10, wanted)] == reasons


def test_find_audit_by_time(store: Store, clock: FakeClock) -> None:
    """`since` counts, `until` doesn't."""
    moments = []
    for number in range(3):
        _record(store, 1, reason=str(number))
        moments.append(clock.milliseconds)
        clock.advance(1)
    found = store.find_audit(AuditFilter(since=moments[0], until=moments[2])).records
    assert [row.reason for row in found] == ["0", "1"]


def test_find_audit_pages(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The work for one page is bounded, so a page may be empty; nothing is left out or repeated."""
    monkeypatch.setattr(sqlite_audit, "MAX_AUDIT_SCANNED", 10)
    _record(store, 25)
    _record(store, 1, reason="rare", outcome="refused")
    _record(store, 9)
    pages, position, has_more = [], 0, True
    while has_more:
        page = store.find_audit(AuditFilter(outcome="refused"), after=position)
        pages.append([row.reason for row in page.records])
        position, has_more = page.position, page.has_more
    assert pages == [[], [], ["rare"], []]
    assert store.audit_bounds() == (1, position)
    again = store.find_audit(AuditFilter(), after=position)
    assert (again.records, again.position, again.has_more) == ((), position, False)


def test_drop_old_audit(make_store: StoreFactory, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is older than the days goes, in pieces; what is younger stays, and is still found."""
    monkeypatch.setattr(sqlite_audit, "DROP_BATCH", 10)
    store = make_store()
    _record(store, 25)
    clock.advance(10 * DAY)
    _record(store, 3, reason="young")
    assert store.drop_old_audit(days=11) == 0
    assert [store.drop_old_audit(days=9) for _ in range(4)] == [10, 10, 5, 0]
    assert store.audit_bounds() == (26, 28)
    assert len(store.find_audit(AuditFilter(), after=0).records) == 3


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE audit SET actor = 'nobody'",
        "UPDATE audit SET seq = seq + 100",
        "DELETE FROM audit",
        "DELETE FROM audit WHERE seq = 5",
        "INSERT OR REPLACE INTO audit SELECT seq, 0, '', '', '', '', '', NULL, NULL, NULL, 0 FROM audit WHERE seq = 5",
        "INSERT INTO audit (seq, at, actor, action, outcome, reason, address) VALUES (99, 0, 'x', 'x', 'x', '', '')",
        "INSERT INTO audit (seq, at, actor, action, outcome, reason, address) VALUES (-1, 0, 'x', 'x', 'x', '', '')",
        "INSERT INTO audit (seq, at, actor, action, outcome, reason, address) VALUES (0, 0, 'x', 'x', 'x', '', '')",
        "UPDATE audit SET by_stranger = 1",
        "UPDATE audit_retention SET strangers_dropped_to = -1",
        "UPDATE audit_retention SET strangers_written = -1",
        "REPLACE INTO audit (seq, at, actor, action, outcome, reason, address) VALUES (5, 0, 'x', 'x', 'x', '', '')",
        "DELETE FROM audit_retention",
        "UPDATE audit_retention SET dropped_to = -1",
    ],
)
def test_audit_is_append_only(tmp_path: Path, statement: str) -> None:
    """Nobody who comes with SQL changes, replaces or removes an entry: the database refuses."""
    path = tmp_path / "fleetkey.db"
    with closing(SqliteStore(path)) as store:
        _record(store, 10)
        before = store.list_audit()
        with closing(sqlite3.connect(path)) as other, pytest.raises(sqlite3.IntegrityError, match="append-only"):
            other.execute(statement)
        assert store.list_audit() == before
