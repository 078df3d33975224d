"""Many at once, in any store, and the end of it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from fleetkey.registry import (
    ApplicationScope,
    AuditEntry,
    ChangeKind,
    DeviceState,
    Reregistration,
    Store,
    StoreUnavailableError,
)
from tests.unit.registry.store_rig import SECRET_HASH, FakeClock, StoreFactory, issue, new_request

if TYPE_CHECKING:
    from collections.abc import Callable

THREADS = 50


def _at_once(work: Callable[[int], object]) -> None:
    """Run `work` in 50 threads that begin together; raises what any of them raised."""
    barrier = threading.Barrier(THREADS)

    def begin(number: int) -> None:
        barrier.wait(timeout=10)
        work(number)

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(begin, range(THREADS)))


def test_issue_device_key_one_serial_at_once(make_store: StoreFactory) -> None:
    """50 registrations of one serial, through two handles, end in one device with 50 keys."""
    stores = (make_store(), make_store())
    devices: set[str] = set()
    _at_once(lambda number: devices.add(issue(stores[number % 2], "S1", reregistration=Reregistration.ADD)[1]))
    assert len(devices) == 1
    assert (stores[0].count_devices(), stores[0].count_keys()) == (1, THREADS)
    kinds = [change.kind for change in stores[0].changes_after(0)]
    assert kinds.count(ChangeKind.DEVICE_CREATED) == 1


def test_issue_device_key_other_serials_at_once(store: Store) -> None:
    """50 serials at once are 50 devices, and readers beside the writers see whole ones only."""

    def register(number: int) -> None:
        key, device_id = issue(store, f"S{number}")
        assert store.get_device(device_id).serial == f"S{number}"
        assert [found.key for _, found in store.list_keys(device_id=device_id)] == [key]

    _at_once(register)
    assert store.count_devices() == THREADS


def test_mark_connected_rotation_at_once(store: Store) -> None:
    """When many keys of one device connect at once, the newest stays, whatever the order."""
    keys = [issue(store)[0] for _ in range(THREADS)]
    _at_once(lambda number: store.record_first_connection(keys[number]))
    assert [key.key for _, key in store.list_keys()] == keys[-1:]


def test_retire_expired_keys_by_two_at_once(make_store: StoreFactory, clock: FakeClock) -> None:
    """Two that clean up at the same time retire each key once: one change, one audit row."""
    stores = (make_store(), make_store())
    for number in range(20):
        _, device_id = issue(stores[0], f"S{number}")
        stores[0].expire_device_keys(device_id, grace_seconds=0, actor="cli")
    clock.advance(1)
    _at_once(lambda number: stores[number % 2].retire_expired_keys())
    kinds = [change.kind for change in stores[0].changes_after(0)]
    assert kinds.count(ChangeKind.KEY_RETIRED) == 20
    assert [row.action for row in stores[0].last_audit(1_000)].count("key_expired") == 20


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda store: store.ping(), id="ping"),
        pytest.param(lambda store: store.count_devices(), id="read"),
        pytest.param(lambda store: store.find_login("0" * 32), id="find_login"),
        pytest.param(lambda store: list(store.iter_serials()), id="iter_serials"),
        pytest.param(lambda store: store.changes_after(0), id="changes_after"),
        pytest.param(lambda store: store.change_bounds(), id="change_bounds"),
        pytest.param(lambda store: store.list_audit(), id="list_audit"),
        pytest.param(lambda store: store.issue_device_key(new_request()), id="issue"),
        pytest.param(lambda store: store.record_first_connection("0" * 32), id="record_first_connection"),
        pytest.param(lambda store: store.set_device_state("0", DeviceState.ACTIVE, actor="a"), id="state"),
        pytest.param(
            lambda store: store.create_application_key(
                key="k", secret_hash=SECRET_HASH, name="n", scope=ApplicationScope(), actor="a"
            ),
            id="application",
        ),
        pytest.param(lambda store: store.record(AuditEntry(actor="a", action="b", outcome="c")), id="record"),
        pytest.param(lambda store: store.add_serials(["A1"], actor="a"), id="add_serials"),
        pytest.param(lambda store: store.remove_serial("A1", actor="a"), id="remove_serial"),
        pytest.param(lambda store: store.watch(), id="watch"),
    ],
)
def test_closed_store(call: Callable[[Store], object], store: Store) -> None:
    """Whatever is asked of a closed store: `StoreUnavailableError`. Closing twice is no error."""
    store.add_serials(["A1"], actor="cli")
    store.close()
    store.close()
    with pytest.raises(StoreUnavailableError):
        call(store)


def test_close_while_in_use(store: Store) -> None:
    """Closing under load ends every call either as if before, or with `StoreUnavailableError`."""

    def work(number: int) -> None:
        try:
            if number == THREADS // 2:
                store.close()
            elif number % 2:
                issue(store, f"S{number}")
            else:
                store.list_devices()
        except StoreUnavailableError:
            pass

    _at_once(work)
    with pytest.raises(StoreUnavailableError):
        store.ping()
