"""An MQTT client that acknowledges everything, or nothing, and shows its session every PUBLISH that comes."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from tests.stateful.session_model import Violation
from tests.support.packets import (
    DISCONNECT,
    PINGREQ,
    Kind,
    acknowledgement,
    number_of,
    packet,
    publication_of,
    publish,
    reason_of,
    subscribe,
    unsubscribe,
)
from tests.support.properties import Name, as_properties, prop, read_properties
from tests.support.versions import LEVEL_5

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.stateful.session_model import Message, Session
    from tests.support.packets import Packet
    from tests.support.wire import Wire

__all__ = ["Client"]

POLL_SECONDS = 0.002
NOT_AUTHORIZED = 0x87
MOST_ALIASES = 16


class Client:
    """One connection of a session; `answers` is whether it acknowledges."""

    delivery_seconds = 5.0
    """How long something may take to come; what waits for a commit takes a few milliseconds."""

    def __init__(self, wire: Wire, session: Session, *, answers: bool) -> None:
        self.session = session
        self.is_deaf = False
        """Whether it leaves unread what is published to it."""
        session.is_answering = self._is_answering = answers
        self._wire = wire
        self._level, self._asks = wire.level, session.asks
        self.aliases: dict[int, str] = {}
        """Topics by the alias that the client gave them."""
        self._aliases: dict[int, str] = {}
        """Topics by the alias that the broker gave them."""
        self._open: set[int] = set()
        """QoS 1 and 2 messages that came over this connection and aren't acknowledged."""
        self._refusals: set[int] = set()
        """Packet ids of messages that must be, or may be, refused."""
        self._connection = session.connection
        self._due: set[tuple[int, int]] = set()
        """Acknowledgements that have not come: kind, packet id."""
        self._answered: list[int] = []
        """QoS 1 messages with a PUBACK that the broker may not have read yet."""
        self._confirmed: list[int] = []
        """Those of them that it has read when the PINGRESP comes."""

    def publish(self, message: Message, taken: str, *, again: bool = False) -> int:
        """Send a PUBLISH and return its packet id; `again` leaves a QoS 2 message for `publish_again` to finish.

        `taken` is what the model says. An alias is used if it stands for the topic, and stands for it from now on.
        """
        topic, dress, is_newer = message.topic, message.dress, self._level == LEVEL_5
        number = self.session.new_number() if message.qos else 0
        self._wire.send(
            publish(
                "" if is_newer and dress.alias and self.aliases.get(dress.alias) == topic else topic,
                message.payload,
                qos=message.qos,
                number=number,
                retain=message.retain,
                level=self._level,
                properties=dress.encoded(),
            )
        )
        if is_newer and dress.alias:
            self.aliases[dress.alias] = topic
        if message.qos:
            self._due.add((Kind.PUBACK if message.qos == 1 else Kind.PUBREC, number))
            if is_newer and taken != "taken":
                self._refusals.add(number if taken == "refused" else -number)
        if again:
            self.session.unfinished[number] = message
        return number

    def is_acknowledged(self, number: int) -> bool:
        """Whether the PUBACK or PUBREC of a message has come."""
        return not {(Kind.PUBACK, number), (Kind.PUBREC, number)} & self._due

    def publish_again(self) -> None:
        """Send what is unfinished again, as if no PUBREC had come, and finish it (4.3.3)."""
        self.finish()
        unfinished, self.session.unfinished = self.session.unfinished, {}
        self._due.update((Kind.PUBREC, number) for number in unfinished)
        for number, message in unfinished.items():
            self._wire.send(
                publish(
                    message.topic,
                    message.payload,
                    qos=2,
                    number=number,
                    retain=message.retain,
                    dup=True,
                    level=self._level,
                    properties=message.dress.encoded(alias=False),
                )
            )
        self.finish()

    def finish(self, most: int = 0) -> None:
        """Return when the broker has acknowledged what was published, but for so many."""
        while len(self._due) > most:
            self._expect(None)

    def subscribe(self, pairs: Sequence[tuple[str, int]], identifier: int = 0) -> list[int]:
        """Return the SUBACK's codes; a client of 3.1.1 asks for no more than a QoS."""
        is_newer = self._level == LEVEL_5
        own = prop(Name.SUBSCRIPTION_IDENTIFIER, identifier) if identifier and is_newer else b""
        asked = [(topic_filter, options if is_newer else options & 3) for topic_filter, options in pairs]
        self._wire.send(subscribe(1, *asked, level=self._level, properties=own))
        body = self._expect(Kind.SUBACK)
        return list(body[read_properties(body, 2)[1] :] if is_newer else body[2:])

    def unsubscribe(self, *filters: str) -> None:
        """Return after the UNSUBACK."""
        self._wire.send(unsubscribe(1, *filters, level=self._level))
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
            if not self._is_answering:
                return
            if not (overdue := self.session.overdue()):
                self.session.replayed.clear()
                return
            if time.monotonic() > deadline:
                raise self.session.violation(overdue, "did not come")
            time.sleep(POLL_SECONDS)
            self.ping()

    def disconnect(self, reason: int = 0, expiry: int | None = None) -> None:
        """Wait for what is due, end with DISCONNECT, and return when the broker has closed the connection.

        A client of MQTT 5 may give a reason, and say anew for how long its session is kept.
        """
        self.finish()
        own = as_properties(b"" if expiry is None else prop(Name.SESSION_EXPIRY, expiry))
        is_plain = self._level != LEVEL_5 or not (reason or expiry is not None)
        self._wire.send(DISCONNECT if is_plain else packet(Kind.DISCONNECT, 0, bytes([reason]) + own))
        self.drain()

    def drop(self) -> None:
        """Break the connection, and return when the broker has closed its side."""
        self._wire.stream.end()
        self.drain()

    def drain(self, *farewells: int) -> None:
        """Read to the end that the broker makes, for one of these reasons, which it says in MQTT 5, or for none."""
        said = 0
        while (got := self._read()) is not None:
            if said or got.kind not in {Kind.PUBACK, Kind.PUBREC, Kind.PUBCOMP, Kind.PINGRESP, Kind.DISCONNECT}:
                raise self.session.violation(got, "was not asked for")
            said = reason_of(got) if got.kind == Kind.DISCONNECT else 0
        if said not in (farewells if self._level == LEVEL_5 and farewells else {0}):
            raise self.session.violation(hex(said), f"was said at the end instead of {farewells}")
        self._wire.close()

    def _expect(self, kind: Kind | None) -> bytes:
        """Read to a packet of a kind, or to the next acknowledgement, and return its body."""
        while (got := self._read()) is not None:
            if got.kind in {Kind.PUBACK, Kind.PUBREC}:
                self._on_acknowledgement(got)
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
                self._open.discard(number_of(got))
                self._wire.send(acknowledgement(Kind.PUBCOMP, number_of(got)))
            else:
                return got

    def _on_publish(self, packet: Packet) -> None:
        asks, got = self._asks, publication_of(packet, self._level)
        if asks.max_packet_bytes and len(packet.body) + 2 > asks.max_packet_bytes:
            raise self.session.violation(got, "is longer than this client takes")
        alias = next((int(str(value)) for name, value in got.properties if name == Name.TOPIC_ALIAS), 0)
        if alias:
            if alias > min(asks.most_aliases, MOST_ALIASES):
                raise self.session.violation(got, "has an alias that this client doesn't take")
            if got.topic:
                self._aliases[alias] = got.topic
            got = replace(got, topic=self._aliases.get(alias, ""))
        self.session.deliver(got, self._connection, self._level)
        if not got.qos:
            return
        self._open.add(got.number)
        if asks.receive_maximum and len(self._open) > asks.receive_maximum:
            raise self.session.violation(got, "is more than this client takes at a time")
        if self._is_answering:
            self._wire.send(acknowledgement(Kind.PUBACK if got.qos == 1 else Kind.PUBREC, got.number))
            self.session.acknowledged(got.number)
            if got.qos == 1:
                self._open.discard(got.number)
                self._answered.append(got.number)

    def _on_acknowledgement(self, got: Packet) -> None:
        kind, number, reason = got.kind, number_of(got), reason_of(got)
        if (kind, number) not in self._due:
            raise self.session.violation((kind, number), "acknowledges nothing")
        self._due.remove((kind, number))
        expected = {NOT_AUTHORIZED} if number in self._refusals else {0}
        if -number in self._refusals:
            expected.add(NOT_AUTHORIZED)
        if reason not in expected:
            raise self.session.violation(hex(reason), f"is not the answer {expected} to a publish")
        # MQTT 5, 4.3.3: a refusal ends the handshake.
        if kind == Kind.PUBREC and number not in self.session.unfinished and not reason:
            self._wire.send(acknowledgement(Kind.PUBREL, number))
