"""What `python -m fleetkey.device` does, one function per mode."""

from __future__ import annotations

import json
import queue
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fleetkey.device.client import Device
from fleetkey.device.credentials import Credentials
from fleetkey.device.errors import (
    BrokerRefused,
    BrokerUnreachable,
    ConnectionLost,
    CredentialsFileError,
    DeviceError,
    OutboxFull,
    PublishRefused,
    RegistrationPending,
    RegistrationRefused,
    RegistrationUnreachable,
    SubscriptionRefused,
)
from fleetkey.device.outbox import Delivery, Message
from fleetkey.device.reasons import NOT_AUTHORISED
from fleetkey.device.session import Session

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from pathlib import Path

    from fleetkey.device.printer import Printer
    from fleetkey.device.versions import MqttVersion

    MakeDevice = Callable[[Callable[[object], object]], Device]

__all__ = ["advice", "publish_once", "run_device", "run_device_once", "subscribe_to"]

MAX_WAITING_EVENTS = 1000
CONNECT_SECONDS = 15.0


def run_device(make_device: MakeDevice, printer: Printer, *, interval_seconds: float) -> None:
    """Run a device until interrupted: print received messages, and publish a state at every interval while connected.

    Args:
        make_device: creates the device, given a callback for its events.
        printer: prints the events.
        interval_seconds: the interval between states.

    Raises:
        DeviceError: the device can't start, or has no state topic.
    """
    events: queue.Queue[object] = queue.Queue(MAX_WAITING_EVENTS)
    device = make_device(events.put)
    born = due = time.monotonic()
    with device:
        while True:
            # Without a connection there is nothing to publish, and only an event brings one.
            pause_seconds = max(0.0, due - time.monotonic()) if device.is_connected else None
            try:
                event = events.get(timeout=pause_seconds)
            except queue.Empty:
                due = time.monotonic() + interval_seconds
                try:
                    _publish_state(device, born)
                except OutboxFull as error:
                    printer.error(advice(error))
                continue
            if isinstance(event, Credentials):
                printer.connected(event)
                due = time.monotonic()
            elif isinstance(event, Message):
                printer.message(event)
            elif isinstance(event, DeviceError):
                printer.error(advice(event))


def run_device_once(make_device: MakeDevice, printer: Printer, *, timeout_seconds: float) -> None:
    """Run a device until it has delivered one state.

    Args:
        make_device: creates the device, given a callback for its events.
        printer: prints the events.
        timeout_seconds: the time limit for everything.

    Raises:
        DeviceError: the registration is refused or pending, or it took too long; then it is the last error.
    """
    events: queue.Queue[object] = queue.Queue(MAX_WAITING_EVENTS)
    device = make_device(events.put)
    born = time.monotonic()
    deadline = born + timeout_seconds
    last_error: DeviceError | None = None
    with device:
        while True:
            try:
                event = events.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise last_error or DeviceError(f"not connected within {timeout_seconds:g} s") from None
            if isinstance(event, Credentials):
                printer.connected(event)
                break
            if isinstance(event, DeviceError):
                if _is_final(event):
                    raise event
                last_error = event
        delivery = _publish_state(device, born)
        if not delivery.wait(max(0.0, deadline - time.monotonic())):
            if delivery.error is not None:
                raise delivery.error
            raise DeviceError(f"the broker did not acknowledge the state within {timeout_seconds:g} s")
        printer.published(device.topic("state"), 1)


def publish_once(
    path: Path,
    message: Message,
    printer: Printer,
    *,
    tls_context: ssl.SSLContext | None,
    timeout_seconds: float,
    mqtt_version: MqttVersion | None = None,
) -> None:
    """Publish one message with the credentials in a file, and wait until it is delivered.

    Raises:
        DeviceError: the file can't be used, the broker refused, or it took longer than the timeout.
    """
    with Session(Credentials.load(path), tls_context=tls_context, mqtt_version=mqtt_version) as session:
        session.wait_connected(timeout_seconds)
        try:
            session.deliver(message, timeout_seconds)
        except ConnectionLost as error:
            if error.reason_code is not None:
                raise
            # MQTT 3.1.1, 3.3.5: a broker that refuses a publish can only close the connection or ignore it.
            raise DeviceError(
                f"the broker closed the connection instead of acknowledging: may this key publish to {message.topic}?"
            ) from error
        printer.published(message.topic, message.qos)


def subscribe_to(
    path: Path,
    topic_filter: str,
    printer: Printer,
    *,
    tls_context: ssl.SSLContext | None,
    count: int | None,
    timeout_seconds: float | None,
    mqtt_version: MqttVersion | None = None,
) -> None:
    """Print messages until there are enough, the time is up, or it is interrupted.

    Args:
        path: the credentials file.
        topic_filter: what to subscribe to.
        printer: prints the messages.
        tls_context: trust for brokers with TLS, or None for the system's.
        count: after how many messages to stop, or None.
        timeout_seconds: how long to listen, or None.
        mqtt_version: the only version to speak, or None.

    Raises:
        DeviceError: the file can't be used, the broker refused, the connection ended, or the time was up before there
            were enough messages.
    """
    credentials = Credentials.load(path)
    with Session(credentials, tls_context=tls_context, subscribe=[topic_filter], mqtt_version=mqtt_version) as session:
        session.wait_connected(CONNECT_SECONDS)
        printer.subscribed(topic_filter)
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        received = 0
        while count is None or received < count:
            message = session.next_message(None if deadline is None else deadline - time.monotonic())
            if message is None:
                if count is None:
                    return
                raise DeviceError(f"received only {received} of {count} messages within {timeout_seconds:g} s")
            printer.message(message)
            received += 1


def advice(error: DeviceError) -> str:
    """Return an error as one sentence that also says what to do about it."""
    hint = ""
    match error:
        case BrokerRefused(reason_code=code) if code == NOT_AUTHORISED:
            hint = "check that the key is active and that the file is its newest"
        case SubscriptionRefused():
            hint = "subscribe to what the credentials allow (for a device: mqtt.subscribe in the file)"
        case PublishRefused(reason_code=code) if code == NOT_AUTHORISED:
            hint = "publish to what the credentials allow (for a device: mqtt.publish in the file)"
        case CredentialsFileError(kind="missing"):
            hint = "register with --serial and --url first, or give the file with --credentials"
        case CredentialsFileError(kind="corrupt"):
            hint = "for a device, register with --serial and --url to get a new one"
        case RegistrationPending():
            hint = "approve it with 'fleetkey devices approve'"
        case RegistrationRefused(status=status) if 400 <= status < 429:  # noqa: PLR2004 - HTTP's own numbers
            hint = "check the serial, the proof and the server's registration settings ('fleetkey audit' shows why)"
        case RegistrationUnreachable(reason=reason) | BrokerUnreachable(reason=reason) if _is_untrusted(reason):
            hint = "if it has a private certificate authority, name it with --ca"
        case RegistrationUnreachable():
            hint = "check --url and that the server is running"
        case _:
            pass
    return f"{error}; {hint}" if hint else str(error)


def _is_untrusted(reason: str) -> bool:
    """Whether a certificate has no trusted issuer, by OpenSSL's message, as opposed to another host or expiry."""
    return any(words in reason for words in ("self-signed", "self signed", "unable to get local issuer"))


def _is_final(error: DeviceError) -> bool:
    """Whether waiting won't help, because a person has to approve or change something."""
    if isinstance(error, RegistrationRefused):
        return error.retry_after_seconds is None
    return isinstance(error, RegistrationPending)


def _publish_state(device: Device, born: float) -> Delivery:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    state = {"data": {"uptime_seconds": int(time.monotonic() - born)}, "time": {"$date": now}}
    return device.publish(device.topic("state"), json.dumps(state), qos=1)
