"""What the broker needs from a protocol version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from fleetkey.broker.codec.reasons import Reason
    from fleetkey.broker.codec.values import SubscriptionOptions

__all__ = ["Codec"]


class Codec(Protocol):
    """Reads and writes the packets of one version. Every reading method may raise `MalformedPacketError`.

    `data[start:end]` is a packet's body throughout.
    """

    def read_publish(self, first: int, data: bytes, topic_end: int, end: int) -> tuple[int, int, int]:
        """Return a PUBLISH's QoS, its packet identifier (0 for QoS 0), and where its payload begins."""
        ...

    def read_subscribe(
        self, data: bytes, start: int, end: int, most: int
    ) -> tuple[int, Iterator[tuple[str, SubscriptionOptions]]]:
        """Return a SUBSCRIBE's packet identifier, and its filters with their options as they are read.

        Raises `TooManyFiltersError` at the filter after `most`, so that no filter beyond the bound is read.
        """
        ...

    def read_unsubscribe(self, data: bytes, start: int, end: int, most: int) -> tuple[int, Iterator[str]]:
        """Return an UNSUBSCRIBE's packet identifier, and its filters as they are read; like `read_subscribe`."""
        ...

    def read_acknowledgement(self, data: bytes, start: int, end: int) -> int:
        """Return the packet identifier of a PUBACK, PUBREC, PUBREL or PUBCOMP."""
        ...

    def connack(self, reason: Reason, *, is_session_present: bool = False) -> bytes:
        """Return a CONNACK."""
        ...

    def suback(self, packet_id: int, answers: Sequence[SubscriptionOptions | Reason]) -> bytes:
        """Return a SUBACK: for each filter the granted QoS, or why it was refused."""
        ...

    def unsuback(self, packet_id: int) -> bytes:
        """Return an UNSUBACK."""
        ...

    def acknowledgement(self, kind: int, packet_id: int) -> bytes:
        """Return a PUBACK, PUBREC, PUBREL or PUBCOMP."""
        ...

    def publish(
        self,
        topic: bytes,
        payload: bytes,
        *,
        qos: int = 0,
        packet_id: int = 0,
        is_retained: bool = False,
        is_duplicate: bool = False,
    ) -> bytes:
        """Return a PUBLISH."""
        ...

    def disconnect(self, reason: Reason) -> bytes:
        """Return the packet to send before the server closes; empty if the version has none."""
        ...
