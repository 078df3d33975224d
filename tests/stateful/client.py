"""An MQTT client that acknowledges everything, or nothing, and shows its session every PUBLISH that comes."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.stateful.isolation_model import Violation
from tests.support.packets import (
    DISCONNECT,
    PINGREQ,
    Kind,
    acknowledgement,
    number_of,
    publication_of,
    publish,
    subscribe,
    unsubscribe,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.stateful.isolation_model import Session
    from tests.support.packets import Packet
    from tests.support.wire import Wire

__all__ = ["Client"]

POLL_SECONDS = 0.002


class Client:
    """One connection of a session; `answers` is whether it acknowledges."""

    delivery_seconds = 5.0
    """How long something may take to come; what waits for a commit takes a few milliseconds."""

    def __init__(self, wire: Wire, session: Session, *, answers: bool) -> None:
        self.session = session
        self.is_deaf = False
        """Whether it leaves unread what is published to it."""
        self._is_answering = answers
        self._wire = wire
        self._connection = session.connection
        self._due: set[tuple[int, int]] = set()
        """Acknowledgements that have not come: kind, packet id."""
        self._answered: list[int] = []
        """QoS 1 messages with a PUBACK that the broker may not have read yet."""
        self._confirmed: list[int] = []
        """Those of them that it has read when the PINGRESP comes."""

    def publish(self, topic: str, payload: bytes, qos: int, *, retain: bool, again: bool = False) -> int:
        """Send a PUBLISH and return its packet id; `again` leaves a QoS 2 message for `publish_again` to finish."""
        number = self.session.new_number() if qos else 0
        self._wire.send(publish(topic, payload, qos=qos, number=number, retain=retain))
        if qos:
            self._due.add((Kind.PUBACK if qos == 1 else Kind.PUBREC, number))
        if again:
            self.session.unfinished[number] = publish(topic, payload, qos=qos, number=number, retain=retain, dup=True)
        return number

    def is_acknowledged(self, number: int) -> bool:
        """Whether the PUBACK or PUBREC of a message has come."""
        return not {(Kind.PUBACK, number), (Kind.PUBREC, number)} & self._due

    def publish_again(self) -> None:
        """Send what is unfinished again, as if no PUBREC had come, and finish it (4.3.3)."""
        self.finish()
        unfinished, self.session.unfinished = self.session.unfinished, {}
        self._due.update((Kind.PUBREC, number) for number in unfinished)
        self._wire.send(*unfinished.values())
        self.finish()

    def finish(self, most: int = 0) -> None:
        """Return when the broker has acknowledged what was published, but for so many."""
        while len(self._due) > most:
            self._expect(None)

    def subscribe(self, pairs: Sequence[tuple[str | bytes, int]]) -> list[int]:
        """Return the SUBACK's codes."""
        self._wire.send(subscribe(1, *pairs))
        return list(self._expect(Kind.SUBACK)[2:])

    def unsubscribe(self, *filters: str) -> None:
        """Return after the UNSUBACK."""
        self._wire.send(unsubscribe(1, *filters))
        self._expect(Kind.UNSUBACK)

    def ping(self) -> None:
        """Ask for a PINGRESP, without waiting for it."""
        self._confirmed, self._answered = self._answered, []
        self._wire.send(PINGREQ)

    def settle(self) -> None:
        """Read to the PINGRESP that was asked for, and on until all that has to come has come."""
        deadline = time.monotonic() + self.delivery_seconds
        while True:
            self._expect(Kind.PINGRESP)
            for number in self._confirmed:
                self.session.inflight.pop(number, None)
            if not self._is_answering or not (overdue := self.session.overdue()):
                return
            if time.monotonic() > deadline:
                raise self.session.violation(overdue, "did not come")
            time.sleep(POLL_SECONDS)
            self.ping()

    def disconnect(self) -> None:
        """Wait for what is due, end with DISCONNECT, and return when the broker has closed the connection."""
        self.finish()
        self._wire.send(DISCONNECT)
        self.drain()

    def drop(self) -> None:
        """Break the connection, and return when the broker has closed its side."""
        self._wire.stream.end()
        self.drain()

    def drain(self) -> None:
        """Read to the end that the broker makes."""
        while (got := self._read()) is not None:
            if got.kind not in {Kind.PUBACK, Kind.PUBREC, Kind.PUBCOMP, Kind.PINGRESP}:
                raise self.session.violation(got, "was not asked for")
        self._wire.close()

    def _expect(self, kind: Kind | None) -> bytes:
        """Read to a packet of a kind, or to the next acknowledgement, and return its body."""
        while (got := self._read()) is not None:
            if got.kind in {Kind.PUBACK, Kind.PUBREC}:
                self._on_acknowledgement(got.kind, number_of(got))
                if kind is None:
                    return got.body
            elif got.kind == kind:
                return got.body
            elif got.kind != Kind.PUBCOMP:
                raise self.session.violation(got, f"is not {kind}")
        raise self.session.violation(kind, "did not come: the connection was closed")

    def _read(self) -> Packet | None:
        """Return the next packet that is not the broker's own doing; None at the end."""
        while True:
            try:
                got = self._wire.read()
            except TimeoutError:
                msg = f"the broker was silent to {self.session.client_id!r}"
                raise Violation(msg) from None
            if self.is_deaf and got is not None and got.kind in {Kind.PUBLISH, Kind.PUBREL}:
                continue
            if got is not None and got.kind == Kind.PUBLISH:
                self._on_publish(got)
            elif got is not None and got.kind == Kind.PUBREL:
                self.session.inflight.pop(number_of(got), None)
                self._wire.send(acknowledgement(Kind.PUBCOMP, number_of(got)))
            else:
                return got

    def _on_publish(self, packet: Packet) -> None:
        got = publication_of(packet)
        self.session.deliver(got, self._connection)
        if got.qos and self._is_answering:
            self._wire.send(acknowledgement(Kind.PUBACK if got.qos == 1 else Kind.PUBREC, got.number))
            self.session.acknowledged(got.number)
            if got.qos == 1:
                self._answered.append(got.number)

    def _on_acknowledgement(self, kind: int, number: int) -> None:
        if (kind, number) not in self._due:
            raise self.session.violation((kind, number), "acknowledges nothing")
        self._due.remove((kind, number))
        if kind == Kind.PUBREC and number not in self.session.unfinished:
            self._wire.send(acknowledgement(Kind.PUBREL, number))
