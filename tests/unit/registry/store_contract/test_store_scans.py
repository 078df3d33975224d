"""Looks through the registry that are bounded in work, and go on where they ended."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest

from fleetkey.config import Settings
from fleetkey.management import DeviceFilter, DeviceSelection, build_management
from fleetkey.management.bulk import BULK_CHUNK
from fleetkey.management.schemas import BulkAction
from fleetkey.registry import Actor, AuditEntry, AuditFilter, DeviceOrder, DeviceState, Presence
from tests.unit.registry.store_rig import FakeClock, StoreFactory, issue

if TYPE_CHECKING:
    from fleetkey.registry import Store


@pytest.fixture
def mixed(store: Store) -> dict[str, str]:
    """Register devices in which two common labels never meet, and return ids to serials, in order of id."""
    made = {}
    for number in range(30):
        side = {"left": "yes"} if number % 2 else {"right": "yes"}
        serial = f"S-{number}"
        _, device_id = issue(store, serial, tags=side, attributes={"third": str(number % 3)})
        made[device_id] = serial
    return dict(sorted(made.items()))


@pytest.mark.parametrize("max_scanned", [1, 4, 1000])
@pytest.mark.parametrize("limit", [1, 3, 1000])
def test_scan_devices(store: Store, mixed: dict[str, str], limit: int, max_scanned: int) -> None:
    """However short the looks are, together they find what matches, each once and in order."""
    wanted = [device_id for device_id, serial in mixed.items() if int(serial[2:]) % 2 and int(serial[2:]) % 3 == 1]
    found: list[str] = []
    after = ""
    for looks in itertools.count(1):
        scan = store.scan_devices(
            after=after, limit=limit, max_scanned=max_scanned, tags={"left": "yes"}, attributes={"third": "1"}
        )
        assert len(scan.items) <= limit
        found += [device.device_id for device in scan.items]
        if scan.reached is None:
            break
        assert scan.reached > after
        after = scan.reached
        assert looks <= len(mixed)
    assert found == wanted


def test_scan_devices_bounded(store: Store, mixed: dict[str, str]) -> None:
    """Labels that never meet end a look at the bound, not at the end of the fleet."""
    asked: list[str] = []

    def matches(serial: str) -> bool:
        asked.append(serial)
        return False

    scan = store.scan_devices(max_scanned=5, matches=matches)
    assert (list(scan.items), scan.reached) == ([], list(mixed)[4])
    assert asked == list(mixed.values())[:5]
    scan = store.scan_devices(max_scanned=5, tags={"left": "yes", "right": "yes"})
    assert not scan.items
    assert scan.reached is not None


@pytest.mark.parametrize("state", [DeviceState.PENDING, DeviceState.ACTIVE, DeviceState.DISABLED])
def test_scan_devices_in_a_state(store: Store, mixed: dict[str, str], state: DeviceState) -> None:
    """A state leads when it is rarer than the labels, and is asked for when it isn't."""
    chosen = list(mixed)[7]
    if state is not DeviceState.ACTIVE:
        store.set_device_state(chosen, state, actor="test")
    side = "left" if int(mixed[chosen][2:]) % 2 else "right"
    found = [device.device_id for device in store.scan_devices(max_scanned=99, state=state, tags={side: "yes"}).items]
    assert (found == [chosen]) == (state is not DeviceState.ACTIVE)
    assert len(found) in {1, 15}


@pytest.mark.parametrize("max_scanned", [1, 4, 1000])
@pytest.mark.parametrize("online", [True, False])
@pytest.mark.parametrize("connected", [2, 28])
@pytest.mark.parametrize("conditions", ["none", "pattern", "state", "tag", "serial"])
def test_pages_by_presence(
    store: Store,
    mixed: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    max_scanned: int,
    online: bool,  # noqa: FBT001 - a parameter of the test
    connected: int,
    conditions: str,
) -> None:
    """Who is connected leads when few are, and is asked for otherwise, beside every other condition."""
    monkeypatch.setattr("fleetkey.management.scans.MAX_SCANNED", max_scanned)
    ids = list(mixed)
    store.record_presence({device_id: Presence(is_online=True, connected_at=1) for device_id in ids[:connected]})
    chosen, wanted = {
        "none": (ids, DeviceFilter(online=online)),
        "pattern": (
            [one for one in ids if mixed[one].startswith("S-1")],
            DeviceFilter(online=online, serial_pattern="S-1[0-9]*"),
        ),
        "state": (ids, DeviceFilter(online=online, state=DeviceState.ACTIVE)),
        "tag": ([one for one in ids if int(mixed[one][2:]) % 2], DeviceFilter(online=online, tags={"left": "yes"})),
        "serial": (ids[5:6], DeviceFilter(online=online, serial=mixed[ids[5]])),
    }[conditions]
    expected = [device_id for device_id in chosen if (device_id in ids[:connected]) is online]
    service = build_management(Settings.model_construct(), store).devices
    assert [device.device_id for device in service.iterate(wanted)] == expected
    assert all(device.online is online for device in service.page(wanted).items)


def test_change_many_in_parts(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `max_pages` a change stops with a cursor, from which it goes on."""
    monkeypatch.setattr("fleetkey.management.bulk.BULK_CHUNK", 2)
    assert BULK_CHUNK > 2
    for number in range(5):
        issue(store, f"S-{number}", tags={"site": "north"})
    service, selection = (
        build_management(Settings.model_construct(), store).devices,
        DeviceSelection(tags={"site": "north"}),
    )
    counts, cursor = [], None
    while True:
        result = service.change_many(BulkAction.DISABLE, selection, actor="test", cursor=cursor, max_pages=1)
        counts.append(result.changed)
        cursor = result.next_cursor
        if cursor is None:
            break
    assert sum(counts) == 5
    assert max(counts) == 2
    assert len(service.page(DeviceFilter(state=DeviceState.DISABLED)).items) == 5


@pytest.mark.parametrize("max_scanned", [1, 3, 1000])
@pytest.mark.parametrize("limit", [1, 4, 1000])
def test_scan_audit(store: Store, limit: int, max_scanned: int) -> None:
    """Forward and backward, short looks together find what matches, each once."""
    for number in range(12):
        store.record(
            AuditEntry(actor="even" if number % 2 == 0 else "odd", action="a", outcome="ok", reason=str(number))
        )
    wanted, even = AuditFilter(actor="even", action="a"), [str(number) for number in range(0, 12, 2)]
    back: list[str] = []
    before: int | None = None
    while True:
        found, before = store.scan_audit(wanted, before=before, limit=limit, max_scanned=max_scanned)
        back += [entry.reason for entry in found]
        if before is None:
            break
    assert back == even[::-1]
    forward: list[str] = []
    after: int | None = 0
    for _ in range(30):
        found, after = store.scan_audit(wanted, after=after, limit=limit, max_scanned=max_scanned)
        forward += [entry.reason for entry in found]
    assert forward == even


def test_scan_audit_by_kind_and_address(store: Store) -> None:
    """A kind of actors stands for all of them, forward and backward, and every filter counts."""
    for actor in ("api:ci:1", "api", "apis", "cli:ann"):
        store.add_serials([f"S-{actor}"], actor=Actor(actor, address="192.0.2.1"))
    for wanted, actors in (
        (AuditFilter(actor="api"), ["api:ci:1", "api"]),
        (AuditFilter(actor="cli", address="192.0.2.1"), ["cli:ann"]),
        (AuditFilter(address="192.0.2.2"), []),
        (AuditFilter(since=0), ["api:ci:1", "api", "apis", "cli:ann"]),
        (AuditFilter(until=1), []),
    ):
        forward, _ = store.scan_audit(wanted, after=0, limit=9, max_scanned=99)
        back, _ = store.scan_audit(wanted, limit=9, max_scanned=99)
        assert [entry.actor for entry in forward] == actors
        assert back == forward[::-1]


def test_scan_audit_of_a_trimmed_one(make_store: StoreFactory) -> None:
    """Where the oldest entries are gone, a look forward begins at what there is."""
    store = make_store(max_audit_rows=10)
    for number in range(2_000):
        store.record(AuditEntry(actor="a", action="a", outcome="ok", reason=str(number)))
    found, _ = store.scan_audit(AuditFilter(), after=0, limit=100, max_scanned=5)
    assert [entry.reason for entry in found] == ["1990", "1991", "1992", "1993", "1994"]


def test_address_of_an_actor(store: Store) -> None:
    """An actor's address is audited with what it does."""
    store.add_serials(["A"], actor=Actor("api:ci:1", address="192.0.2.1"))
    assert [(entry.actor, entry.address) for entry in store.last_audit(1)] == [("api:ci:1", "192.0.2.1")]


def test_scan_devices_for_too_long(store: Store) -> None:
    """Looking ends after a time as well, at a place from which it goes on, and never without a step."""
    for number in range(6):
        issue(store, f"S{number}")
    everything = [device.device_id for device in store.list_devices()]
    found: list[str] = []
    after, looks = "", 0
    while True:
        scan = store.scan_devices(after=after, max_scanned=100, matches=lambda _: True, max_seconds=0.0)
        found += [device.device_id for device in scan.items]
        looks += 1
        if scan.reached is None:
            break
        after = scan.reached
    assert found == everything
    assert looks == len(everything) + 1


@pytest.mark.parametrize("max_scanned", [1, 4, 1000])
def test_count_found(store: Store, mixed: dict[str, str], max_scanned: int) -> None:
    """However short the looks are, together they count what matches."""
    count, after = 0, ""
    for _ in range(len(mixed) + 1):
        found = store.count_found(
            after=after,
            max_scanned=max_scanned,
            tags={"left": "yes"},
            attributes={"third": "1"},
            matches=lambda serial: serial != "S-1",
        )
        count += found.count
        if found.reached is None:
            break
        after = found.reached
    assert count == sum(int(one[2:]) % 2 and int(one[2:]) % 3 == 1 and one != "S-1" for one in mixed.values())
    assert store.count_found(max_scanned=1000, max_seconds=0.0).reached == min(mixed)


def test_sort_devices(store: Store, clock: FakeClock) -> None:
    """By serial, newest first, or last seen first; those never seen last, and of equals the lower id first."""
    ids = {}
    for serial in ("B", "C", "A", "D"):
        ids[serial] = issue(store, serial, tags={"side": "left" if serial in "AB" else "right"})[1]
        clock.advance(10)
    seen = {"B": 2_000, "D": 3_000}
    store.record_presence(
        {ids[serial]: Presence(last_seen_at=at, is_online=serial == "D") for serial, at in seen.items()}
    )

    def found(by: DeviceOrder, limit: int = 10, **options: Any) -> str:
        places = store.sort_devices(by, limit=limit, **{"max_seconds": 60, **options})
        assert places is not None
        serials = {device.device_id: device.serial for device in store.find_devices([one.device_id for one in places])}
        for start, place in enumerate(places):
            # The list continues after each place.
            rest = store.sort_devices(by, after=place, limit=limit - start, **{"max_seconds": 60, **options})
            assert rest is not None
            assert rest[: len(places) - start - 1] == places[start + 1 :]
        return "".join(serials[place.device_id] for place in places)

    assert found(DeviceOrder.SERIAL) == "ABCD"
    assert found(DeviceOrder.CREATED) == "DACB"
    never = "".join(sorted("AC", key=lambda serial: ids[serial]))
    assert found(DeviceOrder.SEEN) == f"DB{never}"
    assert found(DeviceOrder.SERIAL, limit=2) == "AB"
    assert found(DeviceOrder.CREATED, tags={"side": "left"}) == "AB"
    assert found(DeviceOrder.SEEN, online=True) == "D"
    assert found(DeviceOrder.SERIAL, online=False, limit=2, matches=lambda serial: serial != "B") == "AC"
    assert found(DeviceOrder.SERIAL, state=DeviceState.PENDING) == ""
    assert store.sort_devices(DeviceOrder.SERIAL, limit=1, matches=lambda _: False, max_seconds=0.0) is None
    # Whatever a search that took too long left behind.
    assert found(DeviceOrder.SERIAL) == "ABCD"
