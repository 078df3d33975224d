"""Registering again, in any store: `rotate`, `add` and `deny`."""

from __future__ import annotations

import pytest

from fleetkey.registry import IssueDenied, KeyStatus, Reregistration, Store
from tests.unit.registry.store_rig import (
    GRACE_SECONDS,
    FakeClock,
    JournalReader,
    active_keys,
    issue,
    keys_of,
    new_request,
)

ADD = Reregistration.ADD
DENY = Reregistration.DENY


def _may_connect(store: Store, clock: FakeClock, key: str) -> bool:
    login = store.find_login(key)
    assert login is not None
    in_time = login.expires_at is None or login.expires_at > clock.milliseconds
    return login.status is KeyStatus.ACTIVE and in_time


def test_rotate_newer_key_connects(store: Store) -> None:
    """The older keys get an end, and stop when the new one first connects."""
    older, device_id = issue(store)
    assert store.record_first_connection(older)
    newer, _ = issue(store)
    keys = keys_of(store, device_id)
    assert keys[older].expires_at == keys[newer].created_at + GRACE_SECONDS * 1000
    assert keys[newer].expires_at is None
    assert store.record_first_connection(newer)
    assert active_keys(store, device_id) == [newer]
    assert keys_of(store, device_id)[older].retired_reason == "replaced"
    assert not store.record_first_connection(older)


def test_rotate_answer_lost(store: Store, clock: FakeClock) -> None:
    """A key that never connects leaves the older one working until the grace period is over, and no longer."""
    older, device_id = issue(store)
    store.record_first_connection(older)
    issue(store)
    clock.advance(GRACE_SECONDS - 1)
    store.retire_expired_keys()
    assert _may_connect(store, clock, older)
    assert store.record_first_connection(older)
    clock.advance(1)
    assert not _may_connect(store, clock, older)
    assert not store.record_first_connection(older)
    store.retire_expired_keys()
    assert older not in active_keys(store, device_id)


def test_rotate_answer_lost_again_and_again(store: Store, clock: FakeClock) -> None:
    """Registering again doesn't put off the end of the older keys."""
    older, device_id = issue(store)
    store.record_first_connection(older)
    ends = clock.milliseconds + GRACE_SECONDS * 1000
    for _ in range(5):
        issue(store)
        clock.advance(60)
    assert keys_of(store, device_id)[older].expires_at == ends
    last, _ = issue(store)
    assert store.record_first_connection(last)
    assert active_keys(store, device_id) == [last]


def test_rotate_older_connects_late(store: Store) -> None:
    """When a key connects that was itself replaced already, it retires its elders and never the newer one."""
    oldest, device_id = issue(store)
    middle, _ = issue(store)
    newest, _ = issue(store)
    assert store.record_first_connection(middle)
    assert active_keys(store, device_id) == [middle, newest]
    assert store.record_first_connection(newest)
    assert active_keys(store, device_id) == [newest]
    assert not store.record_first_connection(oldest)


def test_rotate_no_grace(store: Store, clock: FakeClock) -> None:
    """Without a grace period the older key ends at once."""
    older, _ = issue(store)
    issue(store, grace_seconds=0)
    assert not _may_connect(store, clock, older)


def test_rotate_key_in_use_at_the_bound(store: Store, clock: FakeClock) -> None:
    """Not even the lowest `max_keys` takes the connected key away before the new one connects or grace is over."""
    in_use, _ = issue(store, max_keys=1)
    store.record_first_connection(in_use)
    for _ in range(3):
        issue(store, max_keys=1)
    assert _may_connect(store, clock, in_use)


def test_rotate_other_device(store: Store) -> None:
    """Another device's keys are no older keys of this one."""
    other, _ = issue(store, "S1")
    mine, _ = issue(store, "S2")
    issue(store, "S2")
    store.record_first_connection(issue(store, "S2")[0])
    assert store.get_key(other).expires_at is None
    assert store.get_key(mine).status is KeyStatus.RETIRED


def test_add_older_keys_stay(store: Store) -> None:
    """`add` gives one more key; none gets an end, and connecting retires none."""
    keys = [issue(store, reregistration=ADD)[0] for _ in range(3)]
    new, device_id = issue(store, reregistration=ADD)
    store.record_first_connection(new)
    assert active_keys(store, device_id) == [*keys, new]
    assert {key.expires_at for key in keys_of(store, device_id).values()} == {None}


def test_add_over_max_keys(store: Store) -> None:
    """Above `max_keys` one that never connected goes first, and then the oldest; never the new one."""
    first, device_id = issue(store, reregistration=ADD, max_keys=3)
    second, _ = issue(store, reregistration=ADD, max_keys=3)
    third, _ = issue(store, reregistration=ADD, max_keys=3)
    store.record_first_connection(first)
    store.record_first_connection(third)
    fourth, _ = issue(store, reregistration=ADD, max_keys=3)
    assert active_keys(store, device_id) == [first, third, fourth]
    assert keys_of(store, device_id)[second].retired_reason == "too_many_keys"
    store.record_first_connection(fourth)
    fifth, _ = issue(store, reregistration=ADD, max_keys=3)
    assert active_keys(store, device_id) == [third, fourth, fifth]


def test_add_again_and_again(store: Store) -> None:
    """Registering any number of times can't push out a key that is in use."""
    in_use, device_id = issue(store, reregistration=ADD, max_keys=3)
    store.record_first_connection(in_use)
    for _ in range(10):
        last, _ = issue(store, reregistration=ADD, max_keys=3)
    assert active_keys(store, device_id)[0] == in_use
    assert active_keys(store, device_id)[-1] == last
    assert len(active_keys(store, device_id)) == 3


def test_add_max_keys_lowered(store: Store) -> None:
    """When the setting is lowered, the next key retires as many as it takes."""
    for _ in range(5):
        _, device_id = issue(store, reregistration=ADD)
    issue(store, reregistration=ADD, max_keys=2)
    assert len(active_keys(store, device_id)) == 2


def test_deny_known_device(store: Store) -> None:
    """`deny` refuses a device that holds a key, and changes nothing."""
    key, device_id = issue(store, reregistration=DENY)
    outcome = store.issue_device_key(new_request(reregistration=DENY))
    assert isinstance(outcome, IssueDenied)
    assert outcome.reason == "already_registered"
    assert outcome.device.device_id == device_id
    assert list(keys_of(store, device_id)) == [key]


@pytest.mark.parametrize("how", ["revoked", "expired"])
def test_deny_no_key_left(how: str, store: Store, clock: FakeClock) -> None:
    """A known device without a working key may register again: that is how an operator lets it in."""
    key, device_id = issue(store, reregistration=DENY)
    if how == "revoked":
        store.revoke_key(key, actor="cli")
    else:
        store.expire_device_keys(device_id, grace_seconds=60, actor="cli")
        clock.advance(60)
    assert issue(store, reregistration=DENY)[1] == device_id


def test_keys_never_reused(store: Store, clock: FakeClock) -> None:
    """However a key ended, its row stays, so it can't be issued again."""
    keys = [issue(store, max_keys=2)[0] for _ in range(6)]
    store.record_first_connection(keys[-1])
    store.revoke_key(keys[-1], actor="cli")
    last, device_id = issue(store)
    clock.advance(GRACE_SECONDS)
    store.retire_expired_keys()
    store.delete_device(device_id, actor="cli")
    assert set(keys_of(store, device_id)) == {*keys, last}
    assert store.count_keys() == 7
    assert all(key.status is KeyStatus.RETIRED and key.retired_at for key in keys_of(store, device_id).values())


def test_rotation_journal(store: Store) -> None:
    """Issuing, ending, connecting and replacing are in the feed key by key, and in the audit once each."""
    older, device_id = issue(store)
    journal = JournalReader(store)
    newer, _ = issue(store)
    assert journal.read() == (["key_expiring", "key_issued"], ["register:ok"])
    store.record_first_connection(newer)
    assert journal.read() == (["key_retired", "key_connected"], ["key_connected:ok"])
    changes = store.changes_after(0)
    assert [change.key for change in changes][-4:] == [older, newer, older, newer]
    assert {change.device_id for change in changes} == {device_id}
    issue(store, reregistration=ADD, max_keys=1)
    assert journal.read() == (["key_issued", "key_retired"], ["register:ok"])
    store.issue_device_key(new_request(reregistration=DENY))
    assert journal.read() == ([], ["register:refused"])
    row = store.last_audit(1)[0]
    assert (row.serial, row.device_id, row.key, row.reason) == ("S1", device_id, None, "already_registered")
