"""MQTT 5.0. Section numbers are those of that standard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.access import is_shared
from fleetkey.broker.codec.errors import MalformedPacketError, ProtocolError
from fleetkey.broker.codec.filters import next_filter, read_filters
from fleetkey.broker.codec.frame import encode_length
from fleetkey.broker.codec.properties import (
    OF_ACKNOWLEDGEMENT,
    OF_DISCONNECT,
    OF_PUBLISH,
    OF_SUBSCRIBE,
    OF_UNSUBSCRIBE,
    Property,
    PropertyLimits,
    read_properties,
    written,
)
from fleetkey.broker.codec.reader import Reader
from fleetkey.broker.codec.reason_codes import CODES, SCOPE_TEXTS, SUBACK_CODES, TEXTS
from fleetkey.broker.codec.reasons import Reason
from fleetkey.broker.codec.values import (
    EXACTLY_ONCE,
    LONGEST_PACKET,
    MOST_PACKET_IDS,
    Kind,
    Leave,
    PeerLimits,
    SubscriptionOptions,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fleetkey.broker.codec.codec import Codec
    from fleetkey.broker.codec.values import PublishHead, Terms

__all__ = ["MQTT_5", "Codec5", "codec_for"]

NO_SUBSCRIPTION = 0x11
ACKNOWLEDGEMENT_CODES = frozenset((0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x92, 0x97, 0x99))
"""The reason codes that a client's PUBACK, PUBREC, PUBREL or PUBCOMP may have."""
ID_BYTES = 2
RESERVED_OPTIONS, NO_LOCAL = 0xC0, 0x04
MAX_RETAIN_HANDLING = 2
ALIAS_BYTES = 140
"""Memory per alias, besides its topic."""
MIN_ALIASED_BYTES = 4
"""An alias takes three bytes, so it saves nothing for a shorter topic."""
MOST_OVERHEAD = 21
"""Bytes that a PUBLISH has at most besides topic, payload, properties passed on, and identifiers, each of which has
fewer."""
OPTIONS = tuple(SubscriptionOptions(qos) for qos in range(EXACTLY_ONCE + 1))
"""The most frequent values, each created once."""
PUBACK, PUBREC, PUBREL, SUBACK = int(Kind.PUBACK), int(Kind.PUBREC), int(Kind.PUBREL), int(Kind.SUBACK)
"""Plain integers, which compare faster than enum members."""


class Codec5:
    """See `Codec`. It serves all clients that take packets of any length and no topic aliases."""

    __slots__ = ("limits", "wire")

    version = "5"
    plain_tail = b"\0"
    tells_reasons = shares_subscriptions = True
    max_packet_bytes = LONGEST_PACKET
    wants_problem_information = True

    def __init__(self, limits: PropertyLimits | None = None) -> None:
        self.limits = limits or PropertyLimits()
        self.wire: Codec = self

    def on_growth(self, callback: Callable[[int], None]) -> None:
        """Do nothing: it is shared."""

    def read_publish(self, first: int, data: bytes, topic_end: int, end: int) -> PublishHead:
        """Read the fields between topic and payload (3.3.1, 3.3.2)."""
        qos = first >> 1 & 3
        if qos > EXACTLY_ONCE or (first & 0x08 and not qos):
            msg = "contradictory PUBLISH flags"
            raise MalformedPacketError(msg)
        at, packet_id = topic_end, 0
        if qos:
            at += ID_BYTES
            packet_id = data[topic_end] << 8 | data[topic_end + 1] if at <= end else 0
            if not packet_id:
                msg = "PUBLISH without a packet identifier"
                raise MalformedPacketError(msg)
        if at < end and not data[at]:
            return qos, packet_id, at + 1, b"", None, 0
        reader = Reader(data, at, end)
        properties = read_properties(reader, OF_PUBLISH, self.limits)
        return (
            qos,
            packet_id,
            reader.position,
            properties.passed_on,
            properties.get(Property.MESSAGE_EXPIRY),
            properties.get(Property.TOPIC_ALIAS, 0),
        )

    def read_subscribe(
        self, data: bytes, start: int, end: int, most: int
    ) -> tuple[int, Iterator[tuple[str, SubscriptionOptions]]]:
        """Read a SUBSCRIBE (3.8)."""
        reader = Reader(data, start, end)
        packet_id = reader.packet_id()
        identifier = read_properties(reader, OF_SUBSCRIBE, self.limits).get(Property.SUBSCRIPTION_IDENTIFIER, 0)
        return packet_id, _pairs(reader, most, identifier)

    def read_unsubscribe(self, data: bytes, start: int, end: int, most: int) -> tuple[int, Iterator[str]]:
        """Read an UNSUBSCRIBE (3.10)."""
        reader = Reader(data, start, end)
        packet_id = reader.packet_id()
        read_properties(reader, OF_UNSUBSCRIBE, self.limits)
        return packet_id, read_filters(reader, most, ProtocolError)

    def read_acknowledgement(self, data: bytes, start: int, end: int) -> tuple[int, bool]:
        """Read a PUBACK, PUBREC, PUBREL or PUBCOMP (3.4 to 3.7); reason code and properties may be left out."""
        reader = Reader(data, start, end)
        packet_id = reader.packet_id()
        if reader.is_at_end:
            return packet_id, True
        code = reader.byte()
        if code not in ACKNOWLEDGEMENT_CODES:
            msg = "a reason code that an acknowledgement can't have"
            raise ProtocolError(msg)
        if not reader.is_at_end:
            read_properties(reader, OF_ACKNOWLEDGEMENT, self.limits)
            _check_end(reader)
        return packet_id, code < 0x80  # noqa: PLR2004 - from here on, a reason code says that something failed (2.4)

    def read_disconnect(self, data: bytes, start: int, end: int) -> Leave:
        """Read a DISCONNECT (3.14); reason code and properties may be left out."""
        if start == end:
            return Leave()
        reader = Reader(data, start, end)
        # 3.14.4-3: only after success, the will is discarded.
        sends_will = reader.byte() != 0
        if reader.is_at_end:
            return Leave(sends_will=sends_will)
        properties = read_properties(reader, OF_DISCONNECT, self.limits)
        _check_end(reader)
        return Leave(sends_will, properties.get(Property.SESSION_EXPIRY))

    def connack(self, reason: Reason, *, is_session_present: bool = False, terms: Terms | None = None) -> bytes:
        """Return a CONNACK (3.2); a refusal never says that a session is present (3.2.2-6)."""
        code = CODES[reason]
        properties: dict[Property, int | str] = {}
        if terms is not None and not code:
            properties = _properties_of(terms)
        elif reason in TEXTS:
            properties[Property.REASON_STRING] = TEXTS[reason]
        head = bytes((int(is_session_present and not code), code))
        packet = _packet(Kind.CONNACK, head + written(properties))
        if len(packet) > self.max_packet_bytes:
            properties.pop(Property.REASON_STRING, None)
            properties.pop(Property.RESPONSE_INFORMATION, None)
            packet = _packet(Kind.CONNACK, head + written(properties))
        return self._fitting(packet)

    def suback(self, packet_id: int, answers: Sequence[SubscriptionOptions | Reason]) -> bytes:
        """Return a SUBACK with a code for each filter, in order (3.9)."""
        codes = bytes([SUBACK_CODES[answer] if isinstance(answer, Reason) else answer.qos for answer in answers])
        refused = next((answer for answer in answers if isinstance(answer, Reason)), None)
        number = packet_id.to_bytes(2, "big")
        text = self._text(SUBACK, refused)
        packet = _packet(Kind.SUBACK, number + text + codes)
        return (
            packet
            if len(packet) <= self.max_packet_bytes
            else self._fitting(_packet(Kind.SUBACK, number + b"\0" + codes))
        )

    def unsuback(self, packet_id: int, answers: Sequence[bool]) -> bytes:
        """Return an UNSUBACK with a code for each filter, in order (3.11)."""
        codes = bytes([0 if was_there else NO_SUBSCRIPTION for was_there in answers])
        return self._fitting(_packet(Kind.UNSUBACK, packet_id.to_bytes(2, "big") + b"\0" + codes))

    def acknowledgement(self, kind: int, packet_id: int, reason: Reason | None = None) -> bytes:
        """Return a PUBACK, PUBREC, PUBREL or PUBCOMP, without the reason code if that is success (3.4.2.1)."""
        flags = 2 if kind == PUBREL else 0
        if reason is None:
            return bytes((kind << 4 | flags, 2, packet_id >> 8, packet_id & 0xFF))
        body = packet_id.to_bytes(2, "big") + bytes((CODES[reason],))
        text = self._text(kind, reason)
        packet = _packet(kind, body + text if len(text) > 1 else body, flags)
        return packet if len(packet) <= self.max_packet_bytes else _packet(kind, body, flags)

    def publish(
        self,
        topic: bytes,
        payload: bytes,
        *,
        qos: int = 0,
        packet_id: int = 0,
        is_retained: bool = False,
        is_duplicate: bool = False,
        properties: bytes = b"",
        expiry_seconds: int | None = None,
        identifiers: tuple[int, ...] = (),
    ) -> bytes:
        """Return a PUBLISH (3.3)."""
        first = 0x30 | is_duplicate << 3 | qos << 1 | is_retained
        if expiry_seconds is not None or identifiers:
            properties = _with_own(properties, expiry_seconds, identifiers)
        size = encode_length(len(properties))
        head = len(topic).to_bytes(2, "big")
        length = len(topic) + len(payload) + len(properties) + len(size) + 2
        if qos:
            number = packet_id.to_bytes(2, "big")
            return b"%c%b%b%b%b%b%b%b" % (
                first, encode_length(length + 2), head, topic, number, size, properties, payload
            )  # fmt: skip
        return b"%c%b%b%b%b%b%b" % (first, encode_length(length), head, topic, size, properties, payload)

    def disconnect(self, reason: Reason) -> bytes:
        """Return a DISCONNECT (3.14); nothing if the client ended the connection, or it was never accepted."""
        code = CODES.get(reason)
        if not code:
            return b""
        packet = (
            _packet(Kind.DISCONNECT, bytes((code,)) + written({Property.REASON_STRING: TEXTS[reason]}))
            if (reason in TEXTS)
            else bytes((Kind.DISCONNECT << 4, 1, code))
        )
        return packet if len(packet) <= self.max_packet_bytes else bytes((Kind.DISCONNECT << 4, 1, code))

    def _fitting(self, packet: bytes) -> bytes:
        """Return a packet, or nothing if it is longer than the client takes (3.1.2-24)."""
        return packet if len(packet) <= self.max_packet_bytes else b""

    def _text(self, kind: int, reason: Reason | None) -> bytes:
        """Return the properties of an answer: a reason string, if there is one and the client wants it."""
        text = SCOPE_TEXTS.get(Kind(kind)) if reason is Reason.NOT_AUTHORIZED else TEXTS.get(reason) if reason else None
        if text is None or not self.wants_problem_information:
            return b"\0"
        return written({Property.REASON_STRING: text})


class _PeerCodec5(Codec5):
    """The codec of one client, which takes topic aliases, or no long packets, or no reason strings."""

    __slots__ = ("_aliases", "_grew", "_most_aliases", "max_packet_bytes", "wants_problem_information")

    def __init__(self, shared: Codec5, peer: PeerLimits) -> None:
        super().__init__(shared.limits)
        self.wire = shared
        self.max_packet_bytes = peer.max_packet_bytes
        self.wants_problem_information = peer.wants_problem_information
        self._most_aliases = min(peer.topic_alias_maximum, shared.limits.max_topic_aliases)
        self._aliases: dict[bytes, int] = {}
        """By topic (3.3.2.3.4). They end with the connection, as this does."""
        self._grew: Callable[[int], None] = lambda _: None

    def on_growth(self, callback: Callable[[int], None]) -> None:
        """See `Codec`."""
        self._grew = callback

    def publish(
        self,
        topic: bytes,
        payload: bytes,
        *,
        qos: int = 0,
        packet_id: int = 0,
        is_retained: bool = False,
        is_duplicate: bool = False,
        properties: bytes = b"",
        expiry_seconds: int | None = None,
        identifiers: tuple[int, ...] = (),
    ) -> bytes:
        """Return a PUBLISH, which must be sent: it may introduce the alias of its topic."""
        alias = self._aliases.get(topic, 0)
        is_new = not alias and len(self._aliases) < self._most_aliases and len(topic) >= MIN_ALIASED_BYTES
        if is_new:
            # It makes this message longer, which must not keep it from its receiver.
            longest = len(topic) + len(payload) + len(properties) + MOST_OVERHEAD * (1 + len(identifiers))
            is_new = longest <= self.max_packet_bytes
        if is_new:
            alias = len(self._aliases) + 1
        packet = super().publish(
            topic if is_new or not alias else b"",
            payload,
            qos=qos,
            packet_id=packet_id,
            is_retained=is_retained,
            is_duplicate=is_duplicate,
            properties=b"\x23%b%b" % (alias.to_bytes(2, "big"), properties) if alias else properties,
            expiry_seconds=expiry_seconds,
            identifiers=identifiers,
        )
        if len(packet) > self.max_packet_bytes:
            # 3.1.2-24
            return b""
        if is_new:
            self._aliases[topic] = alias
            self._grew(ALIAS_BYTES + len(topic))
        return packet


def codec_for(peer: PeerLimits, shared: Codec5) -> Codec5:
    """Return the codec for a client: the shared one, unless the client wants anything that it doesn't do."""
    if peer.max_packet_bytes >= LONGEST_PACKET and not peer.topic_alias_maximum and peer.wants_problem_information:
        return shared
    return _PeerCodec5(shared, peer)


def _packet(kind: int, body: bytes, flags: int = 0) -> bytes:
    return bytes((kind << 4 | flags,)) + encode_length(len(body)) + body


def _with_own(properties: bytes, expiry_seconds: int | None, identifiers: tuple[int, ...]) -> bytes:
    """Return a message's properties with those that the server adds."""
    own = b"" if expiry_seconds is None else b"\x02" + expiry_seconds.to_bytes(4, "big")
    return own + properties + b"".join([b"\x0b" + encode_length(identifier) for identifier in identifiers])


def _properties_of(terms: Terms) -> dict[Property, int | str]:
    properties: dict[Property, int | str] = {}
    if terms.session_expiry_seconds is not None:
        properties[Property.SESSION_EXPIRY] = terms.session_expiry_seconds
    if terms.receive_maximum < MOST_PACKET_IDS:
        properties[Property.RECEIVE_MAXIMUM] = terms.receive_maximum
    if terms.max_packet_bytes < LONGEST_PACKET:
        properties[Property.MAXIMUM_PACKET_SIZE] = terms.max_packet_bytes
    if terms.assigned_client_id is not None:
        properties[Property.ASSIGNED_CLIENT_ID] = terms.assigned_client_id
    if terms.topic_alias_maximum:
        properties[Property.TOPIC_ALIAS_MAXIMUM] = terms.topic_alias_maximum
    if terms.keep_alive_seconds is not None:
        properties[Property.SERVER_KEEP_ALIVE] = terms.keep_alive_seconds
    if terms.response_information is not None:
        properties[Property.RESPONSE_INFORMATION] = terms.response_information
    return properties


def _pairs(reader: Reader, most: int, identifier: int) -> Iterator[tuple[str, SubscriptionOptions]]:
    """Read filters with their options one at a time; there is at least one (3.8.3-2)."""
    while True:
        topic_filter, options = next_filter(reader, most, ProtocolError), reader.byte()
        qos, retain_handling = options & 3, options >> 4 & 3
        if options & RESERVED_OPTIONS:
            # 3.8.3-5
            msg = "reserved subscription options"
            raise MalformedPacketError(msg)
        if qos > EXACTLY_ONCE or retain_handling > MAX_RETAIN_HANDLING:
            # 3.8.3.1
            msg = "a QoS or retain handling of 3"
            raise ProtocolError(msg)
        if options & NO_LOCAL and is_shared(topic_filter):
            # 3.8.3-4
            msg = "no local for a shared subscription"
            raise ProtocolError(msg)
        most -= 1
        if options == qos and not identifier:
            yield topic_filter, OPTIONS[qos]
        else:
            yield topic_filter, SubscriptionOptions.unpacked(qos, options, identifier)
        if reader.is_at_end:
            return


def _check_end(reader: Reader) -> None:
    if not reader.is_at_end:
        msg = "bytes after the last field of a packet"
        raise MalformedPacketError(msg)


MQTT_5 = Codec5()
