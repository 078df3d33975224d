"""The audit of any store: finding entries, and dropping old ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fleetkey.registry import AuditEntry, AuditFilter, Store

if TYPE_CHECKING:
    from tests.unit.registry.store_contract.conftest import LowerAuditBounds
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


def test_find_audit_pages(store: Store, lower_audit_bounds: LowerAuditBounds) -> None:
    """The work for one page is bounded, so a page may be empty; nothing is left out or repeated."""
    lower_audit_bounds(scanned=10)
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


def test_drop_old_audit(make_store: StoreFactory, clock: FakeClock, lower_audit_bounds: LowerAuditBounds) -> None:
    """What is older than the days goes, in pieces; what is younger stays, and is still found."""
    lower_audit_bounds(dropped=10)
    store = make_store()
    _record(store, 25)
    clock.advance(10 * DAY)
    _record(store, 3, reason="young")
    assert store.drop_old_audit(days=11) == 0
    assert [store.drop_old_audit(days=9) for _ in range(4)] == [10, 10, 5, 0]
    assert store.audit_bounds() == (26, 28)
    assert len(store.find_audit(AuditFilter(), after=0).records) == 3
