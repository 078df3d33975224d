"""A refused CONNECT gets its CONNACK and touches nothing that exists."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from tests.support.packets import Will, connect
from tests.support.versions import only_3_1_1
from tests.support.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.fleet import Credentials, Fleet
    from tests.support.mqtt_client import MqttClient


@dataclass(frozen=True, slots=True)
class Household:
    """Everything that a refused attempt could harm, of one victim; the intruder has good credentials of its own."""

    fleet: Fleet
    victim: Credentials
    intruder: Credentials
    application: Credentials
    back_end: MqttClient


@pytest.fixture
def home(fleet: Fleet) -> Iterator[Household]:
    """Connect a back end, and let the victim keep a retained message."""
    victim, application = fleet.device(), fleet.application()
    with fleet.connect(application) as back_end:
        assert back_end.publish(victim.topic("kept"), b"kept", retain=True)
        yield Household(fleet, victim, fleet.device(), fleet.application(), back_end)
        assert back_end.publish(victim.topic("kept"), b"", retain=True)


def _as_victim(home: Household, **changes: object) -> bytes:
    fields: dict[str, object] = {"username": home.victim.key, "password": home.victim.secret, **changes}
    return connect(home.victim.client_id, **fields)  # type: ignore[arg-type]


def _as(who: Credentials, client_id: str) -> bytes:
    return connect(client_id, username=who.key, password=who.secret)


FIVE: dict[str, Callable[[Household], bytes]] = {
    "wrong_secret": lambda home: _as_victim(home, password=secrets.token_hex(32)),
    "secret_cut": lambda home: _as_victim(home, password=home.victim.secret[:-1]),
    "secret_and_more": lambda home: _as_victim(home, password=home.victim.secret + "0"),
    "secret_upper_case": lambda home: _as_victim(home, password=home.victim.secret.upper()),
    "secret_of_another": lambda home: _as_victim(home, password=home.intruder.secret),
    "key_as_secret": lambda home: _as_victim(home, password=home.victim.key),
    "unknown_key": lambda home: _as_victim(home, username=secrets.token_hex(16)),
    "malformed_key": lambda home: _as_victim(home, username="no such key"),
    "key_upper_case": lambda home: _as_victim(home, username=home.victim.key.upper()),
    "key_with_space": lambda home: _as_victim(home, username=home.victim.key + " "),
    "device_id_as_key": lambda home: _as_victim(home, username=home.victim.client_id),
    "empty_key": lambda home: _as_victim(home, username=""),
    "no_password": lambda home: _as_victim(home, password=None),
    "no_credentials": lambda home: _as_victim(home, username=None, password=None),
    "password_empty": lambda home: _as_victim(home, password=b""),
    "password_72_bytes": lambda home: _as_victim(home, password=b"x" * 72),
    "password_73_bytes": lambda home: _as_victim(home, password=b"x" * 73),
    "password_secret_and_73_bytes": lambda home: _as_victim(home, password=home.victim.secret + "x" * 9),
    "password_8_kib": lambda home: _as_victim(home, password=b"x" * 8192),
    "password_nul": lambda home: _as_victim(home, password=b"\0"),
    "password_secret_and_nul": lambda home: _as_victim(home, password=home.victim.secret + "\0"),
    "password_not_utf8": lambda home: _as_victim(home, password=b"\xff\xfe\xc3\x28"),
    "password_secret_not_utf8": lambda home: _as_victim(home, password=home.victim.secret.encode() + b"\xff"),
    "password_surrogate": lambda home: _as_victim(home, password=b"\xed\xa0\x80"),
    "password_as_python_shows_it": lambda home: _as_victim(home, password=f"b'{home.victim.secret}'"),
    "foreign_will": lambda home: _as_victim(home, will=Will(home.intruder.topic("x"), b"x")),
    "victims_client_id": lambda home: _as(home.intruder, home.victim.client_id),
    "victims_client_id_as_application": lambda home: _as(home.application, home.victim.client_id),
    "clean_victims_client_id": lambda home: connect(
        home.victim.client_id, username=home.intruder.key, password=home.intruder.secret, clean=False
    ),
    "other_client_id": lambda home: _as(home.victim, "something"),
    "intruders_client_id": lambda home: _as(home.victim, home.intruder.client_id),
    "client_id_upper_case": lambda home: _as(home.victim, home.victim.client_id.upper()),
    "client_id_with_space": lambda home: _as(home.victim, f"{home.victim.client_id} "),
}
ONE: dict[str, Callable[[Household], bytes]] = {
    "mqtt_31": lambda home: _as_victim(home, protocol="MQIsdp", level=3),
    "mqtt_level_3": lambda home: _as_victim(home, level=3),
    "mqtt_level_6": lambda home: _as_victim(home, level=6),
    "mqtt_5_bridge": lambda home: _as_victim(home, level=0x84),
}
NEVER: dict[str, Callable[[Household], bytes]] = {
    "password_65535_bytes": lambda home: _as_victim(home, password=b"x" * 65_535),
    "password_without_username": lambda home: _as_victim(home, username=None),
    "username_not_utf8": lambda home: _as_victim(home, username=b"\xff\xfe"),
    "username_nul": lambda home: _as_victim(home, username=home.victim.key + "\0"),
    "client_id_not_utf8": lambda home: connect(b"\xff\xfe", username=home.victim.key, password=home.victim.secret),
    "client_id_nul": lambda home: _as(home.victim, f"{home.victim.client_id}\0"),
    "wrong_protocol_name": lambda home: _as_victim(home, protocol="HTTP"),
    "cut_off": lambda home: _as_victim(home)[:-10] + b"\0" * 10,
    "not_a_connect": lambda _: b"\x30\x05\0\x01a42",
    "http": lambda _: b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "zeros": lambda _: b"\0" * 64,
    "endless_length": lambda _: b"\x10\xff\xff\xff\xff\xff\xff",
}


def _check_untouched(home: Household, attempt: Callable[[], None]) -> None:
    """Attempt once while the victim is connected and once while it is away: it keeps all it has."""
    topic, fleet, victim = home.victim.topic("inbox/x"), home.fleet, home.victim
    with fleet.connect(victim, clean=False) as client:
        assert client.subscribe(victim.topic("inbox/#")) == [1]
        attempt()
        assert home.back_end.publish(topic, b"live")
        assert client.hears(topic, b"live")
        assert client.publish(victim.topic("inbox/own"), b"still here")
        assert client.hears(victim.topic("inbox/own"), b"still here")
        assert client.is_connected
    assert home.back_end.publish(topic, b"queued before")
    attempt()
    assert home.back_end.publish(topic, b"queued after")
    with fleet.connect(victim, clean=False) as client:
        assert client.is_session_present
        assert client.hears(topic, b"queued before")
        assert client.hears(topic, b"queued after")
        assert client.subscribe(victim.topic("kept")) == [1]
        assert client.hears(victim.topic("kept"), b"kept")


@pytest.mark.parametrize("name", FIVE)
def test_connect_not_authorised(home: Household, name: str) -> None:
    """CONNACK 5 with session-present 0, the connection is closed, and the victim never notices."""

    def attempt() -> None:
        with Wire.to(home.fleet) as raw:
            assert raw.log_in(FIVE[name](home)) == 5
            assert raw.is_closed_by_broker()

    _check_untouched(home, attempt)


@only_3_1_1
def test_connect_without_client_id(home: Household) -> None:
    """In 3.1.1, a device has to say its id; in MQTT 5 it is told, as it knows its key."""

    def attempt() -> None:
        with Wire.to(home.fleet) as raw:
            assert raw.log_in(_as(home.victim, "")) == 5
            assert raw.is_closed_by_broker()

    _check_untouched(home, attempt)


@pytest.mark.parametrize("name", ONE)
def test_connect_other_protocol_level(home: Household, name: str) -> None:
    """Another version of MQTT, though with good credentials: CONNACK 1 (MQTT 3.1.1, 3.1.2-2)."""

    def attempt() -> None:
        with Wire.to(home.fleet) as raw:
            assert raw.log_in(ONE[name](home)) == 1
            assert raw.is_closed_by_broker()

    _check_untouched(home, attempt)


@pytest.mark.parametrize("name", NEVER)
def test_connect_malformed(home: Household, name: str) -> None:
    """What MQTT allows no client to send, or no device needs, is never let in; the connection is closed."""

    def attempt() -> None:
        with Wire.to(home.fleet) as raw:
            assert raw.log_in(NEVER[name](home)) != 0
            assert raw.is_closed_by_broker()

    _check_untouched(home, attempt)


def test_connect_nothing_sent(home: Household) -> None:
    """A client that never sends its CONNECT, or half of it, keeps nobody else out."""
    with Wire.to(home.fleet), Wire.to(home.fleet) as half:
        half.send(_as_victim(home)[:20])
        _check_untouched(home, lambda: None)


def test_connect_after_refusals(home: Household) -> None:
    """However many attempts failed, the right secret gets in."""
    for _ in range(20):
        assert not home.fleet.can_connect(replace(home.victim, secret=secrets.token_hex(32)))
    assert home.fleet.can_connect(home.victim)
