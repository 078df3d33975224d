"""A whole device against a real broker of MQTT 3.1.1: registering, reconnecting, being refused, stopping."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING

import pytest

from fleetkey.device import (
    Backoff,
    BrokerRefused,
    Credentials,
    Device,
    DeviceError,
    Message,
    OutboxFull,
    RegistrationPending,
    RegistrationRefused,
    SubscriptionRefused,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import Any

    from tests.integration.device import device_rig
else:
    import device_rig

SERIAL = "SN-0001"
FAST = Backoff(initial_seconds=0.05, max_seconds=0.1)


@pytest.fixture
def broker() -> Iterator[device_rig.BrokerThread]:
    """Run a broker."""
    yield from device_rig.running_broker()


@pytest.fixture
def registration(broker: device_rig.BrokerThread) -> Iterator[device_rig.RegistrationServer]:
    """Run a registration server for it."""
    yield from device_rig.running_registration(broker)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Name a credentials file."""
    return tmp_path / "device.json"


def make(registration: device_rig.RegistrationServer, path: Path, **options: Any) -> Device:
    """Make a device that is quick to try again."""
    settings: dict[str, Any] = {"backoff": FAST, "register_interval_seconds": 60.0, "connect_timeout_seconds": 2.0}
    settings["mqtt_version"] = "3.1.1"
    return Device(SERIAL, registration.url, path, **(settings | options))


def save_issued(registration: device_rig.RegistrationServer, path: Path, **mqtt: object) -> Credentials:
    """Write a credentials file as if the device had registered before."""
    document = registration.issue(SERIAL)
    settings = document["mqtt"]
    assert isinstance(settings, dict)
    credentials = Credentials.parse(json.dumps(document | {"mqtt": settings | mqtt}))
    credentials.save(path)
    return credentials


def test_start_new_device(registration: device_rig.RegistrationServer, path: Path) -> None:
    """A new device registers once, saves what it got, and its message comes back through its own topics."""
    messages: list[Message] = []
    with make(registration, path, on_message=messages.append) as device:
        assert device.wait_connected(5)
        assert device.device_id == registration.device_id
        topic = device.topic("state")
        assert topic == f"devices/{registration.device_id}/state"
        assert device.publish(topic, "one", qos=1).wait(5)
        assert device_rig.eventually(lambda: len(messages) == 1)
    assert messages == [Message(topic=topic, payload=b"one", qos=1)]
    assert len(registration.requests) == 1
    saved = Credentials.load(path)
    assert (saved.serial, saved.device_id) == (SERIAL, registration.device_id)


def test_start_known_device(registration: device_rig.RegistrationServer, path: Path) -> None:
    """A device that has its file connects without registering."""
    save_issued(registration, path)
    connected: list[Credentials] = []
    with make(registration, path, on_connected=connected.append) as device:
        assert device.wait_connected(5)
    assert registration.requests == []
    assert connected[0].device_id == registration.device_id


def test_start_corrupt_file(registration: device_rig.RegistrationServer, path: Path) -> None:
    """A torn file doesn't brick a device: it registers again and keeps the torn one aside."""
    save_issued(registration, path)
    torn = path.read_bytes()[:40]
    path.write_bytes(torn)
    with make(registration, path) as device:
        assert device.wait_connected(5)
    assert Credentials.load(path).device_id == registration.device_id
    assert path.with_name("device.json.corrupt").read_bytes() == torn


def test_publish_bytes_come_in(broker: device_rig.BrokerThread, path: Path) -> None:
    """A message from elsewhere reaches `on_message` with its bytes; a callback that raises harms nothing."""
    messages: list[Message] = []

    def fragile(message: Message) -> None:
        messages.append(message)
        raise RuntimeError(message.payload.hex())

    with device_rig.RegistrationServer(broker) as registration, make(registration, path, on_message=fragile) as device:
        assert device.wait_connected(5)
        for payload in (b"\xff\x00", b"second"):
            broker.say(device.topic("command"), payload)
        assert device_rig.eventually(lambda: len(messages) == 2)
        assert device.is_connected
    assert [message.payload for message in messages] == [b"\xff\x00", b"second"]


def test_publish_from_callback(registration: device_rig.RegistrationServer, path: Path) -> None:
    """Publishing from inside a callback works, as answering a command does."""
    seen: list[str] = []

    def answer(message: Message) -> None:
        seen.append(message.topic)
        if message.topic == device.topic("ask"):
            device.publish(device.topic("answer"), "yes", qos=1)

    device = make(registration, path, on_message=answer)
    with device:
        assert device.wait_connected(5)
        device.publish(device.topic("ask"), "?", qos=0)
        assert device_rig.eventually(lambda: device.topic("answer") in seen)


def test_publish_many(registration: device_rig.RegistrationServer, path: Path) -> None:
    """A burst from several threads is delivered whole, far over what may be unacknowledged at one time."""
    with make(registration, path, subscribe=False) as device:
        assert device.wait_connected(5)
        topic = device.topic("state")
        deliveries = []
        lock = threading.Lock()

        def burst(qos: int) -> None:
            for number in range(60):
                delivery = device.publish(topic, str(number), qos=qos)
                with lock:
                    deliveries.append(delivery)

        threads = [threading.Thread(target=burst, args=(qos,)) for qos in (0, 1, 2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(5)
        assert len(deliveries) == 180
        assert all(delivery.wait(5) for delivery in deliveries)


def test_reconnect_after_broker_restart(
    broker: device_rig.BrokerThread, registration: device_rig.RegistrationServer, path: Path
) -> None:
    """A device survives its broker's restart: it reconnects, subscribes again and delivers what waited meanwhile."""
    messages: list[Message] = []
    with make(registration, path, on_message=messages.append) as device:
        assert device.wait_connected(5)
        topic = device.topic("state")
        broker.stop()
        assert device_rig.eventually(lambda: not device.is_connected)
        at_once, later = device.publish(topic, "lost", qos=0), device.publish(topic, "kept", qos=1)
        assert at_once.is_lost
        broker.start()
        assert device.wait_connected(5)
        assert later.wait(5)
        assert device_rig.eventually(lambda: len(messages) == 1)
    assert messages[0].payload == b"kept"
    assert len(registration.requests) == 1


def test_refused_credentials_register_again(registration: device_rig.RegistrationServer, path: Path) -> None:
    """A revoked device registers again at its first refusal and connects with what it got."""
    old = save_issued(registration, path)
    del registration.broker.keys[old.key]
    errors: list[DeviceError] = []
    with make(registration, path, on_error=errors.append) as device:
        assert device.wait_connected(5)
    assert len(registration.requests) == 1
    assert Credentials.load(path).key != old.key
    assert isinstance(errors[0], BrokerRefused)
    assert errors[0].return_code == 5


def test_refused_credentials_at_most_once_per_interval(registration: device_rig.RegistrationServer, path: Path) -> None:
    """However often the broker refuses, registrations are an interval apart."""
    registration.knows_its_keys = False
    save_issued(registration, path)
    with make(registration, path, register_interval_seconds=0.5):
        assert device_rig.eventually(lambda: len(registration.requests) == 3)
        attempts = len(registration.broker.attempts)
    gaps = [later - earlier for earlier, later in zip(registration.requests, registration.requests[1:], strict=False)]
    assert all(gap >= 0.49 for gap in gaps)
    assert attempts > 3


@pytest.mark.parametrize("refusal", [(400, {}), (202, {"Retry-After": "60"}), (503, {"Retry-After": "60"})])
def test_refused_registration_keeps_old_credentials(
    registration: device_rig.RegistrationServer, path: Path, refusal: tuple[int, dict[str, str]]
) -> None:
    """Without new credentials the old ones stay, in the file and in use, and work once the broker takes them again."""
    old = save_issued(registration, path)
    secret = registration.broker.keys.pop(old.key)
    registration.refuse_with = refusal
    errors: list[DeviceError] = []
    before = path.read_bytes()
    with make(registration, path, on_error=errors.append) as device:
        assert device_rig.eventually(lambda: len(registration.broker.attempts) >= 3)
        assert path.read_bytes() == before
        registration.broker.keys[old.key] = secret
        assert device.wait_connected(5)
    assert len(registration.requests) == 1
    assert any(isinstance(error, (RegistrationRefused, RegistrationPending)) for error in errors)


def test_pending_registration_waits_as_told(registration: device_rig.RegistrationServer, path: Path) -> None:
    """A new device that has to be approved asks again after `Retry-After`, and is in when it is approved."""
    registration.refuse_with = (202, {"Retry-After": "1"})
    with make(registration, path) as device:
        assert device_rig.eventually(lambda: isinstance(device.last_error, RegistrationPending))
        assert not device.wait_connected(0.3)
        registration.refuse_with = None
        assert device.wait_connected(5)
    first, second = registration.requests
    assert 0.99 <= second - first < 1.6


def test_server_unavailable_does_not_register(registration: device_rig.RegistrationServer, path: Path) -> None:
    """CONNACK 3 says nothing about the credentials: the device only tries again."""
    errors: list[DeviceError] = []
    with device_rig.RefusingBroker(3) as refusing:
        save_issued(registration, path, port=refusing.port)
        with make(registration, path, on_error=errors.append):
            assert device_rig.eventually(lambda: len(refusing.connects) >= 3)
    assert registration.requests == []
    assert {error.return_code for error in errors if isinstance(error, BrokerRefused)} == {3}


def test_bad_password_registers(registration: device_rig.RegistrationServer, path: Path) -> None:
    """CONNACK 4 counts as refused credentials, as 5 does."""
    with device_rig.RefusingBroker(4) as refusing:
        save_issued(registration, path, port=refusing.port)
        with make(registration, path) as device:
            assert device.wait_connected(5)
    assert len(registration.requests) == 1


def test_backoff_grows_while_unstable(registration: device_rig.RegistrationServer, path: Path) -> None:
    """A connection that is accepted and falls down at once doesn't make the waits short again."""
    with device_rig.RefusingBroker(0) as flapping:
        save_issued(registration, path, port=flapping.port)
        backoff = Backoff(initial_seconds=0.05, max_seconds=10, jitter="none")
        with make(registration, path, backoff=backoff):
            assert device_rig.eventually(lambda: len(flapping.connects) == 5)
    gaps = [later - before for before, later in zip(flapping.connects, flapping.connects[1:], strict=False)]
    assert all(gap >= least for gap, least in zip(gaps, (0.05, 0.1, 0.2, 0.4), strict=True))


def test_backoff_starts_over_after_stable(registration: device_rig.RegistrationServer, path: Path) -> None:
    """A connection that stood long enough makes the waits short again."""
    with device_rig.RefusingBroker(0) as flapping:
        save_issued(registration, path, port=flapping.port)
        backoff = Backoff(initial_seconds=0.02, max_seconds=10, factor=10, jitter="none")
        with make(registration, path, backoff=backoff, stable_after_seconds=0.0):
            assert device_rig.eventually(lambda: len(flapping.connects) == 5, timeout_seconds=1)


def test_subscription_refused(registration: device_rig.RegistrationServer, path: Path) -> None:
    """A refused subscription is told, and the connection stays."""
    save_issued(registration, path, subscribe=[device_rig.FORBIDDEN, "fine"])
    errors: list[DeviceError] = []
    with make(registration, path, on_error=errors.append) as device:
        assert device.wait_connected(5)
        assert device.publish("fine", "x", qos=1).wait(5)
    assert [error.topic_filters for error in errors if isinstance(error, SubscriptionRefused)] == [
        (device_rig.FORBIDDEN,)
    ]


def test_publish_outbox_full(registration: device_rig.RegistrationServer, path: Path) -> None:
    """The queue for bad times is bounded, and stopping tells those who wait in it."""
    registration.refuse_with = (400, {})
    with make(registration, path, max_queued_messages=2) as device:
        waiting = [device.publish("t", "x", qos=1) for _ in range(2)]
        with pytest.raises(OutboxFull):
            device.publish("t", "x", qos=1)
    assert all(delivery.is_lost for delivery in waiting)
    assert device.publish("t", "x", qos=1).is_lost


@pytest.mark.parametrize("moment", ["connected", "registration_hangs", "registration_pause", "connect_pause", "silent"])
def test_stop_is_prompt(registration: device_rig.RegistrationServer, path: Path, moment: str) -> None:
    """`stop` returns within two seconds whatever the device is doing."""
    slow = Backoff(initial_seconds=100, max_seconds=100, jitter="none")
    options: dict[str, Any] = {"backoff": slow, "connect_timeout_seconds": 30.0, "register_timeout_seconds": 30.0}
    silent = device_rig.RefusingBroker(None)
    ready: dict[str, Callable[[Device], bool]] = {
        "connected": lambda device: device.is_connected,
        "registration_hangs": lambda _: len(registration.requests) == 1,
        "registration_pause": lambda device: device.last_error is not None,
        "connect_pause": lambda device: device.last_error is not None,
        "silent": lambda _: len(silent.connects) == 1,
    }
    if moment == "registration_hangs":
        registration.hangs.set()
    if moment == "registration_pause":
        registration.refuse_with = (503, {"Retry-After": "600"})
    if moment == "connect_pause":
        save_issued(registration, path, port=device_rig.free_port())
    if moment == "silent":
        save_issued(registration, path, port=silent.port)
    device = make(registration, path, **options)
    device.start()
    assert device_rig.eventually(lambda: ready[moment](device))
    before = time.monotonic()
    device.stop()
    took = time.monotonic() - before
    registration.hangs.clear()
    silent.close()
    assert took < 2
    assert not device.is_connected
    assert device._thread is not None
    assert not device._thread.is_alive()


def test_stop_from_callback(registration: device_rig.RegistrationServer, path: Path) -> None:
    """A callback may stop its device, and `run` returns then."""

    def stop(_: Credentials) -> None:
        device.stop()

    device = make(registration, path, on_connected=stop)
    device.run()
    assert not device.is_connected


def test_stop_sends_what_is_queued(registration: device_rig.RegistrationServer, path: Path) -> None:
    """What was published right before `stop` still leaves."""
    with make(registration, path) as device:
        assert device.wait_connected(5)
        delivery = device.publish(device.topic("state"), "last words", qos=0)
    assert delivery.is_delivered


def test_secret_in_no_log(
    registration: device_rig.RegistrationServer, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Through registering, connecting, being refused and failing, no log line has a secret or a proof in it."""
    caplog.set_level("DEBUG")
    old = save_issued(registration, path)
    del registration.broker.keys[old.key]
    with make(registration, path, proof="proof-of-origin") as device:
        assert device.wait_connected(5)
    new = Credentials.load(path)
    ours = [record for record in caplog.records if record.name.startswith(("fleetkey", "paho"))]
    assert ours
    shown = "\n".join(f"{record.getMessage()} {record.__dict__}" for record in ours) + repr((old, new, device))
    for secret in (old.secret.reveal(), new.secret.reveal(), "proof-of-origin"):
        assert secret not in shown
