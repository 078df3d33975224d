"""Which version of MQTT a device speaks with which broker, and what it does with the reasons of MQTT 5."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from fleetkey.device import (
    Backoff,
    BrokerRefused,
    BrokerUnreachable,
    ConnectionLost,
    Credentials,
    Device,
    DeviceError,
)
from fleetkey.device.__main__ import main

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.integration.device import device_rig
    from tests.integration.device.scripted_broker import Asked, ScriptedBroker, connack, disconnect
else:
    import device_rig
    from scripted_broker import Asked, ScriptedBroker, connack, disconnect

SERIAL = "SN-0001"
FAST = Backoff(initial_seconds=0.05, max_seconds=0.1)
SLOW = Backoff(initial_seconds=100, max_seconds=100, jitter="none")
LEVEL_5, LEVEL_3_1_1 = 5, 4
ACCEPTED = 0


@pytest.fixture
def registration() -> Iterator[device_rig.RegistrationServer]:
    """Run a registration server whose keys no broker is asked about."""
    with device_rig.RegistrationServer(device_rig.BrokerThread()) as server:
        yield server


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a credentials file."""
    return tmp_path / "device.json"


def old_broker() -> ScriptedBroker:
    """Return a broker that answers every version but 3.1.1 with CONNACK 1, as MQTT 3.1.1 says (3.1.2-2)."""
    return ScriptedBroker(lambda asked: [connack(ACCEPTED if asked.level == LEVEL_3_1_1 else 1, level=LEVEL_3_1_1)])


def new_broker(*packets: bytes) -> ScriptedBroker:
    """Return a broker that gives every CONNECT the same answer."""
    return ScriptedBroker(lambda _: list(packets))


def make(registration: device_rig.RegistrationServer, path: Path, port: int, **options: Any) -> Device:
    """Make a device that has credentials, and subscribes to nothing."""
    document = registration.issue(SERIAL)
    settings = document["mqtt"]
    assert isinstance(settings, dict)
    Credentials.parse(json.dumps(document | {"mqtt": settings | {"port": port}})).save(path)
    defaults: dict[str, Any] = {"backoff": FAST, "connect_timeout_seconds": 5.0, "subscribe": False}
    return Device(SERIAL, registration.url, path, **(defaults | options))


def levels(broker: ScriptedBroker) -> list[int]:
    """Return the protocol level of each CONNECT."""
    return [asked.level for asked in broker.asked]


def test_default_is_5(registration: device_rig.RegistrationServer, path: Path) -> None:
    """A device asks in MQTT 5 first, with the keep-alive and credentials of every version."""
    with new_broker(connack(ACCEPTED)) as broker, make(registration, path, broker.port) as device:
        assert device.wait_connected(5)
        assert levels(broker) == [LEVEL_5]


@pytest.mark.parametrize("refusal", ["connack_1", "reason_0x84"])
def test_older_broker(registration: device_rig.RegistrationServer, path: Path, refusal: str) -> None:
    """A broker that refuses the version is asked in 3.1.1 at once, and from then on; that is no error."""
    refused = connack(1, level=LEVEL_3_1_1) if refusal == "connack_1" else connack(0x84)

    def answers(asked: Asked) -> list[bytes]:
        return [refused] if asked.level == LEVEL_5 else [connack(ACCEPTED, level=LEVEL_3_1_1)]

    errors: list[DeviceError] = []
    with ScriptedBroker(answers) as broker:
        device = make(registration, path, broker.port, backoff=SLOW, on_error=errors.append)
        with device:
            assert device.wait_connected(5)
        assert levels(broker) == [LEVEL_5, LEVEL_3_1_1]
    assert errors == []


def test_older_broker_is_remembered(registration: device_rig.RegistrationServer, path: Path) -> None:
    """The next connections to such a broker begin with 3.1.1."""

    def answers(asked: Asked) -> list[bytes]:
        refused = [connack(1, level=LEVEL_3_1_1)]
        return refused if asked.level == LEVEL_5 else [connack(ACCEPTED, level=LEVEL_3_1_1), b""]

    with ScriptedBroker(answers) as broker, make(registration, path, broker.port):
        assert device_rig.eventually(lambda: len(broker.asked) >= 4)
        assert set(levels(broker)[1:]) == {LEVEL_3_1_1}
    assert registration.requests == []


def test_version_by_argument(registration: device_rig.RegistrationServer, path: Path) -> None:
    """A version that is asked for is the only one."""
    with old_broker() as broker, make(registration, path, broker.port, mqtt_version="3.1.1") as device:
        assert device.wait_connected(5)
        assert levels(broker) == [LEVEL_3_1_1]
    errors: list[DeviceError] = []
    with (
        old_broker() as broker,
        make(registration, path, broker.port, mqtt_version="5", on_error=errors.append),
    ):
        assert device_rig.eventually(lambda: len(broker.asked) >= 3)
        assert set(levels(broker)) == {LEVEL_5}
    assert "unacceptable protocol version" in str(errors[0])
    with pytest.raises(ValueError, match=r"'5', '3\.1\.1'"):
        make(registration, path, 1, mqtt_version="4")


def test_silent_broker(registration: device_rig.RegistrationServer, path: Path) -> None:
    """One that knows no other version may say nothing: the next attempt, not an additional one, is of 3.1.1."""

    def answers(asked: Asked) -> list[bytes]:
        return [b""] if asked.level == LEVEL_5 else [connack(ACCEPTED, level=LEVEL_3_1_1)]

    errors: list[DeviceError] = []
    with ScriptedBroker(answers) as broker, make(registration, path, broker.port, on_error=errors.append) as device:
        assert device.wait_connected(5)
        assert levels(broker) == [LEVEL_5, LEVEL_3_1_1]
    assert [type(error) for error in errors] == [BrokerUnreachable]


def test_silent_after_5(registration: device_rig.RegistrationServer, path: Path) -> None:
    """A broker that answered in MQTT 5 before is never taken for an old one."""
    answers = [[connack(ACCEPTED), b""]]
    with (
        ScriptedBroker(lambda _: answers.pop() if answers else [b""]) as broker,
        make(registration, path, broker.port),
    ):
        assert device_rig.eventually(lambda: len(broker.asked) >= 5)
        assert set(levels(broker)) == {LEVEL_5}


@pytest.mark.parametrize(
    ("is_clean", "flag", "properties"),
    [(True, 0x02, b""), (False, 0, b"\x11\xff\xff\xff\xff")],
    ids=["clean", "lasting"],
)
def test_session(
    registration: device_rig.RegistrationServer,
    path: Path,
    *,
    is_clean: bool,
    flag: int,
    properties: bytes,
) -> None:
    """A clean session is a clean start without expiry, a lasting one no clean start and one that never expires."""
    with (
        new_broker(connack(ACCEPTED)) as broker,
        make(registration, path, broker.port, clean_session=is_clean) as device,
    ):
        assert device.wait_connected(5)
        asked = broker.asked[0]
    assert asked.flags & 0x02 == flag
    assert asked.rest.startswith(bytes((len(properties),)) + properties)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0x88, "server unavailable"),
        (0x89, "server busy"),
        (0x97, "quota exceeded"),
        (0x9F, "connection rate exceeded"),
        (0x85, "client id rejected"),
        (0x8A, "banned"),
    ],
)
def test_refused_without_registering(
    registration: device_rig.RegistrationServer, path: Path, code: int, words: str
) -> None:
    """A reason that isn't about the credentials is told in words; the device asks again and doesn't register."""
    text = b"\x1f\x00\x05later"
    errors: list[DeviceError] = []
    with new_broker(connack(code, properties=text), b"") as broker:
        with make(registration, path, broker.port, on_error=errors.append):
            assert device_rig.eventually(lambda: len(broker.asked) >= 3)
        assert set(levels(broker)) == {LEVEL_5}
    assert registration.requests == []
    assert str(errors[0]) == f"refused by the broker: {words} (later)"
    assert isinstance(errors[0], BrokerRefused)
    assert (errors[0].reason_code, errors[0].reason_string) == (code, "later")
    assert errors[0].is_temporary == (code not in {0x85, 0x8A})


def test_refused_backs_off(registration: device_rig.RegistrationServer, path: Path) -> None:
    """Between attempts that are refused for now, the waits grow."""
    backoff = Backoff(initial_seconds=0.05, max_seconds=10, jitter="none")
    with (
        new_broker(connack(0x89), b"") as broker,
        make(registration, path, broker.port, backoff=backoff),
    ):
        assert device_rig.eventually(lambda: len(broker.asked) == 4)
        times = [asked.at for asked in broker.asked]
    gaps = [later - before for before, later in pairwise(times)]
    assert all(gap >= least for gap, least in zip(gaps, (0.05, 0.1, 0.2), strict=True))


@pytest.mark.parametrize("code", [0x86, 0x87])
def test_refused_credentials(registration: device_rig.RegistrationServer, path: Path, code: int) -> None:
    """Not authorised, or a bad user name or password: it registers again, once an interval, however often it asks."""
    with new_broker(connack(code), b"") as broker, make(registration, path, broker.port):
        registration.broker.port = broker.port
        assert device_rig.eventually(lambda: len(broker.asked) >= 4)
    assert len(registration.requests) == 1


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0x8B, "server shutting down"),
        (0x8E, "session taken over"),
        (0x98, "administrative action"),
        (0x87, "not authorised"),
    ],
)
def test_disconnected(registration: device_rig.RegistrationServer, path: Path, code: int, words: str) -> None:
    """Why the broker closes a connection is told in words, and the next answer to CONNECT decides what follows."""
    errors: list[DeviceError] = []
    with new_broker(connack(ACCEPTED), disconnect(code, "so\nit is"), b"") as broker:
        with make(registration, path, broker.port, on_error=errors.append):
            assert device_rig.eventually(lambda: len(broker.asked) >= 3)
        assert set(levels(broker)) == {LEVEL_5}
    assert registration.requests == []
    assert str(errors[0]) == f"the connection to the broker at 127.0.0.1:{broker.port} was lost: {words} (so it is)"
    assert isinstance(errors[0], ConnectionLost)
    assert (errors[0].reason_code, errors[0].reason_string) == (code, "so it is")


def test_undefined_reason(registration: device_rig.RegistrationServer, path: Path) -> None:
    """A packet that MQTT doesn't allow ends the connection, and the device asks again."""
    with (
        new_broker(connack(ACCEPTED), disconnect(0xFE), b"") as broker,
        make(registration, path, broker.port),
    ):
        assert device_rig.eventually(lambda: len(broker.asked) >= 3)


def test_receive_maximum(registration: device_rig.RegistrationServer, path: Path) -> None:
    """No more messages are unacknowledged than the broker takes (MQTT 5.0, 3.3.4-9)."""
    with (
        new_broker(connack(ACCEPTED, properties=b"\x21\x00\x02")) as broker,
        make(registration, path, broker.port) as device,
    ):
        assert device.wait_connected(5)
        for _ in range(5):
            device.publish("t", "x", qos=1)
        assert device_rig.eventually(lambda: b"".join(broker.received).count(b"\x32\x07\x00\x01t") == 2)
        assert not device_rig.eventually(lambda: b"".join(broker.received).count(b"\x32\x07") > 2, 0.2)


def test_maximum_packet_size(registration: device_rig.RegistrationServer, path: Path) -> None:
    """A message that is larger than the broker takes is refused here, rather than ending every connection."""
    with (
        new_broker(connack(ACCEPTED, properties=b"\x27\x00\x00\x01\x00")) as broker,
        make(registration, path, broker.port) as device,
    ):
        assert device.wait_connected(5)
        delivery = device.publish("t", bytes(300), qos=1)
        assert not delivery.wait(5)
        assert device.is_connected
    assert "packet too large (the broker takes 256 bytes)" in str(delivery.error)
    assert broker.received == [b"\xe0\x00"]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"\x50\x03\x00\x01\x97", "quota exceeded"),
        (b"\x50\x04\x00\x01\x87\x00", "not authorised (topic outside of the key's scope)"),
        (b"\x50\x0a\x00\x01\x87\x06\x1f\x00\x03not", "not authorised (not)"),
    ],
    ids=["code", "no_string", "string"],
)
def test_refused_at_pubrec(registration: device_rig.RegistrationServer, path: Path, answer: bytes, words: str) -> None:
    """A message of QoS 2 that is refused is told as such, and no PUBREL follows (MQTT 5.0, 4.3.3)."""
    with new_broker(connack(ACCEPTED)) as broker, make(registration, path, broker.port) as device:
        assert device.wait_connected(5)
        delivery = device.publish("t", "x", qos=2)
        assert device_rig.eventually(lambda: bool(broker.received))
        broker.say(answer)
        assert not delivery.wait(5)
        assert str(delivery.error) == f"the broker refused the message to t: {words}"
        assert device.is_connected
    assert broker.received[1:] == [b"\xe0\x00"]


@pytest.mark.parametrize(
    "answer", [b"\x50\x03\x00\x01\xfe", b"\x50\x05\x00\x01\x87\x01\xff", b"\x50\x07\x00\x01\x87\x03\x1f\x00\x09"]
)
def test_broken_pubrec(registration: device_rig.RegistrationServer, path: Path, answer: bytes) -> None:
    """A PUBREC that MQTT doesn't have ends the connection, and the message is sent again."""
    with new_broker(connack(ACCEPTED)) as broker, make(registration, path, broker.port) as device:
        assert device.wait_connected(5)
        delivery = device.publish("t", "x", qos=2)
        assert device_rig.eventually(lambda: bool(broker.received))
        broker.say(answer)
        assert device_rig.eventually(lambda: len(broker.asked) == 2 and len(broker.received) > 1)
        assert not delivery.is_lost


def test_command_line(registration: device_rig.RegistrationServer, path: Path) -> None:
    """`--mqtt-version` says which it is."""
    with old_broker() as broker:
        make(registration, path, broker.port)
        command = ["--credentials", str(path), "--publish", "t", "x", "--qos", "0"]
        assert main(command) == 0
        assert main([*command, "--mqtt-version", "3.1.1"]) == 0
        assert levels(broker) == [LEVEL_5, LEVEL_3_1_1, LEVEL_3_1_1]


def test_version_lost_keeps_messages(registration: device_rig.RegistrationServer, path: Path) -> None:
    """A message of QoS 1 that is unacknowledged when the broker becomes an older one is sent to that."""
    is_old = [False]

    def answers(asked: Asked) -> list[bytes]:
        if not is_old[0]:
            return [connack(ACCEPTED)]
        return [connack(ACCEPTED if asked.level == LEVEL_3_1_1 else 1, level=LEVEL_3_1_1)]

    with ScriptedBroker(answers) as broker, make(registration, path, broker.port) as device:
        assert device.wait_connected(5)
        delivery = device.publish("t", "kept", qos=1)
        assert device_rig.eventually(lambda: any(b"kept" in data for data in broker.received))
        is_old[0] = True
        broker.received.clear()
        broker.cut()
        assert device_rig.eventually(lambda: any(b"kept" in data for data in broker.received))
        assert not delivery.is_lost
