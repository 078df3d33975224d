"""The device: registers once, saves its credentials, stays connected, and registers again when it has to."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

from fleetkey.device.backoff import Backoff
from fleetkey.device.connection import Connection
from fleetkey.device.enrollment import Enrollment
from fleetkey.device.errors import BrokerRefused, CredentialsFileError, DeviceError, NoOwnTopic
from fleetkey.device.observer import Observer
from fleetkey.device.outbox import Delivery, Message
from fleetkey.device.registration import Registrar
from fleetkey.device.saved_credentials import load_saved_credentials
from fleetkey.device.tls import trust
from fleetkey.device.topics import check_topic_name
from fleetkey.device.versions import check_version

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleetkey.device.credentials import Credentials
    from fleetkey.device.versions import MqttVersion

__all__ = ["Device"]

STOP_SECONDS = 2.0
MAX_QOS = 2
MAX_PAYLOAD_BYTES = 268_435_455 - 65_537

logger = logging.getLogger("fleetkey.device")


class Device:
    """One device of the fleet. Use it once: `start()` or `run()`, then `stop()`; or in a `with` block.

    It registers if its file has no credentials, connects with them, and reconnects with backoff for ever. If the
    broker refuses the credentials (not authorised, or bad user name or password), it registers again, but keeps trying
    the old ones, which stay in the file, until it has new ones. Any other reason only makes it connect again, also
    one for which an existing connection is closed: the next answer to CONNECT decides. No expected error ends it, only
    `stop()`.

    Args:
        serial: the hardware's identifier; 1 to 128 printable characters without whitespace at the ends.
        registration_url: the server's base URL, or its `/register` URL; http or https.
        credentials_file: where to save the credentials; its folder must exist. Readable by the owner only.
        proof: the proof that the server requires along with the serial, if any.
        on_message: called with each `Message` received. Callbacks run in the device's thread, one at a time; an
            exception in one is logged and ignored.
        on_connected: called with the `Credentials` each time a connection is ready, including its subscriptions.
        on_error: called with each `DeviceError` that doesn't stop the device.
        subscribe: whether to subscribe to everything the credentials allow.
        register_interval_seconds: the shortest time between two registrations, over 0. A `Retry-After` from the
            server takes precedence, up to an hour.
        register_timeout_seconds: the longest that one registration may take, over 0.
        backoff: waits between connections, and in a copy between registrations.
        stable_after_seconds: a connection that lasted this long resets the backoff.
        connect_timeout_seconds: the longest that reaching the broker, and then its answers, may take; over 0.
        keepalive_seconds: the longest silence before the device pings the broker, 1 to 65535.
        clean_session: False keeps the session in the broker between connections.
        max_queued_messages: how many messages may be undelivered, at least 1.
        mqtt_version: "5" or "3.1.1" for that alone; None is 5, and 3.1.1 with brokers that speak nothing newer.
        tls_ca_file: PEM file with the only authorities to trust, for https and MQTT; None trusts the system's.

    Raises:
        ValueError: an argument is out of range.
        DeviceError: `tls_ca_file` can't be used.
    """

    def __init__(
        self,
        serial: str,
        registration_url: str,
        credentials_file: Path | str,
        *,
        proof: str | None = None,
        on_message: Callable[[Message], object] | None = None,
        on_connected: Callable[[Credentials], object] | None = None,
        on_error: Callable[[DeviceError], object] | None = None,
        subscribe: bool = True,
        register_interval_seconds: float = 60.0,
        register_timeout_seconds: float = 10.0,
        backoff: Backoff | None = None,
        stable_after_seconds: float = 10.0,
        connect_timeout_seconds: float = 10.0,
        keepalive_seconds: int = 60,
        clean_session: bool = True,
        max_queued_messages: int = 1000,
        mqtt_version: MqttVersion | None = None,
        tls_ca_file: Path | str | None = None,
    ) -> None:
        check_version(mqtt_version)
        tls_context = None if tls_ca_file is None else trust(tls_ca_file)
        self._registrar = Registrar(
            serial, registration_url, proof=proof, timeout_seconds=register_timeout_seconds, tls_context=tls_context
        )
        self._backoff = (backoff or Backoff()).copy()
        self._enrollment = Enrollment(
            self._registrar, interval_seconds=register_interval_seconds, backoff=self._backoff.copy()
        )
        self._observer = Observer(connected=on_connected, message=on_message, error=on_error)
        self._connection = Connection(
            self._observer,
            tls_context=tls_context,
            clean_session=clean_session,
            keepalive_seconds=keepalive_seconds,
            connect_timeout_seconds=connect_timeout_seconds,
            max_queued_messages=max_queued_messages,
            mqtt_version=mqtt_version,
        )
        self._path = Path(credentials_file)
        self._subscribe = subscribe
        self._stable_after_seconds = stable_after_seconds
        self._credentials: Credentials | None = None
        self._lock = threading.RLock()
        self._is_started = False
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def device_id(self) -> str | None:
        """The device's id, or None before it has registered."""
        return None if self._credentials is None else self._credentials.device_id

    @property
    def is_connected(self) -> bool:
        """Whether a connection is ready right now."""
        return self._observer.is_connected

    @property
    def last_error(self) -> DeviceError | None:
        """The last error since a connection was last ready, or None."""
        return self._observer.last_error

    def topic(self, suffix: str) -> str:
        """Return the device's own topic with this suffix: `state` gives `devices/<id>/state`.

        It comes from the first publish filter that ends in `/#` or is exactly this topic. Call it again after a
        reconnect: a device that was deleted comes back with another id.

        Raises:
            NoOwnTopic: the device hasn't registered yet, or has no such filter.
        """
        if self._credentials is None:
            raise NoOwnTopic("the device has no topics of its own before it has registered")
        for topic_filter in self._credentials.mqtt.publish:
            if "+" in topic_filter:
                continue
            if topic_filter.endswith("/#"):
                return f"{topic_filter.removesuffix('#')}{suffix}"
            if topic_filter.endswith(f"/{suffix}"):
                return topic_filter
        raise NoOwnTopic(f"no publish filter ends in /# or /{suffix}: use full topics instead")

    def publish(self, topic: str, payload: bytes | str, qos: int = 0, *, retain: bool = False) -> Delivery:
        """Publish to a full topic, from any thread, without waiting.

        At QoS 1 and 2 a message waits for a connection; at QoS 0 it is lost without one. The broker decides whether the
        device may publish there. If it says no, which it can for QoS 1 and 2 in MQTT 5, `on_error` is called with a
        `PublishRefused`, which is also the delivery's `error`.

        Raises:
            ValueError: the topic, QoS or payload isn't valid in MQTT.
            OutboxFull: `max_queued_messages` are undelivered.
        """
        check_topic_name(topic)
        data = payload.encode() if isinstance(payload, str) else bytes(payload)
        if qos not in range(MAX_QOS + 1) or len(data) > MAX_PAYLOAD_BYTES:
            raise ValueError("the QoS must be 0, 1 or 2, and the payload smaller than 256 MiB")
        return self._connection.publish(Message(topic=topic, payload=data, qos=qos, retain=retain))

    def wait_connected(self, timeout_seconds: float) -> bool:
        """Wait until a connection is ready, the time is over or `stop()` is called; return whether one is ready."""
        return self._observer.wait_connected(timeout_seconds)

    def start(self) -> None:
        """Load the credentials, and run in a background thread.

        Raises:
            CredentialsFileError: a person has to look at the file; a damaged one is set aside instead.
            RuntimeError: it was started before.
        """
        with self._lock:
            self._prepare()
            self._thread = threading.Thread(target=self._live, name="fleetkey-device", daemon=True)
            self._thread.start()

    def run(self) -> None:
        """Run in this thread, until another thread or a callback calls `stop()`.

        Raises:
            CredentialsFileError: as `start`.
            RuntimeError: as `start`.
        """
        self._prepare()
        self._live()

    def stop(self) -> None:
        """Stop within a few seconds, whatever it is doing. Calling it again does nothing."""
        self._stopping.set()
        self._registrar.abort()
        self._connection.stop()
        self._observer.close()
        with self._lock:
            thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            # A name lookup can't be interrupted; the daemon thread ends by itself right after it.
            thread.join(STOP_SECONDS)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _prepare(self) -> None:
        with self._lock:
            if self._is_started:
                raise RuntimeError("a Device can be started only once; create another one")
            self._credentials = load_saved_credentials(self._path, self._registrar.serial)
            self._is_started = True

    def _live(self) -> None:
        try:
            while not self._stopping.is_set():
                try:
                    pause_seconds = self._step()
                except Exception:  # the thread's boundary: an error is logged, and the device keeps trying
                    logger.exception("device.step_failed")
                    pause_seconds = self._backoff.next_seconds()
                self._stopping.wait(pause_seconds)
        finally:
            self._connection.finish()

    def _step(self) -> float:
        """Register, or connect until the connection ends; return how many seconds to wait before the next step."""
        if self._credentials is None:
            return 0.0 if self._enroll() else self._enrollment.due_in_seconds()
        credentials = self._credentials
        filters = credentials.mqtt.subscribe if self._subscribe else ()
        try:
            ended = self._connection.run(credentials, client_id=credentials.mqtt.client_id or "", subscribe=filters)
        finally:
            self._observer.on_disconnected()
        if ended.error is None:
            return 0.0
        self._observer.on_error(ended.error)
        if ended.up_seconds >= self._stable_after_seconds:
            self._backoff.reset()
        pause_seconds = self._backoff.next_seconds()
        if isinstance(ended.error, BrokerRefused) and ended.error.is_about_credentials:
            if self._enrollment.due_in_seconds() == 0 and self._enroll():
                return 0.0
            return min(pause_seconds, self._enrollment.due_in_seconds())
        return pause_seconds

    def _enroll(self) -> bool:
        try:
            credentials = self._enrollment.attempt(has_credentials=self._credentials is not None)
        except DeviceError as error:
            if not self._stopping.is_set():
                self._observer.on_error(error)
            return False
        try:
            credentials.save(self._path)
        except CredentialsFileError as error:
            # They work until the next restart, so it is better to use them than not.
            self._observer.on_error(error)
        self._credentials = credentials
        logger.info("device.registered device_id=%s", credentials.device_id)
        return True
