"""A CONNECT that isn't as its version of MQTT says lets nobody in, whatever secret is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.fleet import Credentials
from tests.support.packets import Will, connect, no_properties, packet, text
from tests.support.versions import LEVEL_5, current_level
from tests.support.wire import BOTH_TRANSPORTS, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fleet import Fleet


CLEAN, WILL, WILL_QOS, WILL_RETAIN, PASSWORD, USERNAME = 0x02, 0x04, 0x08, 0x20, 0x40, 0x80
NOT_AUTHORIZED = 5
ALL = CLEAN | PASSWORD | USERNAME
BROKEN_TEXT = (b"\0", b"\xff", b"\xe2\x82", b"\xed\xa0\x80", b"\xc0\xaf")


def _connect(
    who: Credentials,
    *,
    name: bytes = b"\0\4MQTT",
    level: int | None = None,
    flags: int = ALL,
    client_id: bytes | None = None,
    will: bytes = b"",
    username: bytes | None = None,
    rest: bytes = b"",
) -> bytes:
    """Return a CONNECT that is right but for what is said."""
    body = name + bytes([level or current_level(), flags]) + b"\0\x3c" + no_properties()
    body += text(who.client_id if client_id is None else client_id) + will
    if flags & USERNAME:
        body += text(who.key) if username is None else text(username)
    if flags & PASSWORD:
        body += text(who.secret)
    return packet(1, 0, body + rest)


def _will(who: Credentials, topic: bytes | None = None) -> bytes:
    return no_properties() + text(who.topic("gone") if topic is None else topic) + text(b"malformed")


def malformed(who: Credentials) -> dict[str, bytes]:
    """Return a CONNECT of every malformed kind, by name."""
    table = {
        "reserved_flag": _connect(who, flags=ALL | 1),
        "will_qos_3": _connect(who, flags=ALL | WILL | 3 * WILL_QOS, will=_will(who)),
        "will_qos_without_will": _connect(who, flags=ALL | WILL_QOS),
        "will_retain_without_will": _connect(who, flags=ALL | WILL_RETAIN),
        "will_flag_without_will": _connect(who, flags=ALL | WILL),
        "will_without_flag": _connect(who, will=_will(who)),
        "bytes_behind": _connect(who, rest=b"\0"),
        "field_behind": _connect(who, rest=text(b"more")),
    }
    for flags in (1, 2, 8, 15):
        table[f"flags_{flags}"] = packet(1, flags, b"\0\4MQTT\4\2\0\0\0\0")
    for protocol in (b"", b"MQTx", b"mqtt", b"MQTTT", b"MQT", b"MQTT\0", b"HTTP"):
        table[f"protocol_{protocol!r}"] = _connect(who, name=text(protocol))
    for broken in BROKEN_TEXT:
        topic = who.topic("").encode() + broken
        table[f"client_id_{broken!r}"] = _connect(who, client_id=who.client_id.encode() + broken)
        table[f"username_{broken!r}"] = _connect(who, username=who.key.encode() + broken)
        table[f"will_topic_{broken!r}"] = _connect(who, flags=ALL | WILL, will=_will(who, topic))
    return table


NAMES = tuple(malformed(Credentials(client_id="", key="", secret="")))


@pytest.fixture(scope="module")
def who(fleet: Fleet) -> Credentials:
    """Enrol a device."""
    return fleet.device()


@pytest.fixture(scope="module")
def observer(fleet: Fleet) -> Iterator[Wire]:
    """Let someone listen to everything; nothing may be heard or kept in the end."""
    with Wire.to(fleet) as wire:
        everything = fleet.application(publish=("#",), subscribe=("#",))
        wire.enter(everything, keep_alive_seconds=0).subscribe("#")
        yield wire
        wire.subscribe("#")
        assert wire.publications() == []


@BOTH_TRANSPORTS
@pytest.mark.parametrize("kind", NAMES)
def test_malformed_connect(fleet: Fleet, who: Credentials, observer: Wire, kind: str, *, websocket: bool) -> None:
    """Closed without a CONNACK; the live connection of that client id and everyone else are served."""
    with Wire.to(fleet) as home, Wire.to(fleet, websocket=websocket) as wire:
        home.enter(who)
        wire.send(malformed(who)[kind])
        assert wire.read() is None
        assert home.publications() == []
    assert observer.publications() == []


@BOTH_TRANSPORTS
def test_password_without_username(fleet: Fleet, who: Credentials, observer: Wire, *, websocket: bool) -> None:
    """Malformed in 3.1.1 (3.1.2-22); MQTT 5 allows it, and nobody is known by a password alone."""
    with Wire.to(fleet, websocket=websocket) as wire:
        expected = NOT_AUTHORIZED if current_level() == LEVEL_5 else None
        assert wire.log_in(_connect(who, flags=CLEAN | PASSWORD)) == expected
        assert wire.read() is None
    assert observer.publications() == []


@BOTH_TRANSPORTS
def test_connect_cut_at_every_byte(fleet: Fleet, who: Credentials, *, websocket: bool) -> None:
    """A CONNECT whose length says that it ends too early, wherever that is, is closed without a CONNACK."""
    whole = connect(who.client_id, username=who.key, password=who.secret, will=Will(who.topic("gone"), b"malformed"))
    body = whole[3:]
    assert packet(1, 0, body) == whole
    for end in range(len(body)):
        with Wire.to(fleet, websocket=websocket) as wire:
            wire.send(packet(1, 0, body[:end]))
            assert wire.read() is None, end


@BOTH_TRANSPORTS
def test_right_connect(fleet: Fleet, who: Credentials, *, websocket: bool) -> None:
    """The same, but right, is served: it was nothing else that kept the others out."""
    for attempt in (_connect(who), _connect(who, flags=ALL | WILL | 2 * WILL_QOS | WILL_RETAIN, will=_will(who))):
        with Wire.to(fleet, websocket=websocket) as wire:
            assert wire.log_in(attempt) == 0
            assert not wire.is_session_present
            wire.disconnect()
