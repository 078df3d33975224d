"""What a device's own policy, key lifetimes and an operator's rotation do in any store."""

from __future__ import annotations

import pytest

from fleetkey.registry import (
    ApplicationScope,
    DevicePolicy,
    DeviceState,
    IssueDenied,
    IssuePending,
    KeyIssued,
    NotFoundError,
    Reregistration,
    Store,
    TooManyLabelsError,
)
from tests.unit.registry.store_rig import (
    SECRET_HASH,
    FakeClock,
    JournalReader,
    active_keys,
    issue,
    keys_of,
    new_request,
)

ADD, DENY, ROTATE = Reregistration.ADD, Reregistration.DENY, Reregistration.ROTATE


def test_issue_own_policy_goes_first(store: Store) -> None:
    """The policy that a device was created with goes before the one that a later registration brings."""
    issue(store, policy=DevicePolicy(reregistration=DENY))
    outcome = store.issue_device_key(new_request(reregistration=ADD, policy=DevicePolicy(reregistration=ADD)))
    assert isinstance(outcome, IssueDenied)
    assert outcome.reason == "already_registered"


def test_issue_labels_are_for_creation(store: Store) -> None:
    """Name, tags, attributes and profile are given once."""
    _, device_id = issue(store, name="N {serial}", tags={"a": "1"}, attributes={"b": "2"}, profile="p")
    issue(store, name="other", tags={"a": "2"}, attributes={"b": "3"}, profile="q")
    device = store.get_device(device_id)
    assert (device.name, device.tags, device.attributes, device.profile) == ("N S1", {"a": "1"}, {"b": "2"}, "p")


def test_issue_name_is_filled_once(store: Store) -> None:
    """A serial that looks like a placeholder isn't filled in again, and a name is never too long."""
    _, device_id = issue(store, "{device_id}", name="{serial}")
    assert store.get_device(device_id).name == "{device_id}"
    _, other = issue(store, "x" * 128, name="name: {serial}")
    assert len(store.get_device(other).name) == 128


@pytest.mark.parametrize("own", [True, False], ids=["own", "fleet"])
def test_key_lifetime(store: Store, clock: FakeClock, *, own: bool) -> None:
    """A key works for its lifetime; then it is retired, and the device registers again, also under `deny`."""
    lifetime = {"policy": DevicePolicy(key_lifetime_seconds=60)} if own else {"key_lifetime_seconds": 60}
    key, device_id = issue(store, reregistration=DENY, **lifetime)
    assert store.get_key(key).expires_at == clock.milliseconds + 60_000
    clock.advance(59)
    assert store.retire_expired_keys() == 0
    assert isinstance(store.issue_device_key(new_request(reregistration=DENY)), IssueDenied)
    clock.advance(1)
    assert store.retire_expired_keys() == 1
    assert keys_of(store, device_id)[key].retired_reason == "expired"
    assert isinstance(store.issue_device_key(new_request(reregistration=DENY)), KeyIssued)


def test_key_lifetime_own_zero(store: Store) -> None:
    """A profile's 0 means no end, whatever the fleet's lifetime."""
    key, _ = issue(store, key_lifetime_seconds=60, policy=DevicePolicy(key_lifetime_seconds=0))
    assert store.get_key(key).expires_at is None


def test_key_lifetime_is_not_made_longer(store: Store, clock: FakeClock) -> None:
    """A grace period ends with the key's lifetime at the latest."""
    key, _ = issue(store, key_lifetime_seconds=60)
    issue(store, grace_seconds=3_600)
    assert store.get_key(key).expires_at == clock.milliseconds + 60_000


def test_rotate_under_deny(store: Store, clock: FakeClock) -> None:
    """From an operator's rotation on, a device may register under `deny`, once; its older key works meanwhile."""
    older, device_id = issue(store, reregistration=DENY)
    assert isinstance(store.issue_device_key(new_request(reregistration=DENY)), IssueDenied)
    store.expire_device_keys(device_id, grace_seconds=60, actor="anna")
    newer, _ = issue(store, reregistration=DENY)
    assert active_keys(store, device_id) == [older, newer]
    assert isinstance(store.issue_device_key(new_request(reregistration=DENY)), IssueDenied)
    assert store.record_first_connection(newer)
    assert keys_of(store, device_id)[older].retired_reason == "replaced"
    clock.advance(61)
    assert store.retire_expired_keys() == 0
    assert active_keys(store, device_id) == [newer]


def test_rotate_under_deny_older_ends(store: Store, clock: FakeClock) -> None:
    """A device that doesn't register is refused once the grace period is over, and then may."""
    older, device_id = issue(store, reregistration=DENY)
    store.expire_device_keys(device_id, grace_seconds=60, actor="anna")
    clock.advance(60)
    assert not store.record_first_connection(older)
    assert store.retire_expired_keys() == 1
    assert isinstance(store.issue_device_key(new_request(reregistration=DENY)), KeyIssued)


def test_rejected_device_stays_out(store: Store) -> None:
    """A rejected serial can't register until it is approved after all."""
    outcome = store.issue_device_key(new_request(require_approval=True))
    assert isinstance(outcome, IssuePending)
    device_id = outcome.device.device_id
    journal = JournalReader(store)
    store.set_device_state(device_id, DeviceState.REJECTED, actor="anna")
    assert journal.read() == (["device_rejected"], ["device_rejected:ok"])
    refused = store.issue_device_key(new_request())
    assert isinstance(refused, IssueDenied)
    assert refused.reason == "device_rejected"
    store.set_device_state(device_id, DeviceState.ACTIVE, actor="anna")
    assert journal.read() == (["device_approved"], ["register:refused", "device_approved:ok"])
    assert isinstance(store.issue_device_key(new_request()), KeyIssued)


def test_set_device_states(store: Store) -> None:
    """Those in an expected state are changed, with a change and an audit entry each; an unknown id stops it all."""
    outcomes = [store.issue_device_key(new_request(f"S{number}", require_approval=True)) for number in range(3)]
    ids = [outcome.device.device_id for outcome in outcomes]
    store.set_device_state(ids[2], DeviceState.DISABLED, actor="anna")
    journal = JournalReader(store)
    with pytest.raises(NotFoundError):
        store.set_device_states([*ids, "0" * 24], DeviceState.ACTIVE, expected={DeviceState.PENDING}, actor="anna")
    assert journal.read() == ([], [])
    changed = store.set_device_states([*ids, ids[0]], DeviceState.ACTIVE, expected={DeviceState.PENDING}, actor="anna")
    assert changed == 2
    assert journal.read() == (["device_approved"] * 2, ["device_approved:ok"] * 2)
    assert [store.get_device(device_id).state.value for device_id in ids] == ["active", "active", "disabled"]


def test_list_devices_by_labels(store: Store) -> None:
    """Tags, attributes and state together find what has all of them, page by page, however common each is."""
    for number in range(60):
        tags = {"site": "north" if number % 2 else "south"} | ({"rare": "yes"} if number % 20 == 1 else {})
        issue(store, f"S{number}", tags=tags, attributes={"batch": str(number % 3)})
    every = store.list_devices(limit=100)
    for tags, attributes in (
        ({"site": "north"}, {}),
        ({}, {"batch": "1"}),
        ({"site": "north", "rare": "yes"}, {}),
        ({"site": "north"}, {"batch": "2"}),
        ({"site": "nowhere"}, {"batch": "2"}),
    ):
        expected = [
            device.device_id
            for device in every
            if tags.items() <= device.tags.items() and attributes.items() <= device.attributes.items()
        ]
        found: list[str] = []
        while page := store.list_devices(after=found[-1] if found else "", limit=7, tags=tags, attributes=attributes):
            found += [device.device_id for device in page]
        assert found == expected
    store.set_device_state(every[0].device_id, DeviceState.DISABLED, actor="anna")
    assert [one.device_id for one in store.list_devices(state=DeviceState.DISABLED)] == [every[0].device_id]
    site = dict(every[0].tags)
    assert [one.device_id for one in store.list_devices(state=DeviceState.DISABLED, tags=site)] == [every[0].device_id]


def test_describe_device(store: Store) -> None:
    """Name and attributes are set, taken away, told and audited."""
    _, device_id = issue(store, attributes={"a": "1"})
    journal = JournalReader(store)
    device = store.describe_device(device_id, name="Pump", attributes={"a": None, "b": "2"}, actor="anna")
    assert (device.name, device.attributes) == ("Pump", {"b": "2"})
    assert journal.read() == (["device_described"], ["device_described:ok"])
    assert store.last_audit(1)[0].reason == "name=Pump, -attribute:a, attribute:b=2"
    assert store.describe_device(device_id, attributes={"c": "3"}, actor="anna").name == "Pump"
    store.describe_device(device_id, name="", actor="anna")
    assert store.last_audit(1)[0].reason == "-name"
    store.tag_device(device_id, {"site": "north", "line": None}, actor="anna")
    assert store.last_audit(1)[0].reason == "site=north, -line"
    store.tag_device(device_id, {f"{number}": "x" * 128 for number in range(40)}, actor="anna")
    assert store.last_audit(1)[0].reason.endswith(" and 37 more")
    with pytest.raises(NotFoundError):
        store.describe_device("0" * 24, name="x", actor="anna")


def test_labels_are_bounded(store: Store) -> None:
    """A device has at most 64 tags and 64 attributes; one more changes nothing."""
    _, device_id = issue(store, tags={f"t{number}": "x" for number in range(64)})
    journal = JournalReader(store)
    with pytest.raises(TooManyLabelsError):
        store.tag_device(device_id, {"t0": "y", "one_more": "x"}, actor="anna")
    with pytest.raises(TooManyLabelsError):
        store.describe_device(device_id, attributes={f"a{number}": "x" for number in range(65)}, actor="anna")
    assert journal.read() == ([], [])
    assert store.get_device(device_id).tags["t0"] == "x"
    store.tag_device(device_id, {"t0": None, "one_more": "x"}, actor="anna")


def test_delete_forgets_attributes(store: Store) -> None:
    """Nothing is left of a deleted device for the next one with its serial."""
    _, device_id = issue(store, name="N", attributes={"a": "1"})
    store.delete_device(device_id, actor="anna")
    assert store.list_devices(attributes={"a": "1"}) == []
    _, again = issue(store)
    assert (store.get_device(again).name, store.get_device(again).attributes) == ("", {})


def test_application_key_with_end_and_sources(store: Store, clock: FakeClock) -> None:
    """End, sources and description are kept; the key is retired when its end has come."""
    made = store.create_application_key(
        key="a" * 32,
        secret_hash=SECRET_HASH,
        name="x",
        description="more",
        scope=ApplicationScope(all_devices=True),
        sources=("10.0.0.0/8",),
        expires_at=clock.milliseconds + 1_000,
        actor="anna",
    )
    assert (made.description, made.sources, made.expires_at) == ("more", ("10.0.0.0/8",), clock.milliseconds + 1_000)
    login = store.find_login("a" * 32)
    assert login is not None
    assert login.sources == ("10.0.0.0/8",)
    clock.advance(1)
    assert store.retire_expired_keys() == 1
    assert store.get_key("a" * 32).retired_reason == "expired"
