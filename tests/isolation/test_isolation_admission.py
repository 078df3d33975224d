"""Whoever is refused has touched nothing, whatever client id it named."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from fleetkey.registry import DeviceState
from tests.support.packets import Will, connect
from tests.support.wire import BOTH_TRANSPORTS, Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.fleet import Credentials, Fleet


UNKNOWN_KEY = "0" * 32
NOT_AUTHORIZED = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Cast:
    """Whose credentials an attacker may use, and whose client id it names."""

    victim: Credentials
    retired: Credentials
    other: Credentials
    disabled: Credentials
    application: Credentials


REFUSED: dict[str, Callable[[Cast], dict[str, object]]] = {
    "no_credentials": lambda _: {},
    "key_alone": lambda cast: {"username": cast.victim.key},
    "unknown_key": lambda cast: {"username": UNKNOWN_KEY, "password": cast.victim.secret},
    "client_id_as_key": lambda cast: {"username": cast.victim.client_id, "password": cast.victim.secret},
    "wrong_secret": lambda cast: {"username": cast.victim.key, "password": cast.other.secret},
    "empty_secret": lambda cast: {"username": cast.victim.key, "password": ""},
    "secret_with_more": lambda cast: {"username": cast.victim.key, "password": f"{cast.victim.secret}0"},
    "secret_over_72_bytes": lambda cast: {"username": cast.victim.key, "password": cast.victim.secret + "0" * 64},
    "secret_with_nul": lambda cast: {"username": cast.victim.key, "password": f"{cast.victim.secret}\0"},
    "secret_not_utf8": lambda cast: {"username": cast.victim.key, "password": b"\xff\xfe"},
    "retired_key": lambda cast: {"username": cast.retired.key, "password": cast.retired.secret},
    "key_of_another_device": lambda cast: {"username": cast.other.key, "password": cast.other.secret},
    "key_of_a_disabled_device": lambda cast: {"username": cast.disabled.key, "password": cast.disabled.secret},
    "key_of_an_application": lambda cast: {"username": cast.application.key, "password": cast.application.secret},
    "foreign_will": lambda cast: {
        "username": cast.victim.key,
        "password": cast.victim.secret,
        "will": Will(cast.other.topic("state"), b"forged"),
    },
    "will_on_a_wildcard": lambda cast: {
        "username": cast.victim.key,
        "password": cast.victim.secret,
        "will": Will(cast.victim.topic("#"), b"forged"),
    },
}


@pytest.fixture(scope="module")
def cast(fleet: Fleet) -> Cast:
    """Enrol everyone; the victim's first key was replaced by its second."""
    retired = fleet.device()
    victim = fleet.register(retired.serial)
    with Wire.to(fleet) as wire:
        wire.enter(victim).disconnect()
    disabled = fleet.device()
    with fleet.store() as store:
        store.set_device_state(disabled.client_id, DeviceState.DISABLED, actor="test")
    return Cast(
        victim=victim,
        retired=retired,
        other=fleet.device(),
        disabled=disabled,
        application=fleet.application(),
    )


@contextmanager
def _at_home(fleet: Fleet, cast: Cast, *, websocket: bool) -> Iterator[tuple[Wire, Wire]]:
    """Yield the victim, at home with all that it can have and nothing from before, and its back end."""
    victim = cast.victim
    with Wire.to(fleet) as first:
        first.enter(victim).publish(victim.topic("state"), b"", retain=True, qos=1)
        first.disconnect()
    with Wire.to(fleet, websocket=websocket) as backend, Wire.to(fleet, websocket=websocket) as home:
        backend.enter(cast.application)
        assert backend.subscribe(victim.topic("gone"), victim.topic("state")) == [0, 0]
        home.enter(victim, clean=False, will=Will(victim.topic("gone"), b"gone"))
        assert home.subscribe(victim.topic("command/#"), qos=1) == [1]
        home.publish(victim.topic("state"), b"kept", retain=True, qos=1)
        backend.publish(victim.topic("command/1"), b"not acknowledged", qos=1)
        assert [message.payload for message in home.hear(acknowledges=False)] == [b"not acknowledged"]
        assert [message.payload for message in backend.publications()] == [b"kept"]
        yield home, backend


def _refuse(fleet: Fleet, cast: Cast, kind: str, *, websocket: bool, clean: bool) -> None:
    with Wire.to(fleet, websocket=websocket) as attacker:
        attempt = connect(cast.victim.client_id, clean=clean, **REFUSED[kind](cast))  # type: ignore[arg-type]
        assert attacker.log_in(attempt) == NOT_AUTHORIZED
        assert attacker.is_closed_by_broker()


@pytest.mark.parametrize("clean", [True, False], ids=["clean", "persistent"])
@BOTH_TRANSPORTS
@pytest.mark.parametrize("kind", REFUSED)
def test_refused_connect_beside_a_live_victim(
    fleet: Fleet, cast: Cast, kind: str, *, websocket: bool, clean: bool
) -> None:
    """CONNACK 5, session-present 0; subscription, unfinished message, will and retained stay as they are."""
    command, state = cast.victim.topic("command/2"), cast.victim.topic("state")
    with _at_home(fleet, cast, websocket=websocket) as (home, backend):
        _refuse(fleet, cast, kind, websocket=websocket, clean=clean)
        assert home.publications() == []
        backend.publish(command, b"after", qos=1)
        assert [(message.topic, message.payload) for message in home.hear()] == [(command, b"after")]
        home.publish(state, b"still here", qos=1)
        assert [message.payload for message in backend.publications()] == [b"still here"]
        assert backend.subscribe(state) == [0]
        assert [(message.payload, message.retain) for message in backend.publications()] == [(b"kept", True)]


@BOTH_TRANSPORTS
def test_refused_connects_beside_an_absent_victim(fleet: Fleet, cast: Cast, *, websocket: bool) -> None:
    """Every way to be refused, twice, and the victim finds its session, its subscription and what was queued for it."""
    victim, payloads = cast.victim, [b"not acknowledged", b"1", b"2"]
    with _at_home(fleet, cast, websocket=websocket) as (home, backend):
        home.disconnect()
        for payload in payloads[1:]:
            backend.publish(victim.topic("command/x"), payload, qos=1)
        for kind in REFUSED:
            for clean in (True, False):
                _refuse(fleet, cast, kind, websocket=websocket, clean=clean)
        with Wire.to(fleet, websocket=websocket) as back:
            assert back.enter(victim, clean=False).is_session_present
            heard = back.hear(len(payloads))
            assert [message.payload for message in heard] == payloads
            assert [message.dup for message in heard] == [True, False, False]
            assert back.publications() == []
            back.disconnect()
        assert backend.publications() == []


@BOTH_TRANSPORTS
def test_refused_connect_of_a_new_client_id(fleet: Fleet, cast: Cast, *, websocket: bool) -> None:
    """A refused persistent CONNECT has left no session that a later good one could find."""
    who = cast.application
    for _ in range(2):
        with Wire.to(fleet, websocket=websocket) as attacker:
            attempt = connect("app-new", username=who.key, password="no", clean=False)
            assert attacker.log_in(attempt) == NOT_AUTHORIZED
    with Wire.to(fleet, websocket=websocket) as wire:
        attempt = connect("app-new", username=who.key, password=who.secret, clean=False)
        assert wire.log_in(attempt) == 0
        assert not wire.is_session_present
        wire.disconnect()
    with Wire.to(fleet, websocket=websocket) as wire:
        attempt = connect("app-new", username=who.key, password=who.secret)
        assert wire.log_in(attempt) == 0
        assert not wire.is_session_present


def test_refused_connect_with_nothing_proven_says_nothing(fleet: Fleet, cast: Cast) -> None:
    """A persistent session that exists doesn't show in any refusal, at once or later."""
    with Wire.to(fleet) as home:
        home.enter(cast.victim, clean=False).disconnect()
    for options in REFUSED.values():
        with Wire.to(fleet) as attacker:
            attempt = connect(cast.victim.client_id, clean=False, **options(cast))  # type: ignore[arg-type]
            assert attacker.log_in(attempt) == NOT_AUTHORIZED
            assert attacker.terms == {}
            assert attacker.read() is None
