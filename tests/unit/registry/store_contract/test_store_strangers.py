"""What strangers cause is audited within a bound of its own: it drops nothing of anybody else, and reading copes."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetkey.config import Settings
from fleetkey.management import build_management
from fleetkey.registry import AuditEntry, AuditFilter, Store
from tests.unit.registry.store_rig import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.unit.registry.store_contract.conftest import Implementation, LowerAuditBounds
    from tests.unit.registry.store_rig import StoreFactory

DAY = 86_400
TRIM_SLACK = 1_000


def _fleets(reason: str) -> AuditEntry:
    return AuditEntry(actor="cli:ann", action="device_tagged", outcome="ok", reason=reason)


def _strangers(reason: str) -> AuditEntry:
    return AuditEntry(actor="device", action="register", outcome="refused", reason=reason, by_stranger=True)


def _flood(store: Store, count: int) -> None:
    store.record_all(_strangers(str(number)) for number in range(count))


def _reasons(store: Store, *, by_stranger: bool) -> list[str]:
    return [row.reason for row in store.last_audit(100_000) if row.by_stranger is by_stranger]


@pytest.fixture
def gappy(make_store: StoreFactory) -> Store:
    """A store with operators' entries far apart: nearly all that strangers wrote between is dropped."""
    store = make_store(max_stranger_audit_rows=3)
    for number in range(6):
        store.record(_fleets(f"kept {number}"))
        _flood(store, 2_000)
    return store


def test_strangers_push_out_strangers_alone(make_store: StoreFactory) -> None:
    """However much strangers cause, every entry of the fleet stays, and of theirs the newest, near their bound."""
    store = make_store(max_audit_rows=100, max_stranger_audit_rows=50)
    for number in range(90):
        store.record(_fleets(str(number)))
    _flood(store, 5_500)
    assert _reasons(store, by_stranger=False) == [str(number) for number in range(90)]
    left = _reasons(store, by_stranger=True)
    assert 50 <= len(left) <= 50 + TRIM_SLACK
    assert left[-1] == "5499"
    assert left == [str(number) for number in range(5_500 - len(left), 5_500)]


def test_fleets_bound_holds_beside_strangers(make_store: StoreFactory) -> None:
    """The bound on the fleet's own entries counts those alone, and what it drops is the oldest of them."""
    store = make_store(max_audit_rows=100, max_stranger_audit_rows=5_000)
    for number in range(1_500):
        store.record_all([_fleets(str(number)), _strangers(str(number))])
    left = _reasons(store, by_stranger=False)
    assert 100 <= len(left) <= 100 + TRIM_SLACK
    assert left[-1] == "1499"
    assert len(_reasons(store, by_stranger=True)) == 1_500


@settings(max_examples=25, deadline=None)
@given(
    runs=st.lists(st.tuples(st.booleans(), st.integers(1, 1_300)), min_size=1, max_size=6),
    most=st.integers(1, 400),
    most_of_strangers=st.integers(1, 400),
)
def test_each_share_is_whole(
    tmp_path_factory: pytest.TempPathFactory,
    implementation: Implementation,
    runs: list[tuple[bool, int]],
    most: int,
    most_of_strangers: int,
) -> None:
    """Whatever comes in whatever order, what is kept of each share is its newest, without a gap, near its bound."""
    make_store = implementation.prepare(tmp_path_factory.mktemp("registry"), FakeClock())
    written: dict[bool, int] = {True: 0, False: 0}
    with closing(make_store(max_audit_rows=most, max_stranger_audit_rows=most_of_strangers)) as store:
        for by_stranger, count in runs:
            make = _strangers if by_stranger else _fleets
            start = written[by_stranger]
            store.record_all(make(str(number)) for number in range(start, start + count))
            written[by_stranger] += count
        for by_stranger, bound in ((False, most), (True, most_of_strangers)):
            left = _reasons(store, by_stranger=by_stranger)
            count = written[by_stranger]
            assert left == [str(number) for number in range(count - len(left), count)]
            assert min(bound, count) <= len(left) <= bound + TRIM_SLACK


def test_trim_in_parts(make_store: StoreFactory, lower_audit_bounds: LowerAuditBounds) -> None:
    """A bound that was lowered is reached in short transactions, not in one long one."""
    lower_audit_bounds(trimmed=1_500)
    _flood(make_store(), 4_500)
    store = make_store(max_stranger_audit_rows=10)
    left = []
    for _ in range(4):
        _flood(store, 1_000)
        left.append(len(_reasons(store, by_stranger=True)))
    assert left == [4_000, 3_500, 3_000, 2_500]


@pytest.mark.parametrize("max_scanned", [1, 7, 5_000])
@pytest.mark.parametrize("limit", [1, 4, 1_000])
def test_scan_over_gaps(gappy: Store, limit: int, max_scanned: int) -> None:
    """A look counts entries, not positions: no page is spent on what is gone, and each entry is found once."""
    kept = [row.reason for row in gappy.last_audit(10_000)]
    forward, back = list[str](), list[str]()
    position = 0
    for _ in range(len(kept) + 1):
        found, reached = gappy.scan_audit(AuditFilter(), after=position, limit=limit, max_scanned=max_scanned)
        forward += [row.reason for row in found]
        assert found or position == gappy.audit_bounds()[1]
        position = reached or 0
    before: int | None = None
    for looks in range(len(kept) + 1):
        found, before = gappy.scan_audit(AuditFilter(), before=before, limit=limit, max_scanned=max_scanned)
        assert found or not looks
        back += [row.reason for row in found]
        if before is None:
            break
    assert forward == kept
    assert back == kept[::-1]


def test_find_over_gaps(gappy: Store, lower_audit_bounds: LowerAuditBounds) -> None:
    """An export looks at what is there, in as few pages as that takes."""
    lower_audit_bounds(scanned=1_000)
    pages, position, has_more = 0, 0, True
    found: list[str] = []
    while has_more:
        page = gappy.find_audit(AuditFilter(actor="cli"), after=position, limit=1_000)
        found += [row.reason for row in page.records]
        position, has_more, pages = page.position, page.has_more, pages + 1
    assert found == [f"kept {number}" for number in range(6)]
    assert pages <= 2
    service = build_management(Settings.model_construct(), gappy).audit
    progress: list[tuple[int, int]] = []
    everything = [row.seq for row in service.iterate(AuditFilter(), on_progress=lambda *at: progress.append(at))]
    assert everything == [row.seq for row in gappy.last_audit(10_000)]
    assert progress[-1][0] == progress[-1][1]


def test_follow_while_strangers_are_dropped(make_store: StoreFactory) -> None:
    """Whoever follows with a cursor gets every later entry of the fleet once, also if what is at it is gone."""
    store = make_store(max_stranger_audit_rows=2)
    service = build_management(Settings.model_construct(), store).audit
    _flood(store, 10)
    cursor = service.oldest(limit=1_000).next_cursor
    seen: list[str] = []
    for number in range(5):
        store.record(_fleets(str(number)))
        _flood(store, 1_500)
        while True:
            page = service.oldest(cursor=cursor, limit=1_000)
            seen += [row.reason for row in page.items if not row.by_stranger]
            cursor = page.next_cursor
            if not page.items:
                break
    assert seen == [str(number) for number in range(5)]


def test_drop_old_of_both(make_store: StoreFactory, clock: FakeClock, lower_audit_bounds: LowerAuditBounds) -> None:
    """Age counts for both shares, in pieces; what is young of either stays."""
    lower_audit_bounds(dropped=10)
    store = make_store()
    for number in range(15):
        store.record_all([_fleets(str(number)), _strangers(str(number))])
    clock.advance(10 * DAY)
    store.record_all([_strangers("young"), _fleets("young")])
    dropped = []
    while gone := store.drop_old_audit(days=9):
        dropped.append(gone)
    assert sum(dropped) == 30
    assert max(dropped) == 10
    assert [row.reason for row in store.last_audit(100)] == ["young", "young"]


def test_batch_is_whole(store: Store) -> None:
    """Entries that are recorded together are one transaction: one that fails leaves none of them."""
    committed: list[None] = []
    store.on_committed(lambda: committed.append(None))

    def entries() -> Iterable[AuditEntry]:
        yield _strangers("first")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.record_all(entries())
    assert (store.last_audit(10), committed) == ([], [])
    _flood(store, 5)
    assert len(committed) == 1
