"""The access keys of any store, however they were issued."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fleetkey.registry import (
    ApplicationScope,
    AuditFilter,
    DeviceState,
    KeyKind,
    KeysEnding,
    KeyStatus,
    NotFoundError,
    Reregistration,
    Store,
    new_access_key,
)
from tests.unit.registry.store_rig import (
    SECRET_HASH,
    FakeClock,
    JournalReader,
    StoreFactory,
    active_keys,
    issue,
    keys_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

UNKNOWN = "0" * 32
ADD = Reregistration.ADD


def _application_key(store: Store, **scope: object) -> str:
    key = new_access_key()
    store.create_application_key(
        key=key,
        secret_hash=SECRET_HASH,
        name="back end",
        scope=ApplicationScope(**scope),  # type: ignore[arg-type] # rows of a scope
        actor="cli",
    )
    return key


def test_find_login_device(store: Store) -> None:
    """A login has everything that decides about a device's key, and doesn't show the hash."""
    key, device_id = issue(store, "S1")
    login = store.find_login(key)
    assert login is not None
    assert (login.key, login.kind, login.status) == (key, KeyKind.DEVICE, KeyStatus.ACTIVE)
    assert (login.device_id, login.serial, login.device_state) == (device_id, "S1", DeviceState.ACTIVE)
    assert (login.expires_at, login.first_connected_at, login.scope) == (None, None, None)
    assert login.secret_hash == SECRET_HASH
    assert SECRET_HASH not in repr(login)
    store.set_device_state(device_id, DeviceState.DISABLED, actor="cli")
    disabled = store.find_login(key)
    assert disabled is not None
    assert disabled.device_state is DeviceState.DISABLED


@pytest.mark.parametrize("key", [UNKNOWN, "", "x' OR '1'='1", "%"])
def test_find_login_unknown(key: str, store: Store) -> None:
    """An unknown key has no login."""
    issue(store)
    assert store.find_login(key) is None


def test_mark_connected_first_time(store: Store, clock: FakeClock) -> None:
    """The first connection is recorded once; later ones don't move it."""
    key, _ = issue(store)
    assert store.record_first_connection(key)
    first = clock.milliseconds
    clock.advance(10)
    assert store.record_first_connection(key)
    assert store.get_key(key).first_connected_at == first


def test_mark_connected_address(store: Store) -> None:
    """The audit says from where a key was used for the first time."""
    key, _ = issue(store)
    store.record_first_connection(key, address="192.0.2.7")
    entry = store.list_audit()[-1]
    assert (entry.action, entry.key, entry.address) == ("key_connected", key, "192.0.2.7")


@pytest.mark.parametrize("why", ["revoked", "replaced", "expired", "deleted", "unknown"])
def test_mark_connected_key_stopped(why: str, store: Store, clock: FakeClock) -> None:
    """A key that stopped being active can't connect any more; False, and nothing is changed."""
    key, device_id = issue(store)
    if why == "replaced":
        store.record_first_connection(issue(store)[0])
    elif why == "revoked":
        store.revoke_key(key, actor="cli")
    elif why == "expired":
        store.expire_device_keys(device_id, grace_seconds=5, actor="cli")
        clock.advance(5)
    elif why == "deleted":
        store.delete_device(device_id, actor="cli")
    else:
        key = UNKNOWN
    journal = JournalReader(store)
    before = keys_of(store, device_id)
    assert not store.record_first_connection(key)
    assert keys_of(store, device_id) == before
    assert journal.read() == ([], [])


def test_create_application_key(store: Store) -> None:
    """An application key keeps its name and scope, whole; it belongs to no device."""
    _, device_id = issue(store)
    scope = {"device_ids": (device_id,), "tags": (("site", "ü"),), "publish": ("a/#",), "subscribe": ("b", "c/+")}
    key = _application_key(store, **scope)
    found = store.get_key(key)
    assert (found.kind, found.device_id, found.name) == (KeyKind.APPLICATION, None, "back end")
    assert found.scope == ApplicationScope(**scope)  # type: ignore[arg-type] # rows of a scope
    login = store.find_login(key)
    assert login is not None
    assert (login.scope, login.device_state, login.serial) == (found.scope, None, None)
    assert store.record_first_connection(key)


def test_create_application_key_unknown_device(store: Store) -> None:
    """A scope that names a device that isn't there is refused, and no key is stored."""
    _, device_id = issue(store)
    journal = JournalReader(store)
    with pytest.raises(NotFoundError):
        _application_key(store, device_ids=(device_id, "0" * 24))
    assert store.count_keys() == 1
    assert journal.read() == ([], [])


def test_revoke_key(store: Store, clock: FakeClock) -> None:
    """A revoked key is retired; revoking it again changes nothing and writes nothing."""
    key, device_id = issue(store)
    journal = JournalReader(store)
    revoked = store.revoke_key(key, actor="anna")
    assert (revoked.status, revoked.retired_reason) == (KeyStatus.RETIRED, "revoked")
    assert revoked.retired_at == clock.milliseconds
    assert journal.read() == (["key_retired"], ["key_revoked:ok"])
    clock.advance(60)
    assert store.revoke_key(key, actor="bert") == revoked
    assert journal.read() == ([], [])
    row = store.last_audit(1)[0]
    assert (row.actor, row.key, row.device_id) == ("anna", key, device_id)


@pytest.mark.parametrize("method", ["get", "revoke"])
def test_unknown_key(method: str, store: Store) -> None:
    """Whatever is asked of a key that isn't there: `NotFoundError`."""
    calls: dict[str, Callable[[], object]] = {
        "get": lambda: store.get_key(UNKNOWN),
        "revoke": lambda: store.revoke_key(UNKNOWN, actor="cli"),
    }
    with pytest.raises(NotFoundError):
        calls[method]()


def test_expire_device_keys(store: Store, clock: FakeClock) -> None:
    """All active keys of the device get an end; one that ends before keeps its own."""
    retired, device_id = issue(store, reregistration=ADD)
    store.revoke_key(retired, actor="cli")
    first, _ = issue(store, reregistration=ADD)
    assert store.expire_device_keys(device_id, grace_seconds=10, actor="cli") == KeysEnding(keys=1, ending_sooner=0)
    second, _ = issue(store, reregistration=ADD)
    other, _ = issue(store, "S2")
    assert store.expire_device_keys(device_id, grace_seconds=60, actor="cli") == KeysEnding(keys=1, ending_sooner=1)
    keys = keys_of(store, device_id)
    assert keys[first].expires_at == clock.milliseconds + 10_000
    assert keys[second].expires_at == clock.milliseconds + 60_000
    assert keys[retired].expires_at is None
    assert store.get_key(other).expires_at is None


def test_expire_device_keys_nothing_to_end(store: Store, clock: FakeClock) -> None:
    """What changes nothing is told and not audited; under `deny` a key that ends sooner is still let go once."""
    _, device_id = issue(store, reregistration=Reregistration.DENY, key_lifetime_seconds=10)
    journal = JournalReader(store)
    for audited in (["keys_rotated:ok"], []):
        ending = store.expire_device_keys(device_id, grace_seconds=60, actor="cli")
        assert ending == KeysEnding(keys=0, ending_sooner=1)
        assert journal.read() == ([], audited)
    clock.advance(10)
    assert store.expire_device_keys(device_id, grace_seconds=60, actor="cli") == KeysEnding(keys=0, ending_sooner=0)
    assert journal.read() == ([], [])


def test_retire_expired_keys(store: Store, clock: FakeClock) -> None:
    """A key is retired when its time is over, not before, and once."""
    key, device_id = issue(store)
    endless, _ = issue(store, "S2")
    store.expire_device_keys(device_id, grace_seconds=10, actor="cli")
    clock.advance(9.9)
    assert store.retire_expired_keys() == 0
    clock.advance(0.1)
    journal = JournalReader(store)
    assert store.retire_expired_keys() == 1
    assert journal.read() == (["key_retired"], ["key_expired:ok"])
    assert store.get_key(key).retired_reason == "expired"
    assert store.get_key(endless).status is KeyStatus.ACTIVE
    assert store.retire_expired_keys() == 0


def test_retire_expired_keys_more_than_the_limit(store: Store, clock: FakeClock) -> None:
    """At most `limit` are retired in one go; the rest in the next."""
    for _ in range(5):
        _, device_id = issue(store, reregistration=ADD)
    store.expire_device_keys(device_id, grace_seconds=0, actor="cli")
    clock.advance(1)
    assert [store.retire_expired_keys(limit=2) for _ in range(4)] == [2, 2, 1, 0]
    assert active_keys(store, device_id) == []


def test_retire_expired_keys_leaves_a_revoked_one(make_store: StoreFactory, clock: FakeClock) -> None:
    """A key that was revoked before its time was over stays revoked."""
    store = make_store()
    key, device_id = issue(store)
    store.expire_device_keys(device_id, grace_seconds=1, actor="cli")
    make_store().revoke_key(key, actor="cli")
    clock.advance(1)
    assert store.retire_expired_keys() == 0
    assert store.get_key(key).retired_reason == "revoked"


def test_list_keys(store: Store) -> None:
    """Pages in order of issue, narrowed by device and kind; retired ones only when asked for."""
    device_keys = [issue(store, reregistration=ADD)[0] for _ in range(3)]
    _, device_id = issue(store, "S2")
    application = _application_key(store, all_devices=True)
    store.revoke_key(device_keys[0], actor="cli")
    pages: list[tuple[int, str]] = []
    while page := store.list_keys(after=pages[-1][0] if pages else 0, limit=2, include_retired=True):
        pages += [(position, key.key) for position, key in page]
    assert [key for _, key in pages][:3] == device_keys
    assert [key for _, key in pages][-1] == application
    assert len(pages) == store.count_keys() == 5
    assert [key.key for _, key in store.list_keys(kind=KeyKind.APPLICATION)] == [application]
    assert len(store.list_keys()) == 4
    assert len(store.list_keys(kind=KeyKind.DEVICE, device_id=device_id)) == 1
    assert store.list_keys(kind=KeyKind.APPLICATION, device_id=device_id) == []


def test_keys_journal(store: Store) -> None:
    """Application keys and ended keys are in the feed and in the audit, in order, and no secret's hash is."""
    _, device_id = issue(store)
    issue(store, reregistration=ADD)
    journal = JournalReader(store)
    key = _application_key(store, all_devices=True)
    assert journal.read() == (["key_issued"], ["application_key_created:ok"])
    store.record_first_connection(key)
    assert journal.read() == (["key_connected"], ["key_connected:ok"])
    assert [row.actor for row in store.last_audit(2)] == ["cli", "application"]
    store.expire_device_keys(device_id, grace_seconds=0, actor="cli")
    assert journal.read() == (["key_expiring", "key_expiring"], ["keys_rotated:ok"])
    store.retire_expired_keys()
    assert journal.read() == (["key_retired", "key_retired"], ["key_expired:ok", "key_expired:ok"])
    assert SECRET_HASH not in repr(store.list_audit()) + repr(store.changes_after(0))


def test_audit_of_keys(store: Store) -> None:
    """What happens to a device's key is found by its serial."""
    key, device_id = issue(store, "S9")
    store.record_first_connection(key)
    store.expire_device_keys(device_id, grace_seconds=60, actor="cli")
    store.revoke_key(key, actor="cli")
    found = store.find_audit(AuditFilter(serial="S9")).records
    assert [entry.action for entry in found] == ["register", "key_connected", "keys_rotated", "key_revoked"]
