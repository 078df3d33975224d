"""The devices of any store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fleetkey.registry import (
    ApplicationScope,
    DeviceState,
    IssueDenied,
    IssuePending,
    KeyStatus,
    NotFoundError,
    Store,
    is_device_id,
)
from tests.unit.registry.store_rig import FakeClock, JournalReader, issue, keys_of, new_request

if TYPE_CHECKING:
    from collections.abc import Callable

UNKNOWN = "0" * 24


def test_issue_device_key_new_serial(store: Store, clock: FakeClock) -> None:
    """A new serial gets a device with a random id, active, without tags."""
    _, device_id = issue(store, "S1")
    device = store.get_device(device_id)
    assert is_device_id(device_id)
    assert device_id == device_id.lower()
    assert (device.serial, device.state, device.tags) == ("S1", DeviceState.ACTIVE, {})
    assert device.created_at == device.updated_at == clock.milliseconds
    assert store.find_device("S1") == device


def test_issue_device_key_same_serial(store: Store) -> None:
    """The same serial is the same device, in every spelling but its own another one."""
    _, first = issue(store, "S1")
    _, again = issue(store, "S1")
    _, other = issue(store, "s1")
    assert first == again != other
    assert store.count_devices() == 2


def test_issue_device_key_approval_required(store: Store) -> None:
    """A new device waits without a key; once approved it gets one, as the same device."""
    outcome = store.issue_device_key(new_request(require_approval=True))
    assert isinstance(outcome, IssuePending)
    assert outcome.device.state is DeviceState.PENDING
    assert isinstance(store.issue_device_key(new_request(require_approval=True)), IssuePending)
    assert store.count_keys() == 0
    device_id = outcome.device.device_id
    assert store.set_device_state(device_id, DeviceState.ACTIVE, actor="cli").state is DeviceState.ACTIVE
    assert issue(store, require_approval=True)[1] == device_id


def test_issue_device_key_approval_no_longer_required(store: Store) -> None:
    """A device that waits goes on waiting when the setting changes: nobody approved it."""
    store.issue_device_key(new_request(require_approval=True))
    assert isinstance(store.issue_device_key(new_request()), IssuePending)


def test_issue_device_key_disabled(store: Store) -> None:
    """A disabled device gets no key and keeps those it has; enabled, it gets one again."""
    key, device_id = issue(store)
    store.set_device_state(device_id, DeviceState.DISABLED, actor="cli")
    outcome = store.issue_device_key(new_request())
    assert isinstance(outcome, IssueDenied)
    assert outcome.reason == "device_disabled"
    assert list(keys_of(store, device_id)) == [key]
    store.set_device_state(device_id, DeviceState.ACTIVE, actor="cli")
    assert issue(store)[1] == device_id


def test_tag_device(store: Store, clock: FakeClock) -> None:
    """Tags are set, changed and taken away; those that aren't named stay."""
    _, device_id = issue(store)
    clock.advance(5)
    store.tag_device(device_id, {"site": "a", "line": "1"}, actor="cli")
    device = store.tag_device(device_id, {"site": "b", "line": None, "absent": None, "x'y": "ü"}, actor="cli")
    assert device.tags == {"site": "b", "x'y": "ü"} == store.device_tags(device_id)
    assert device.updated_at == clock.milliseconds > device.created_at
    assert store.device_tags(UNKNOWN) == {}


def test_list_devices_pages(store: Store) -> None:
    """Pages follow each other in order of id and end."""
    ids = sorted(issue(store, f"S{number}")[1] for number in range(7))
    pages: list[str] = []
    while page := store.list_devices(after=pages[-1] if pages else "", limit=3):
        pages += [device.device_id for device in page]
    assert pages == ids


def test_list_devices_by_state_and_tags(store: Store) -> None:
    """A state and any number of tags narrow the list together, page by page."""
    found: dict[str, str] = {}
    for number in range(12):
        _, device_id = issue(store, f"S{number}")
        found[device_id] = f"S{number}"
        store.tag_device(device_id, {"even": str(number % 2 == 0), "third": str(number % 3)}, actor="cli")
        if number >= 6:
            store.set_device_state(device_id, DeviceState.DISABLED, actor="cli")
    wanted = sorted(device_id for device_id, serial in found.items() if serial in {"S6", "S0"})
    tags = {"even": "True", "third": "0"}
    assert [device.device_id for device in store.list_devices(tags=tags)] == wanted
    first = store.list_devices(tags=tags, limit=1)
    assert [device.device_id for device in first] == wanted[:1]
    assert first[0].tags == tags
    assert [device.device_id for device in store.list_devices(tags=tags, after=wanted[0])] == wanted[1:]
    disabled = store.list_devices(tags=tags, state=DeviceState.DISABLED)
    assert [device.serial for device in disabled] == ["S6"]
    assert store.list_devices(tags={**tags, "none": "x"}) == []
    assert len(store.list_devices(state=DeviceState.ACTIVE)) == 6


def test_scope_devices(store: Store) -> None:
    """A scope's devices: those named, if they exist, and those with all of its tags; each once, bounded."""
    ids = [issue(store, f"S{number}")[1] for number in range(5)]
    for device_id in ids[:3]:
        store.tag_device(device_id, {"site": "a"}, actor="cli")
    store.tag_device(ids[0], {"line": "1"}, actor="cli")

    def reached(scope: ApplicationScope, limit: int = 100) -> set[str]:
        devices = store.scope_devices(scope, limit=limit)
        assert len({device.device_id for device in devices}) == len(devices)
        return {device.device_id for device in devices}

    assert reached(ApplicationScope(device_ids=(ids[4], UNKNOWN))) == {ids[4]}
    assert reached(ApplicationScope(tags=(("site", "a"),))) == set(ids[:3])
    assert reached(ApplicationScope(tags=(("site", "a"), ("line", "1")))) == {ids[0]}
    assert reached(ApplicationScope(device_ids=(ids[0], ids[4]), tags=(("site", "a"),))) == {*ids[:3], ids[4]}
    assert len(reached(ApplicationScope(device_ids=(ids[4],), tags=(("site", "a"),)), limit=2)) == 2
    assert reached(ApplicationScope()) == set()


def test_delete_device(store: Store, clock: FakeClock) -> None:
    """A deleted device is gone with its tags; its keys are retired and stay; its serial begins anew."""
    key, device_id = issue(store)
    newer, _ = issue(store)
    store.tag_device(device_id, {"site": "a"}, actor="cli")
    store.delete_device(device_id, actor="cli")
    assert store.find_device("S1") is None
    assert store.device_tags(device_id) == {}
    assert {(found.status, found.retired_reason, found.retired_at) for found in keys_of(store, device_id).values()} == {
        (KeyStatus.RETIRED, "device_deleted", clock.milliseconds)
    }
    login = store.find_login(newer)
    assert login is not None
    assert (login.status, login.device_state) == (KeyStatus.RETIRED, None)
    assert not store.record_first_connection(key)
    assert issue(store)[1] != device_id
    assert store.list_devices(tags={"site": "a"}) == []


@pytest.mark.parametrize("method", ["get", "state", "tag", "delete", "expire"])
def test_unknown_device(method: str, store: Store) -> None:
    """Whatever is asked of a device that isn't there: `NotFoundError` with its id, and nothing is written."""
    journal = JournalReader(store)
    calls: dict[str, Callable[[], object]] = {
        "get": lambda: store.get_device(UNKNOWN),
        "state": lambda: store.set_device_state(UNKNOWN, DeviceState.ACTIVE, actor="cli"),
        "tag": lambda: store.tag_device(UNKNOWN, {"a": "b"}, actor="cli"),
        "delete": lambda: store.delete_device(UNKNOWN, actor="cli"),
        "expire": lambda: store.expire_device_keys(UNKNOWN, grace_seconds=0, actor="cli"),
    }
    with pytest.raises(NotFoundError) as caught:
        calls[method]()
    assert caught.value.identifier == UNKNOWN
    assert journal.read() == ([], [])


def test_devices_journal(store: Store) -> None:
    """Every change to a device has its row in the feed and its row in the audit, in order."""
    journal = JournalReader(store)
    store.issue_device_key(new_request("P1", require_approval=True))
    pending = store.find_device("P1")
    assert pending is not None
    assert journal.read() == (["device_created", "device_pending"], ["register:pending"])
    _, device_id = issue(store, "S1")
    assert journal.read() == (["device_created", "key_issued"], ["register:ok"])
    store.set_device_state(pending.device_id, DeviceState.ACTIVE, actor="cli")
    assert journal.read() == (["device_approved"], ["device_approved:ok"])
    store.set_device_state(device_id, DeviceState.DISABLED, actor="cli")
    assert journal.read() == (["device_disabled"], ["device_disabled:ok"])
    store.set_device_state(device_id, DeviceState.DISABLED, actor="cli")
    assert journal.read() == ([], [])
    store.issue_device_key(new_request("S1"))
    assert journal.read() == ([], ["register:refused"])
    store.set_device_state(device_id, DeviceState.ACTIVE, actor="cli")
    assert journal.read() == (["device_enabled"], ["device_enabled:ok"])
    store.tag_device(device_id, {"site": "a"}, actor="cli")
    assert journal.read() == (["device_tagged"], ["device_tagged:ok"])
    store.delete_device(device_id, actor="cli")
    assert journal.read() == (["device_deleted", "key_retired"], ["device_deleted:ok"])


def test_deleted_serial(store: Store) -> None:
    """The serial of a device that is gone is known from the audit."""
    _, device_id = issue(store, "S1")
    assert store.deleted_serial(device_id) is None
    store.delete_device(device_id, actor="cli")
    assert store.deleted_serial(device_id) == "S1"
