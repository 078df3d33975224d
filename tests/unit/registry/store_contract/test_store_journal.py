"""The change feed and the audit of any store: paging, bounds, and being told."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from fleetkey.registry import ApplicationScope, AuditEntry, DeviceState, NotFoundError, Store, new_access_key
from tests.unit.registry.store_rig import SECRET_HASH, FakeClock, StoreFactory, issue, new_request

if TYPE_CHECKING:
    from collections.abc import Callable

TRIM_SLACK = 1_000
"""How far over its bound a journal may grow."""


def _record(store: Store, count: int) -> None:
    for number in range(count):
        store.record(AuditEntry(actor="test", action="counted", outcome="ok", reason=str(number)))


def test_record(store: Store, clock: FakeClock) -> None:
    """An entry comes back as it was written, with its position and time."""
    entry = AuditEntry(
        actor="device", action="register", outcome="refused", reason="x", address="::1", serial="S", key="k"
    )
    store.record(entry)
    row = store.last_audit(1)[0]
    assert row.at == clock.milliseconds
    assert {name: getattr(row, name) for name in AuditEntry.__slots__} == {
        name: getattr(entry, name) for name in AuditEntry.__slots__
    }


def test_list_audit_pages(store: Store) -> None:
    """Pages follow each other from the oldest to the newest; the last ones are also oldest first."""
    _record(store, 25)
    found: list[str] = []
    after = 0
    while page := store.list_audit(after=after, limit=10):
        found += [row.reason for row in page]
        after = page[-1].seq
    assert found == [str(number) for number in range(25)]
    assert [row.reason for row in store.last_audit(3)] == ["22", "23", "24"]
    assert len(store.last_audit(100)) == 25


def test_changes_after_pages(store: Store, clock: FakeClock) -> None:
    """The feed is read in order, a page at a time; positions only grow."""
    assert store.change_bounds() == (0, 0)
    for number in range(4):
        issue(store, f"S{number}")
    first = store.changes_after(0, limit=5)
    rest = store.changes_after(first[-1].seq, limit=5)
    positions = [change.seq for change in (*first, *rest)]
    assert len(positions) == 8
    assert positions == sorted(set(positions))
    assert store.change_bounds() == (positions[0], positions[-1])
    assert store.changes_after(positions[-1]) == []
    assert {change.at for change in first} == {clock.milliseconds}


def test_max_audit_rows(make_store: StoreFactory) -> None:
    """The audit stays near its bound; what is dropped is the oldest, and positions go on."""
    store = make_store(max_audit_rows=50)
    _record(store, TRIM_SLACK + 200)
    rows = store.last_audit(10_000)
    assert 50 <= len(rows) <= 50 + TRIM_SLACK
    assert rows[-1].reason == str(TRIM_SLACK + 199)
    assert rows[0].seq > 1
    assert [row.seq for row in rows] == list(range(rows[0].seq, rows[-1].seq + 1))


def test_max_change_rows(make_store: StoreFactory) -> None:
    """The feed stays near its bound, and says from where on it is whole."""
    store = make_store(max_change_rows=50)
    _, device_id = issue(store)
    for number in range(TRIM_SLACK + 200):
        store.tag_device(device_id, {"n": str(number)}, actor="cli")
    oldest, newest = store.change_bounds()
    rows = store.changes_after(0, limit=10_000)
    assert 50 <= len(rows) <= 50 + TRIM_SLACK
    assert (rows[0].seq, rows[-1].seq) == (oldest, newest)
    assert oldest > 1


@pytest.mark.parametrize(
    "change", ["issue", "state", "tag", "connect", "application", "expire", "revoke", "delete", "record", "serials"]
)
def test_on_committed(change: str, store: Store) -> None:
    """Whoever asked is called once after each commit of this process, and sees it; no more after asking to stop."""
    key, device_id = issue(store)
    calls: dict[str, Callable[[], object]] = {
        "issue": lambda: issue(store),
        "state": lambda: store.set_device_state(device_id, DeviceState.DISABLED, actor="cli"),
        "tag": lambda: store.tag_device(device_id, {"a": "b"}, actor="cli"),
        "connect": lambda: store.record_first_connection(key),
        "application": lambda: store.create_application_key(
            key=new_access_key(), secret_hash=SECRET_HASH, name="n", scope=ApplicationScope(), actor="cli"
        ),
        "expire": lambda: store.expire_device_keys(device_id, grace_seconds=1, actor="cli"),
        "revoke": lambda: store.revoke_key(key, actor="cli"),
        "delete": lambda: store.delete_device(device_id, actor="cli"),
        "record": lambda: store.record(AuditEntry(actor="a", action="b", outcome="c")),
        "serials": lambda: store.add_serials(["A1"], actor="cli"),
    }
    seen: list[int] = []
    stop = store.on_committed(lambda: seen.append(store.last_audit(1)[0].seq))
    calls[change]()
    assert seen == [store.last_audit(1)[0].seq]
    stop()
    stop()
    store.record(AuditEntry(actor="a", action="b", outcome="c"))
    assert len(seen) == 1


def test_on_committed_nothing_committed(store: Store) -> None:
    """A change that fails commits nothing, so nobody is called."""
    called: list[None] = []
    store.on_committed(lambda: called.append(None))
    with pytest.raises(NotFoundError):
        store.delete_device("0" * 24, actor="cli")
    assert called == []


def test_watch(make_store: StoreFactory) -> None:
    """A watch has news after any user of the registry committed, once."""
    mine, other = make_store(), make_store()
    with closing(mine.watch()) as watch:
        assert not watch.has_news()
        for store in (other, mine):
            store.issue_device_key(new_request())
            assert watch.has_news()
            assert not watch.has_news()


def test_two_users_of_one_registry(make_store: StoreFactory) -> None:
    """What one has committed, the other reads."""
    mine, other = make_store(), make_store()
    key, device_id = issue(mine)
    assert other.get_key(key).device_id == device_id
    assert issue(other)[1] == device_id
    assert mine.count_keys() == 2
