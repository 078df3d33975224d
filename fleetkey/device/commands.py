"""What `python -m fleetkey.device` does, one function per thing."""

from __future__ import annotations

import json
import queue
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from fleetkey.device.client import Device
from fleetkey.device.credentials import Credentials
from fleetkey.device.errors import (
    NOT_AUTHORISED,
    BrokerRefused,
    BrokerUnreachable,
    ConnectionLost,
    CredentialsFileError,
    DeviceError,
    OutboxFull,
    RegistrationPending,
    RegistrationRefused,
    RegistrationUnreachable,
    SubscriptionRefused,
)
from fleetkey.device.outbox import Delivery, Message
from fleetkey.device.session import Session

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from pathlib import Path

    from fleetkey.device.printer import Printer

    MakeDevice = Callable[[Callable[[object], object]], Device]

__all__ = ["advice", "publish_once", "run_device", "run_device_once", "subscribe_to"]

MAX_WAITING_EVENTS = 1000
CONNECT_SECONDS = 15.0


def run_device(make_device: MakeDevice, printer: Printer, *, interval_seconds: float) -> None:
    """Be a device until interrupted: print what comes in, publish a state at every interval while connected.

    Args:
        make_device: makes the device, given what to call with each of its events.
        printer: where the events go.
        interval_seconds: time between two states.

    Raises:
        DeviceError: when the device can't even start, or has no state topic.
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
    """Be a device for as long as it takes to deliver one state.

    Args:
        make_device: makes the device, given what to call with each of its events.
        printer: where the events go.
        timeout_seconds: the most for all of it.

    Raises:
        DeviceError: when the registration is refused or pending, or it took too long; then it tells the last
            thing that went wrong.
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
            raise DeviceError(f"the broker did not acknowledge the state within {timeout_seconds:g} s")
        printer.published(device.topic("state"), 1)


def publish_once(
    path: Path, message: Message, printer: Printer, *, tls_context: ssl.SSLContext | None, timeout_seconds: float
) -> None:
    """Publish one message with the credentials in a file, and wait until it is delivered.

    Raises:
        DeviceError: when the file can't be used, the broker refused, or it took longer than the timeout.
    """
    with Session(Credentials.load(path), tls_context=tls_context) as session:
        session.wait_connected(timeout_seconds)
        try:
            session.deliver(message, timeout_seconds)
        except ConnectionLost as error:
            # MQTT 3.1.1, 3.3.5: a broker that doesn't allow a publish may only close or keep quiet.
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
) -> None:
    """Print messages, until there were enough, the time is over or somebody interrupts.

    Args:
        path: the credentials file.
        topic_filter: what to subscribe to.
        printer: where the messages go.
        tls_context: trust for brokers with TLS, or None for the system's.
        count: how many messages are enough, or None.
        timeout_seconds: how long to listen, or None.

    Raises:
        DeviceError: when the file can't be used, the broker refused, the connection ended, or the time was over
            before there were enough.
    """
    with Session(Credentials.load(path), tls_context=tls_context, subscribe=[topic_filter]) as session:
        session.wait_connected(CONNECT_SECONDS)
        printer.subscribed(topic_filter)
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        received = 0
        while count is None or received < count:
            message = session.next_message(None if deadline is None else deadline - time.monotonic())
            if message is None:
                if count is None:
                    return
                raise DeviceError(f"{received} of {count} messages came within {timeout_seconds:g} s")
            printer.message(message)
            received += 1


def advice(error: DeviceError) -> str:
    """Return an error as one sentence that also tells what to do about it."""
    hint = ""
    match error:
        case BrokerRefused(return_code=code) if code == NOT_AUTHORISED:
            hint = "check that the key is active and the file is the newest one for it"
        case SubscriptionRefused():
            hint = "subscribe to what the credentials allow (for a device: mqtt.subscribe in the file)"
        case CredentialsFileError(kind="missing"):
            hint = "register with --serial and --url first, or give the file with --credentials"
        case CredentialsFileError(kind="corrupt"):
            hint = "for a device, register with --serial and --url to get a new one"
        case RegistrationPending():
            hint = "approve it with 'fleetkey devices approve'"
        case RegistrationRefused(status=status) if 400 <= status < 429:  # noqa: PLR2004 - HTTP's own numbers
            hint = "check the serial, the proof and the server's registration settings ('fleetkey audit' tells why)"
        case RegistrationUnreachable(reason=reason) | BrokerUnreachable(reason=reason) if _is_untrusted(reason):
            hint = "if its authority is your own, name that with --ca"
        case RegistrationUnreachable():
            hint = "check --url and that the server runs"
        case _:
            pass
    return f"{error}; {hint}" if hint else str(error)


def _is_untrusted(reason: str) -> bool:
    """Whether nobody trusted vouches for a certificate, in OpenSSL's words; others are for other hosts, or ended."""
    return any(words in reason for words in ("self-signed", "self signed", "unable to get local issuer"))


def _is_final(error: DeviceError) -> bool:
    """Whether waiting is of no use: a person has to approve or to change something."""
    if isinstance(error, RegistrationRefused):
        return error.retry_after_seconds is None
    return isinstance(error, RegistrationPending)


def _publish_state(device: Device, born: float) -> Delivery:
    now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    state = {"data": {"uptime_seconds": int(time.monotonic() - born)}, "time": {"$date": now}}
    return device.publish(device.topic("state"), json.dumps(state), qos=1)
