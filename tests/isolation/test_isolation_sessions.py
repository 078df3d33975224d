"""A session belongs to the principal that opened it, and ends as MQTT says."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.packets import Will
from tests.support.waiting import WAIT_SECONDS, eventually

if TYPE_CHECKING:
    from tests.support.fleet import Credentials, Fleet


def _queue(fleet: Fleet, device: Credentials, payload: bytes) -> None:
    with fleet.connect(fleet.application()) as back_end:
        assert back_end.publish(device.topic("inbox"), payload)


@pytest.mark.parametrize("websocket", [False, True], ids=["tcp", "websocket"])
@pytest.mark.parametrize("clean", [True, False], ids=["clean", "persistent"])
def test_connect_client_id_of_another_application(fleet: Fleet, *, clean: bool, websocket: bool) -> None:
    """CONNACK 2, and the application that had it first stays connected, subscribed and keeps its queue."""
    first, second = fleet.application(), fleet.application(subscribe=("#",))
    device = fleet.device()
    with fleet.connect(first, clean=False, websocket=websocket) as kept, fleet.connect(second) as watcher:
        assert kept.subscribe(device.topic("#")) == [1]
        assert watcher.subscribe("#") == [1]
        for _ in range(3):
            with fleet.client(second, client_id=first.client_id, clean=clean, websocket=websocket) as refused:
                assert refused.return_code == 2
                assert not refused.is_session_present
        assert kept.is_connected
        with fleet.connect(device) as source:
            assert source.publish(device.topic("x"), b"hello")
        assert kept.hears(device.topic("x"), b"hello")
    with fleet.client(second, client_id=first.client_id, clean=clean) as refused:
        assert refused.return_code == 2
    _queue(fleet, device, b"while away")
    with fleet.connect(first, clean=False) as kept:
        assert kept.is_session_present
        assert kept.hears(device.topic("inbox"), b"while away")


@pytest.mark.parametrize("clean", [True, False], ids=["clean", "persistent"])
def test_connect_again(fleet: Fleet, *, clean: bool) -> None:
    """A device's second connection ends its first (MQTT 3.1.1, 3.1.4-2), works, and is the one that counts."""
    device = fleet.device()
    with fleet.connect(device, clean=clean) as first, fleet.connect(fleet.application()) as back_end:
        assert first.subscribe(device.topic("#")) == [1]
        with fleet.connect(device, clean=clean) as second:
            assert first.is_disconnected_within(2)
            assert second.subscribe(device.topic("#")) == [1]
            for number in range(5):
                assert back_end.publish(device.topic("command"), str(number))
                assert second.hears(device.topic("command"), str(number))
            assert second.is_connected
            assert [payload for _, payload in second.heard] == [b"0", b"1", b"2", b"3", b"4"]
            with fleet.store() as store:
                store.revoke_key(device.key, actor="test")
            assert second.is_disconnected_within(2)
        assert first.heard == []


def test_connect_again_many_times(fleet: Fleet) -> None:
    """However fast a device comes back, its last connection works and its session is there."""
    device = fleet.device()
    for number in range(20):
        with fleet.connect(device, clean=False) as client:
            assert client.is_session_present == bool(number)
            assert client.subscribe(device.topic("#")) == [1]
            assert client.publish(device.topic("x"), str(number))
            assert client.hears(device.topic("x"), str(number))
            assert client.is_connected


def test_connect_persistent_after_clean(fleet: Fleet) -> None:
    """The state of a clean session is part of no later one (MQTT 3.1.1, 3.1.2-6)."""
    device = fleet.device()
    with fleet.connect(device) as client:
        assert client.subscribe(device.topic("#")) == [1]
        assert client.publish(device.topic("x"), b"1")
        assert client.hears(device.topic("x"), b"1")
    with fleet.connect(device, clean=False) as client:
        assert not client.is_session_present
        _queue(fleet, device, b"2")
        assert client.publish(device.topic("x"), b"3")
        client.unsubscribe("nothing")
        assert client.heard == []


def test_connect_clean_after_persistent(fleet: Fleet) -> None:
    """A clean CONNECT throws away the session and what was queued for it (3.1.2-6)."""
    device = fleet.device()
    with fleet.connect(device, clean=False) as client:
        assert client.subscribe(device.topic("#")) == [1]
    _queue(fleet, device, b"1")
    with fleet.connect(device) as client:
        assert not client.is_session_present
        client.unsubscribe("nothing")
        assert client.heard == []
    with fleet.connect(device, clean=False) as client:
        assert not client.is_session_present


@pytest.mark.parametrize("qos", [1, 2])
def test_resume_with_newer_key(fleet: Fleet, qos: int) -> None:
    """A session is the device's, whichever of its keys it uses: what was queued arrives after a rotation, in order."""
    device = fleet.device()
    with fleet.connect(device, clean=False) as client:
        assert client.subscribe(device.topic("inbox"), qos=qos) == [qos]
    with fleet.connect(fleet.application()) as back_end:
        for number in range(10):
            assert back_end.publish(device.topic("inbox"), str(number), qos=qos)
    newer = fleet.register(device.serial)
    assert newer.client_id == device.client_id
    with fleet.connect(newer, clean=False) as client:
        assert client.is_session_present
        assert eventually(lambda: len(client.messages) == 10)
        assert [message.payload for message in client.messages] == [str(number).encode() for number in range(10)]
        assert {message.qos for message in client.messages} == {qos}
        assert not any(message.retain for message in client.messages)


def test_deny_delivery_to_deleted_device(fleet: Fleet) -> None:
    """A device's queue goes with the device: the one that registers with its serial next gets nothing of it."""
    device, canary = fleet.device(), fleet.device()
    with fleet.connect(device, clean=False) as client:
        assert client.subscribe(device.topic("#")) == [1]
    _queue(fleet, device, b"secret order")
    with fleet.connect(canary) as watched:
        with fleet.store() as store:
            store.delete_device(device.client_id, actor="test")
            store.delete_device(canary.client_id, actor="test")
        # Changes arrive in order. Trying the device itself, as long as it gets in, would clear its queue.
        assert watched.is_disconnected_within(WAIT_SECONDS)
    assert not fleet.can_connect(device)
    successor = fleet.register(device.serial)
    assert successor.client_id != device.client_id
    with fleet.connect(successor, clean=False) as client:
        assert not client.is_session_present
        assert client.subscribe(successor.topic("#")) == [1]
        assert client.publish(successor.topic("end"), b"end")
        assert client.hears(successor.topic("end"), b"end")
        assert client.heard == [(successor.topic("end"), b"end")]


def test_take_over_publishes_no_will_of_successor(fleet: Fleet) -> None:
    """A connection that came with a will and ends in order publishes none, though it took over a session with one."""
    device = fleet.device()
    topic = device.topic("gone")
    with fleet.connect(fleet.application()) as back_end:
        assert back_end.subscribe(topic) == [1]
        with fleet.connect(device, clean=False, will=Will(topic, b"first", qos=1)) as first:
            with fleet.connect(device, clean=False, will=Will(topic, b"second", qos=1)) as second:
                assert first.is_disconnected_within(2)
                assert second.publish(device.topic("x"))
            assert back_end.publish(topic, b"end")
            assert back_end.hears(topic, b"end")
        assert (topic, b"second") not in back_end.heard
