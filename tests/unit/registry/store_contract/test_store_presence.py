"""Presence in any store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.registry import ApplicationScope, Presence, new_access_key
from tests.unit.registry.store_rig import JournalReader, issue

if TYPE_CHECKING:
    from fleetkey.registry import Store


def test_record_presence(store: Store) -> None:
    """What is new replaces what was known, what isn't said leaves it; unknown devices are left out."""
    _, device_id = issue(store, "S1")
    _, other = issue(store, "S2")
    journal = JournalReader(store)
    assert store.get_device(device_id).presence == Presence()
    connected = Presence(is_online=True, connected_at=10, last_seen_at=10, address="192.0.2.1")
    store.record_presence({device_id: connected, "0" * 24: connected})
    assert store.get_device(device_id).presence == connected
    assert store.get_device(other).presence == Presence()
    assert store.count_online() == 1
    store.record_presence({device_id: Presence(disconnected_at=20, reason="client_left")})
    assert store.get_device(device_id).presence == Presence(
        connected_at=10, disconnected_at=20, last_seen_at=10, address="192.0.2.1", reason="client_left"
    )
    assert store.count_online() == 0
    assert store.count_devices() == 2
    # Why the last connection ended is still known while the next one lasts.
    store.record_presence({device_id: Presence(is_online=True, connected_at=30)})
    assert store.get_device(device_id).presence.reason == "client_left"
    assert journal.read() == ([], [])


def test_end_presence(store: Store) -> None:
    """Nobody is connected any more, each as of when it was last heard of; whoever had left already isn't touched."""
    ids = [issue(store, f"S{number}")[1] for number in range(3)]
    left = Presence(connected_at=1, disconnected_at=2, reason="client_left")
    store.record_presence(
        {
            ids[0]: Presence(is_online=True, connected_at=10, last_seen_at=15),
            ids[1]: Presence(is_online=True, connected_at=10),
            ids[2]: left,
        }
    )
    assert store.end_presence(reason="server_ended") == 2
    assert [store.get_device(device_id).presence.disconnected_at for device_id in ids] == [15, 10, 2]
    assert [store.get_device(device_id).presence.reason for device_id in ids[:2]] == ["server_ended"] * 2
    assert store.get_device(ids[2]).presence == left
    assert store.end_presence(reason="server_ended") == 0


def test_presence_of_a_deleted_device(store: Store) -> None:
    """A deleted device isn't online any more."""
    _, device_id = issue(store)
    store.record_presence({device_id: Presence(is_online=True, connected_at=1)})
    store.delete_device(device_id, actor="cli")
    assert store.count_online() == 0


def test_presence_of_an_application(store: Store) -> None:
    """An application key has its own, however it is read; that isn't a device's, and a device's key has none."""
    device_key, device_id = issue(store)
    application = new_access_key()
    scope = ApplicationScope(all_devices=True)
    store.create_application_key(key=application, secret_hash="-", name="app", scope=scope, actor="cli")
    connected = Presence(is_online=True, connected_at=10, last_seen_at=10, address="192.0.2.1")
    store.record_presence({application: connected, device_key: connected, device_id: connected, "f" * 32: connected})
    assert store.get_key(application).presence == connected
    assert [key.presence for _, key in store.list_keys()] == [Presence(), connected]
    assert store.count_online() == 1
    store.record_presence({application: Presence(is_online=True, last_seen_at=20)})
    assert store.end_presence(reason="server_ended") == 2
    ended = store.get_key(application).presence
    assert (ended.is_online, ended.disconnected_at, ended.reason) == (False, 20, "server_ended")
