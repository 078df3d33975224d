"""MQTT 3.1.1. Section numbers are those of the standard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.broker.codec.errors import MalformedPacketError
from fleetkey.broker.codec.filters import next_filter, read_filters
from fleetkey.broker.codec.frame import encode_length
from fleetkey.broker.codec.reader import Reader
from fleetkey.broker.codec.reasons import Reason
from fleetkey.broker.codec.values import EXACTLY_ONCE, Kind, Leave, SubscriptionOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fleetkey.broker.codec.codec import Codec
    from fleetkey.broker.codec.values import PublishHead, Terms

__all__ = ["MQTT_3_1_1"]

RETURN_CODES = {
    Reason.SUCCESS: 0,
    Reason.UNSUPPORTED_PROTOCOL: 1,
    Reason.INVALID_CLIENT_ID: 2,
    Reason.SERVER_BUSY: 3,
    Reason.CONNECTION_RATE_EXCEEDED: 3,
    Reason.NOT_AUTHORIZED: 5,
}
"""The CONNACK return codes (3.2.2.3)."""
SUBSCRIPTION_REFUSED = 0x80
PACKET_ID_BYTES = 2
PUBREL = int(Kind.PUBREL)
"""A plain integer: comparing with an enum member takes longer than the rest of an acknowledgement."""
LEAVE = Leave()
OPTIONS = tuple(SubscriptionOptions(qos) for qos in range(EXACTLY_ONCE + 1))
"""The only possible values, each created once."""


class _Codec311:
    """See `Codec`."""

    __slots__ = ("wire",)

    version = "3.1.1"
    plain_tail = b""
    tells_reasons = shares_subscriptions = False

    def __init__(self) -> None:
        self.wire: Codec = self

    def on_growth(self, callback: Callable[[int], None]) -> None:
        """Do nothing: it is shared."""

    def read_publish(self, first: int, data: bytes, topic_end: int, end: int) -> PublishHead:
        """Read the fields between topic and payload (3.3.1, 3.3.2)."""
        qos = first >> 1 & 3
        if qos > EXACTLY_ONCE or (first & 0x08 and not qos):
            msg = "contradictory PUBLISH flags"
            raise MalformedPacketError(msg)
        if not qos:
            return 0, 0, topic_end, b"", None, 0
        if end - topic_end < PACKET_ID_BYTES:
            msg = "PUBLISH without a packet identifier"
            raise MalformedPacketError(msg)
        packet_id = data[topic_end] << 8 | data[topic_end + 1]
        if not packet_id:
            msg = "a packet identifier of 0"
            raise MalformedPacketError(msg)
        return qos, packet_id, topic_end + PACKET_ID_BYTES, b"", None, 0

    def read_subscribe(
        self, data: bytes, start: int, end: int, most: int
    ) -> tuple[int, Iterator[tuple[str, SubscriptionOptions]]]:
        """Read a SUBSCRIBE (3.8)."""
        reader = Reader(data, start, end)
        return reader.packet_id(), _pairs(reader, most)

    def read_unsubscribe(self, data: bytes, start: int, end: int, most: int) -> tuple[int, Iterator[str]]:
        """Read an UNSUBSCRIBE (3.10)."""
        reader = Reader(data, start, end)
        return reader.packet_id(), read_filters(reader, most)

    def read_acknowledgement(self, data: bytes, start: int, end: int) -> tuple[int, bool]:
        """Read an acknowledgement, which contains only a packet identifier (3.4 to 3.7)."""
        if end - start != PACKET_ID_BYTES:
            msg = "an acknowledgement that is not two bytes"
            raise MalformedPacketError(msg)
        packet_id = data[start] << 8 | data[start + 1]
        if not packet_id:
            msg = "a packet identifier of 0"
            raise MalformedPacketError(msg)
        return packet_id, True

    def read_disconnect(self, data: bytes, start: int, end: int) -> Leave:
        """Read a DISCONNECT, which contains nothing (3.14)."""
        del data
        if start != end:
            msg = "a body in a packet that has none"
            raise MalformedPacketError(msg)
        return LEAVE

    def connack(self, reason: Reason, *, is_session_present: bool = False, terms: Terms | None = None) -> bytes:
        """Return a CONNACK; a refusal never says that a session is present (3.2.2-4)."""
        del terms
        return_code = RETURN_CODES[reason]
        return bytes((Kind.CONNACK << 4, 2, int(is_session_present and not return_code), return_code))

    def suback(self, packet_id: int, answers: Sequence[SubscriptionOptions | Reason]) -> bytes:
        """Return a SUBACK with a code for each filter, in order (3.9)."""
        codes = bytes([SUBSCRIPTION_REFUSED if isinstance(answer, Reason) else answer.qos for answer in answers])
        length = encode_length(PACKET_ID_BYTES + len(codes))
        return bytes((Kind.SUBACK << 4,)) + length + packet_id.to_bytes(2, "big") + codes

    def unsuback(self, packet_id: int, answers: Sequence[bool] = ()) -> bytes:
        """Return an UNSUBACK (3.11)."""
        del answers
        return self.acknowledgement(Kind.UNSUBACK, packet_id)

    def acknowledgement(self, kind: int, packet_id: int, reason: Reason | None = None) -> bytes:
        """Return a packet that contains only a packet identifier; it can't say why something is refused."""
        del reason
        flags = 2 if kind == PUBREL else 0
        return bytes((kind << 4 | flags, 2, packet_id >> 8, packet_id & 0xFF))

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
        del properties, expiry_seconds, identifiers
        first = 0x30 | is_duplicate << 3 | qos << 1 | is_retained
        if qos:
            length = encode_length(len(topic) + len(payload) + 4)
            head = len(topic).to_bytes(2, "big")
            return b"%c%b%b%b%b%b" % (first, length, head, topic, packet_id.to_bytes(2, "big"), payload)
        length = encode_length(len(topic) + len(payload) + 2)
        return b"%c%b%b%b%b" % (first, length, len(topic).to_bytes(2, "big"), topic, payload)

    def disconnect(self, reason: Reason) -> bytes:
        """Return nothing: only a client sends DISCONNECT (3.14)."""
        del reason
        return b""


def _pairs(reader: Reader, most: int) -> Iterator[tuple[str, SubscriptionOptions]]:
    """Read filters with their QoS one at a time; there is at least one (3.8.3-3)."""
    while True:
        topic_filter, qos = next_filter(reader, most), reader.byte()
        if qos > EXACTLY_ONCE:
            msg = "a requested QoS over 2"
            raise MalformedPacketError(msg)
        most -= 1
        yield topic_filter, OPTIONS[qos]
        if reader.is_at_end:
            return


MQTT_3_1_1: Codec = _Codec311()
