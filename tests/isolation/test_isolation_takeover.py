"""One client id, one connection: the same principal takes over, another one is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.packets import Will, connect
from tests.support.reasons import Says
from tests.support.versions import LEVEL_5
from tests.support.wire import BOTH_TRANSPORTS, Wire

if TYPE_CHECKING:
    from tests.support.fleet import Credentials, Fleet


IDENTIFIER_REJECTED, NOT_AUTHORIZED = 2, 5
MANY = 24


@pytest.fixture(scope="module")
def backend_key(fleet: Fleet) -> Credentials:
    """Make a back end for every device."""
    return fleet.application()


@BOTH_TRANSPORTS
@pytest.mark.parametrize("new_clean", [True, False], ids=["to_clean", "to_persistent"])
@pytest.mark.parametrize("old_clean", [True, False], ids=["from_clean", "from_persistent"])
def test_takeover_by_the_same_device(
    fleet: Fleet, backend_key: Credentials, *, old_clean: bool, new_clean: bool, websocket: bool
) -> None:
    """The old connection is closed and its will goes out once; the new one is served; what was persistent goes on."""
    device = fleet.device()
    command = device.topic("command")
    with (
        Wire.to(fleet) as backend,
        Wire.to(fleet, websocket=websocket) as old,
        Wire.to(fleet, websocket=websocket) as new,
    ):
        backend.enter(backend_key).subscribe(device.topic("gone"), device.topic("state"))
        old.enter(device, clean=old_clean, will=Will(device.topic("gone"), b"old"))
        old.subscribe(command, qos=1)
        backend.publish(command, b"1", qos=1)
        assert [message.payload for message in old.hear(acknowledges=False)] == [b"1"]

        new.enter(device, clean=new_clean, will=Will(device.topic("gone"), b"new"))
        assert old.is_told(Says.TAKEN_OVER)
        goes_on = not old_clean and not new_clean
        assert new.is_session_present == goes_on
        backend.publish(command, b"2", qos=1)
        assert [(message.payload, message.dup) for message in new.publications()] == (
            [(b"1", True), (b"2", False)] if goes_on else []
        )
        assert new.subscribe(device.topic("own")) == [0]
        new.publish(device.topic("state"), b"served", qos=1)
        assert [message.payload for message in backend.hear(2)] == [b"old", b"served"]
        new.disconnect()
        assert backend.publications() == []


def test_takeover_of_a_rotated_key(fleet: Fleet) -> None:
    """The device's new key takes over from its old one, in the same session."""
    device = fleet.device()
    with Wire.to(fleet) as old, Wire.to(fleet) as new:
        old.enter(device, clean=False).subscribe(device.topic("command"), qos=1)
        rotated = fleet.register(device.serial)
        assert new.enter(rotated, clean=False).is_session_present
        # Its key ends with the first connection of the new one.
        assert old.is_told(Says.TAKEN_OVER, Says.REVOKED)
        assert new.publications() == []
        new.publish(device.topic("command"), b"heard")
        assert [message.payload for message in new.hear()] == [b"heard"]


@BOTH_TRANSPORTS
def test_takeover_by_many_at_once(fleet: Fleet, backend_key: Credentials, *, websocket: bool) -> None:
    """However many come at once, one of them is in and is served; every will of the others goes out once."""
    device = fleet.device()
    with Wire.to(fleet) as backend, ExitStack() as stack:
        backend.enter(backend_key).subscribe(device.topic("gone"))
        wires = [stack.enter_context(Wire.to(fleet, websocket=websocket)) for _ in range(MANY)]

        def enter(numbered: tuple[int, Wire]) -> bool:
            number, wire = numbered
            will = Will(device.topic("gone"), b"%d" % number)
            options: dict[str, Any] = {"username": device.key, "password": device.secret}
            # Who is taken over before its answer is ready never was in, and its will stays unsaid.
            return wire.log_in(connect(device.client_id, clean=bool(number % 2), will=will, **options)) == 0

        with ThreadPoolExecutor(8) as pool:
            came_in = {number for number, is_in in enumerate(pool.map(enter, enumerate(wires))) if is_in}
        wills = [int(message.payload) for message in backend.hear(len(came_in) - 1)]
        (last,) = came_in - set(wills)
        assert len(wills) == len(set(wills)) == len(came_in) - 1
        winner = wires[last]
        assert winner.subscribe(device.topic("x")) == [0]
        winner.publish(device.topic("x"), b"served")
        assert [message.payload for message in winner.publications()] == [b"served"]
        winner.disconnect()
        assert backend.publications() == []


@BOTH_TRANSPORTS
@pytest.mark.parametrize("clean", [True, False], ids=["clean", "persistent"])
def test_client_id_of_another_application(fleet: Fleet, *, clean: bool, websocket: bool) -> None:
    """CONNACK 2, session-present 0; the session of the one who has it goes on, connected and away."""
    owner = fleet.application()
    thief = replace(fleet.application(), client_id=owner.client_id)
    device = fleet.device()
    attempt = connect(thief.client_id, username=thief.key, password=thief.secret, clean=clean)
    with Wire.to(fleet) as sender, Wire.to(fleet, websocket=websocket) as wire:
        sender.enter(device)
        wire.enter(owner, clean=False, will=Will(device.topic("gone"), b"gone"))
        wire.subscribe(device.topic("#"), qos=1)
        with Wire.to(fleet, websocket=websocket) as attacker:
            assert attacker.log_in(attempt) == IDENTIFIER_REJECTED
            assert attacker.is_closed_by_broker()
        sender.publish(device.topic("state"), b"1", qos=1)
        assert [message.payload for message in wire.hear()] == [b"1"]
        wire.disconnect()
        sender.publish(device.topic("state"), b"2", qos=1)
        with Wire.to(fleet, websocket=websocket) as attacker:
            assert attacker.log_in(attempt) == IDENTIFIER_REJECTED
            assert attacker.is_closed_by_broker()
        with Wire.to(fleet, websocket=websocket) as back:
            assert back.enter(owner, clean=False).is_session_present
            assert [message.payload for message in back.hear()] == [b"2"]


@BOTH_TRANSPORTS
def test_client_id_that_an_application_may_not_have(fleet: Fleet, backend_key: Credentials, *, websocket: bool) -> None:
    """A device's id, of one that exists or could exist, is CONNACK 5; an empty one without clean session 2 in 3.1.1."""
    device = fleet.device()
    options: dict[str, Any] = {"username": backend_key.key, "password": backend_key.secret}
    for client_id in (device.client_id, "0" * 24):
        with Wire.to(fleet, websocket=websocket) as wire:
            assert wire.log_in(connect(client_id, **options)) == NOT_AUTHORIZED
    with Wire.to(fleet, websocket=websocket) as wire:
        # MQTT 5, 3.1.3-6: the server chooses one then, too.
        assert wire.log_in(connect("", clean=False, **options)) == (0 if wire.level == LEVEL_5 else IDENTIFIER_REJECTED)
        assert not wire.is_session_present
    with Wire.to(fleet, websocket=websocket) as one, Wire.to(fleet, websocket=websocket) as two:
        for wire in (one, two):
            assert wire.log_in(connect("", **options)) == 0
            assert not wire.is_session_present
        assert one.subscribe(device.topic("x")) == [0]
        two.publish(device.topic("x"), b"between the two")
        assert [message.payload for message in one.publications()] == [b"between the two"]


def test_client_ids_of_one_application(fleet: Fleet, backend_key: Credentials) -> None:
    """Each client id has a session of its own; one connection's end or clean start touches no other's."""
    device = fleet.device()
    one, two = (replace(backend_key, client_id=f"app-{name}") for name in ("one", "two"))
    with Wire.to(fleet) as first, Wire.to(fleet) as second:
        first.enter(one, clean=False).subscribe(device.topic("a"), qos=1)
        second.enter(two, clean=False).subscribe(device.topic("b"), qos=1)
        first.disconnect()
        with Wire.to(fleet) as again:
            assert not again.enter(two, clean=True).is_session_present
            assert second.is_told(Says.TAKEN_OVER)
            again.publish(device.topic("a"), b"a", qos=1)
            again.publish(device.topic("b"), b"b", qos=1)
            assert again.publications() == []
        with Wire.to(fleet) as back:
            assert back.enter(one, clean=False).is_session_present
            assert [message.payload for message in back.hear()] == [b"a"]
