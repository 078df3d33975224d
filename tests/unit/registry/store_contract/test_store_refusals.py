"""Refusal records in any store: added up, found, bounded, and gone with their device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fleetkey.registry import (
    RefusalFilter,
    RefusalIncrement,
    RefusalListener,
    RefusalReason,
    RefusalStage,
    new_access_key,
)
from tests.unit.registry.store_rig import FakeClock, JournalReader, issue

if TYPE_CHECKING:
    from fleetkey.registry import RefusalRecord, Store
    from tests.unit.registry.store_rig import StoreFactory

DAY = 86_400
ALL = RefusalFilter()


def refused(**changes: Any) -> RefusalIncrement:
    """Return one refusal of a stranger's CONNECT, unless told otherwise."""
    values: dict[str, Any] = {
        "stage": RefusalStage.CONNECT,
        "reason": RefusalReason.UNKNOWN_KEY,
        "count": 1,
        "first_at": 1_000,
        "last_at": 1_000,
        "listener": RefusalListener.MQTT,
        "address": "192.0.2.1",
        "claimant": "address:192.0.2.1",
    }
    return RefusalIncrement(**{**values, **changes})


def stranger(number: int, **changes: Any) -> RefusalIncrement:
    """Return a refusal of an invented key."""
    key = f"{number:032x}"
    return refused(key=key, claimant=f"key:{key}", **changes)


def found(store: Store, wanted: RefusalFilter = ALL) -> list[RefusalRecord]:
    """Return the records that match, newest first."""
    return list(store.find_refusals(wanted, limit=1_000).records)


def test_counted(store: Store) -> None:
    """Refusals of one client for one reason are one record: counts add up, times widen, the last claims stay."""
    store.add_refusals([refused(client_id="a", count=2, first_at=5, last_at=7, topic="t", detail="x")])
    store.add_refusals(
        [refused(client_id="b", count=3, first_at=9, last_at=11, address=""), refused(first_at=4, last_at=4)]
    )
    store.add_refusals([])
    (record,) = found(store)
    assert (record.count, record.first_at, record.last_at) == (6, 4, 11)
    assert (record.client_id, record.topic, record.detail) == ("b", "t", "")
    assert record.address == "192.0.2.1"
    assert not record.is_known
    assert not record.is_proven


def test_told_apart(store: Store) -> None:
    """Another reason, stage or client is another record."""
    store.add_refusals(
        [
            refused(),
            refused(reason=RefusalReason.MALFORMED),
            refused(stage=RefusalStage.PUBLISH),
            refused(claimant="address:192.0.2.2"),
        ]
    )
    assert len(found(store)) == 4


def test_added_by_several(make_store: StoreFactory) -> None:
    """Two servers add to one record."""
    mine, other = make_store(), make_store()
    for _ in range(2):
        mine.add_refusals([stranger(1)])
        other.add_refusals([stranger(1, count=10)])
    assert [record.count for record in found(mine)] == [22]


def test_not_a_change(store: Store) -> None:
    """Neither the feed nor the audit has anything about it."""
    journal = JournalReader(store)
    store.add_refusals([refused()])
    assert journal.read() == ([], [])


def test_belongs_to(store: Store) -> None:
    """A record belongs to the proven device, or to that of the claimed key or serial, and is then known."""
    key, device_id = issue(store, "S1")
    store.add_serials(["L1"], actor="cli")
    gone_key, gone = issue(store, "S2")
    store.delete_device(gone, actor="cli")
    for increment, belongs, is_known in (
        (refused(device_id=device_id, is_proven=True), device_id, True),
        (refused(key=key, reason=RefusalReason.WRONG_SECRET), device_id, True),
        (refused(serial="S1", stage=RefusalStage.REGISTER), device_id, True),
        (refused(serial="L1", stage=RefusalStage.REGISTER), None, True),
        (refused(serial="L2", stage=RefusalStage.REGISTER, claimant="serial:L2"), None, False),
        (refused(key=gone_key), None, True),
        (refused(key=new_access_key()), None, False),
        (refused(device_id=gone, claimant="client:x"), None, False),
    ):
        store.add_refusals([increment])
        record = found(store)[0]
        assert (record.device_id, record.is_known) == (belongs, is_known)


def test_one_identity_for_all_claims(store: Store) -> None:
    """A device that is named by its key and by its id is the same client."""
    key, device_id = issue(store, "S1")
    store.add_refusals([refused(key=key), refused(device_id=device_id, claimant="key:1"), refused(serial="S1")])
    assert [record.count for record in found(store)] == [3]


@pytest.mark.parametrize(
    "wanted",
    [
        RefusalFilter(serial="S1"),
        RefusalFilter(key="k1"),
        RefusalFilter(client_id="c1"),
        RefusalFilter(address="192.0.2.9"),
        RefusalFilter(stage=RefusalStage.REGISTER),
        RefusalFilter(reason=RefusalReason.PENDING),
        RefusalFilter(since=2_000),
        RefusalFilter(serial="S1", key="k1", stage=RefusalStage.REGISTER),
    ],
)
def test_filter(store: Store, wanted: RefusalFilter) -> None:
    """Each filter finds what it names, and no other."""
    store.add_refusals(
        [
            refused(
                serial="S1",
                key="k1",
                client_id="c1",
                address="192.0.2.9",
                stage=RefusalStage.REGISTER,
                reason=RefusalReason.PENDING,
                last_at=2_000,
                claimant="serial:S1",
            ),
            refused(serial="S2", key="k2", client_id="c2", claimant="serial:S2"),
        ]
    )
    assert [record.serial for record in found(store, wanted)] == ["S1"]
    assert found(store, RefusalFilter(serial="S1", key="k2")) == []


def test_filter_device(store: Store) -> None:
    """The records of a device are found by its id."""
    _, device_id = issue(store, "S1")
    store.add_refusals([refused(serial="S1"), refused(serial="S2", claimant="serial:S2")])
    assert [record.serial for record in found(store, RefusalFilter(device_id=device_id))] == ["S1"]


def test_pages(store: Store) -> None:
    """Pages go from the record that changed last to the one that changed first, each record once."""
    store.add_refusals([stranger(number) for number in range(5)])
    store.add_refusals([stranger(1)])
    seen, before, pages = list[str | None](), None, 0
    while True:
        page = store.find_refusals(ALL, before=before, limit=2)
        seen += [record.key for record in page.records]
        before, pages = page.reached, pages + 1
        if before is None:
            break
    assert [int(key or "", 16) for key in seen] == [1, 4, 3, 2, 0]
    assert pages == 3


def test_strangers_displace_only_strangers(make_store: StoreFactory) -> None:
    """However many identities strangers invent, the records of devices, keys and listed serials stay."""
    store = make_store(max_stranger_refusals=10)
    key, device_id = issue(store, "S1")
    store.add_serials(["L1"], actor="cli")
    known = [refused(key=key), refused(serial="L1"), refused(device_id=device_id, reason=RefusalReason.KEY_EXPIRED)]
    store.add_refusals(known)
    for start in range(0, 500, 100):
        store.add_refusals([stranger(number) for number in range(start, start + 100)])
    records = found(store)
    assert len([record for record in records if record.is_known]) == len(known)
    assert [int(record.key or "", 16) for record in records if not record.is_known] == list(range(499, 489, -1))


def test_bound_for_all(make_store: StoreFactory) -> None:
    """Beyond the bound for all known clients, the oldest of their records go, and none of strangers."""
    store = make_store(max_refusals=3)
    store.add_serials([f"L{number}" for number in range(5)], actor="cli")
    store.add_refusals([stranger(1), *(refused(serial=f"L{number}") for number in range(5))])
    assert [record.serial for record in found(store)] == ["L4", "L3", "L2", None]


def test_bound_per_device(make_store: StoreFactory) -> None:
    """Beyond the bound for one device, its oldest records go, and no other device's."""
    store = make_store(max_refusals_per_device=2)
    _, one = issue(store, "S1")
    _, other = issue(store, "S2")
    store.add_refusals([refused(device_id=other)])
    for reason in (RefusalReason.KEY_EXPIRED, RefusalReason.KEY_RETIRED, RefusalReason.FOREIGN_WILL):
        store.add_refusals([refused(device_id=one, reason=reason)])
    assert [record.reason for record in found(store, RefusalFilter(device_id=one))] == [
        RefusalReason.FOREIGN_WILL,
        RefusalReason.KEY_RETIRED,
    ]
    assert len(found(store, RefusalFilter(device_id=other))) == 1


def test_gone_with_the_device(store: Store) -> None:
    """A deleted device's records are deleted with it."""
    _, one = issue(store, "S1")
    _, other = issue(store, "S2")
    store.add_refusals([refused(device_id=one), refused(device_id=other)])
    store.delete_device(one, actor="cli")
    assert [record.device_id for record in found(store)] == [other]


def test_retention(store: Store, clock: FakeClock) -> None:
    """Records whose last refusal is too old are dropped, and no others."""
    now = clock.milliseconds
    store.add_refusals([stranger(1, first_at=now, last_at=now), stranger(2, first_at=now, last_at=now)])
    clock.advance(3 * DAY)
    store.add_refusals([stranger(2, first_at=clock.milliseconds, last_at=clock.milliseconds)])
    assert store.drop_old_refusals(days=4) == 0
    clock.advance(2 * DAY)
    assert store.drop_old_refusals(days=4) == 1
    assert store.drop_old_refusals(days=4) == 0
    assert [record.key for record in found(store)] == [f"{2:032x}"]
