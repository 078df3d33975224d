"""What was promised to be kept is there after a restart, and after a kill -9 likewise."""

from __future__ import annotations

from statistics import median
from time import perf_counter, sleep
from typing import TYPE_CHECKING

import pytest

from tests.support.fleet import running
from tests.support.packets import Kind, publish, unsubscribe
from tests.support.reasons import Says
from tests.support.versions import in_turn
from tests.support.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fleet import Credentials, Fleet


BOTH_ENDS = (in_turn("end", ["restart", "kill9"]), in_turn("end", ["kill9", "restart"]))
MAX_INFLIGHT = 3
GROUP_COMMIT_SECONDS = 0.05


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run a server that its tests end."""
    with running(tmp_path_factory.mktemp("server"), max_inflight=MAX_INFLIGHT) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def everyone(fleet: Fleet) -> Credentials:
    """Make a back end that may do everything."""
    return fleet.application(publish=("#",), subscribe=("#",))


def _end(fleet: Fleet, how: str) -> None:
    if how == "kill9":
        fleet.server.kill9()
    else:
        fleet.server.terminate()


def _kept(fleet: Fleet, who: Credentials, topic_filter: str) -> list[tuple[str, bytes, int]]:
    with Wire.to(fleet) as wire:
        wire.enter(who).subscribe(topic_filter, qos=2)
        return sorted((message.topic, message.payload, message.qos) for message in wire.hear(100, seconds=0.3))


@BOTH_ENDS[0]
def test_retained(fleet: Fleet, everyone: Credentials, end: str) -> None:
    """Retained messages are there with payload and QoS; what was replaced or cleared is not."""
    device = fleet.device()
    long = bytes(range(256)) * 500
    with Wire.to(fleet) as wire:
        wire.enter(device)
        for qos in (0, 1, 2):
            wire.publish(device.topic(f"kept/{qos}"), b"old", qos=qos, retain=True)
            wire.publish(device.topic(f"kept/{qos}"), long, qos=qos, retain=True)
            wire.publish(device.topic(f"cleared/{qos}"), b"old", qos=qos, retain=True)
            wire.publish(device.topic(f"cleared/{qos}"), b"", qos=qos, retain=True)
        wire.publish(device.topic("last"), "\N{SNOWMAN}".encode(), qos=1, retain=True)
        _end(fleet, end)
    fleet.server.start()
    assert _kept(fleet, everyone, device.topic("#")) == [
        *((device.topic(f"kept/{qos}"), long, qos) for qos in (0, 1, 2)),
        (device.topic("last"), "\N{SNOWMAN}".encode(), 1),
    ]


@BOTH_ENDS[1]
@pytest.mark.parametrize("was_connected", [True, False], ids=["connected", "away"])
def test_session(fleet: Fleet, everyone: Credentials, end: str, *, was_connected: bool) -> None:
    """Subscriptions, unacknowledged messages with id and DUP, and the queue behind them, in order."""
    device = fleet.device()
    command, count = device.topic("command"), 3 * MAX_INFLIGHT
    with Wire.to(fleet) as backend, Wire.to(fleet) as wire:
        backend.enter(everyone)
        wire.enter(device, clean=False).subscribe(command, device.topic("later"), device.topic("dropped"), qos=2)
        wire.ask(unsubscribe(9, device.topic("dropped")), Kind.UNSUBACK)
        for number in range(count):
            backend.publish(command, b"%d" % number, qos=1 + number % 2)
        first = wire.hear(MAX_INFLIGHT, acknowledges=False)
        if not was_connected:
            wire.disconnect()
        backend.publish(command, b"%d" % count, qos=1)
        # What was sent to a client is noted behind the message's own commit; let that end as well.
        sleep(GROUP_COMMIT_SECONDS)
        _end(fleet, end)
        if was_connected and end == "restart":
            assert wire.is_told(Says.STOPPING)
    fleet.server.start()
    with Wire.to(fleet) as wire, Wire.to(fleet) as backend:
        assert wire.enter(device, clean=False).is_session_present
        again = wire.hear(MAX_INFLIGHT)
        assert [(m.payload, m.qos, m.number) for m in again] == [(m.payload, m.qos, m.number) for m in first]
        assert all(message.dup for message in again)
        rest = wire.hear(count + 1 - MAX_INFLIGHT)
        assert [int(message.payload) for message in rest] == list(range(MAX_INFLIGHT, count + 1))
        backend.enter(everyone)
        for topic in ("later", "dropped"):
            backend.publish(device.topic(topic), topic.encode(), qos=1)
        assert [message.payload for message in wire.hear(2, seconds=0.5)] == [b"later"]
        sleep(GROUP_COMMIT_SECONDS)
        _end(fleet, end)
    fleet.server.start()
    with Wire.to(fleet) as wire:
        assert wire.enter(device, clean=False).is_session_present
        assert wire.publications() == []


@BOTH_ENDS[0]
def test_unfinished_message_of_a_sender(fleet: Fleet, everyone: Credentials, end: str) -> None:
    """A QoS 2 message with a PUBREC is known by its id after it: sent again, it isn't delivered again."""
    device, away = fleet.device(), fleet.application()
    state = device.topic("state")
    with Wire.to(fleet) as wire:
        wire.enter(away, clean=False).subscribe(state, qos=2)
        wire.disconnect()
    with Wire.to(fleet) as wire:
        wire.enter(device, clean=False).ask(publish(state, b"once", qos=2, number=7), Kind.PUBREC)
        _end(fleet, end)
    fleet.server.start()
    with Wire.to(fleet) as wire, Wire.to(fleet) as backend:
        assert wire.enter(device, clean=False).is_session_present
        again = publish(state, b"once", qos=2, number=7, dup=True)
        wire.ask(again, Kind.PUBREC)
        backend.enter(away, clean=False)
        assert [message.payload for message in backend.hear()] == [b"once"]
        assert backend.publications() == []


@BOTH_ENDS[1]
def test_clean_session(fleet: Fleet, end: str) -> None:
    """Of a clean session nothing is there, even if it was connected at the end."""
    device = fleet.device()
    with Wire.to(fleet) as wire:
        wire.enter(device).subscribe(device.topic("command"), qos=1)
        _end(fleet, end)
    fleet.server.start()
    with Wire.to(fleet) as wire:
        assert not wire.enter(device, clean=False).is_session_present
        wire.publish(device.topic("command"), b"unheard", qos=1)
        assert wire.publications() == []


@BOTH_ENDS[0]
def test_deleted_while_nobody_served(fleet: Fleet, everyone: Credentials, end: str) -> None:
    """A device deleted, or an application key revoked, meanwhile has left nothing when the server is back."""
    device, gone = fleet.device(), fleet.application()
    with Wire.to(fleet) as wire, Wire.to(fleet) as backend:
        wire.enter(device, clean=False).subscribe(device.topic("command"), qos=1)
        wire.publish(device.topic("state"), b"kept", qos=1, retain=True)
        backend.enter(gone, clean=False).subscribe(device.topic("state"), qos=1)
        backend.publish(device.topic("command"), b"kept", qos=1, retain=True)
        _end(fleet, end)
    with fleet.store() as store:
        store.delete_device(device.client_id, actor="test")
        store.revoke_key(gone.key, actor="test")
    fleet.server.start()
    assert _kept(fleet, everyone, f"devices/{device.client_id}/#") == []
    fleet.server.terminate()
    # And not in the file either.
    content = b"".join(path.read_bytes() for path in fleet.server.data_dir.glob("broker.db*"))
    fleet.server.start()
    assert device.client_id.encode() not in content
    assert gone.client_id.encode() not in content


def test_scope_changed_while_nobody_served(fleet: Fleet) -> None:
    """What a session may have is decided by who comes back, not by who left."""
    device = fleet.device()
    with fleet.store() as store:
        store.tag_device(device.client_id, {"site": "north"}, actor="test")
    north = fleet.application(tags=(("site", "north"),))
    with Wire.to(fleet) as wire:
        wire.enter(north, clean=False).subscribe(device.topic("#"), qos=1)
        wire.disconnect()
    with Wire.to(fleet) as wire:
        wire.enter(device).publish(device.topic("state"), b"private", qos=1)
        _end(fleet, "kill9")
    with fleet.store() as store:
        store.tag_device(device.client_id, {"site": "south"}, actor="test")
    fleet.server.start()
    with Wire.to(fleet) as wire:
        assert wire.enter(north, clean=False).is_session_present
        assert wire.publications() == []


def test_acknowledged_in_time(fleet: Fleet, everyone: Credentials) -> None:
    """A message that has to be stored has its PUBACK well within 50 ms, one by one and in a row."""
    device = fleet.device()
    with Wire.to(fleet) as wire:
        wire.enter(device, clean=False).subscribe(device.topic("command"), qos=1)
        wire.disconnect()
    with Wire.to(fleet) as backend:
        backend.enter(everyone)
        times = []
        for _ in range(100):
            began = perf_counter()
            backend.publish(device.topic("command"), bytes(200), qos=1)
            times.append(perf_counter() - began)
        assert median(times) < GROUP_COMMIT_SECONDS / 2
        began = perf_counter()
        count = 400
        backend.send(b"".join(publish(device.topic("command"), bytes(200), qos=1, number=n + 1) for n in range(count)))
        for number in range(count):
            assert backend.receive(Kind.PUBACK).body == (number + 1).to_bytes(2, "big")
        assert perf_counter() - began < count * GROUP_COMMIT_SECONDS / 10, "the commits are shared"
