"""Changes of many devices at once, in any store: each is one transaction."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fleetkey.registry import DevicePolicy, Reregistration, TooManyLabelsError
from tests.unit.registry.store_rig import JournalReader, active_keys, issue, keys_of

if TYPE_CHECKING:
    from fleetkey.registry import Store
    from tests.unit.registry.store_rig import FakeClock

UNKNOWN = "0" * 24


def test_tag_devices(store: Store) -> None:
    """Those that have just these tags already, and those that are gone, aren't touched; each is changed once."""
    ids = [issue(store, f"S{number}", tags={"site": "a", "line": "1"})[1] for number in range(3)]
    store.tag_device(ids[0], {"site": "b", "line": None}, actor="anna")
    journal = JournalReader(store)
    changed = store.tag_devices([*ids, ids[1], UNKNOWN], {"site": "b", "line": None}, actor="anna")
    assert changed == 2
    assert [store.device_tags(device_id) for device_id in ids] == [{"site": "b"}] * 3
    assert journal.read() == (["device_tagged"] * 2, ["device_tagged:ok"] * 2)


def test_tag_devices_too_many(store: Store) -> None:
    """If one of them would have too many tags, none is changed."""
    _, few = issue(store, "S1")
    _, many = issue(store, "S2", tags={f"t{number}": "x" for number in range(64)})
    journal = JournalReader(store)
    with pytest.raises(TooManyLabelsError) as caught:
        store.tag_devices([few, many], {"one_more": "x"}, actor="anna")
    assert caught.value.device_id == many
    assert store.device_tags(few) == {}
    assert journal.read() == ([], [])


def test_delete_devices(store: Store) -> None:
    """All that are there go, with their keys; how many is told."""
    ids = [issue(store, f"S{number}")[1] for number in range(3)]
    journal = JournalReader(store)
    assert store.delete_devices([*ids[:2], ids[0], UNKNOWN], actor="anna") == 2
    assert [device.device_id for device in store.list_devices()] == ids[2:]
    assert [active_keys(store, device_id) for device_id in ids[:2]] == [[], []]
    assert journal.read() == (["device_deleted", "key_retired"] * 2, ["device_deleted:ok"] * 2)


def test_expire_keys_of_devices(store: Store, clock: FakeClock) -> None:
    """Each device's keys end after its own grace period; those where nothing changes aren't counted or audited."""
    first, one = issue(store, "S1")
    second, two = issue(store, "S2")
    store.expire_device_keys(two, grace_seconds=5, actor="anna")
    third, three = issue(store, "S3")
    journal = JournalReader(store)
    assert store.devices_with_keys_to_expire({one: 10, two: 20, three: 30, UNKNOWN: 40}) == {one, three}
    assert journal.read() == ([], [])
    assert store.expire_keys_of_devices({one: 10, two: 20, three: 30, UNKNOWN: 40}, actor="anna") == 2
    ends = {
        key: found.expires_at for device_id in (one, two, three) for key, found in keys_of(store, device_id).items()
    }
    assert ends == {
        key: clock.milliseconds + seconds * 1000 for key, seconds in ((first, 10), (second, 5), (third, 30))
    }
    assert journal.read() == (["key_expiring"] * 2, ["keys_rotated:ok"] * 2)


def test_topic_patterns(store: Store) -> None:
    """Every pattern that a device was ever given stays known, also when the device is gone; each once, in order."""
    policy = DevicePolicy(reregistration=Reregistration.ADD, publish=("b/#", "a/#"), subscribe=("a/#",))
    assert store.topic_patterns() == []
    _, device_id = issue(store, "S1", policy=policy)
    issue(store, "S2", policy=policy)
    issue(store, "S2", policy=DevicePolicy(publish=("not/given",)))
    store.delete_device(device_id, actor="anna")
    assert store.topic_patterns() == ["a/#", "b/#"]
