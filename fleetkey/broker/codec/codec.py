"""What the broker needs from a protocol version."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from fleetkey.broker.codec.reasons import Reason
    from fleetkey.broker.codec.values import Leave, PublishHead, SubscriptionOptions, Terms

__all__ = ["Codec"]


class Codec(Protocol):
    """Reads and writes the packets of one version. Every reading method may raise `MalformedPacketError`.

    `data[start:end]` is a packet's body throughout. What a version can't express is left out of what is written.
    """

    @property
    def version(self) -> str:
        """The version's name."""
        ...

    @property
    def wire(self) -> Codec:
        """The codec whose receivers can be sent a message as its client encoded it."""
        ...

    @property
    def plain_tail(self) -> bytes:
        """What follows the topic in a PUBLISH of QoS 0 that has nothing but a topic and a payload."""
        ...

    @property
    def tells_reasons(self) -> bool:
        """Whether a refused publish is answered with its reason; otherwise it is acknowledged like any other."""
        ...

    @property
    def shares_subscriptions(self) -> bool:
        """Whether `$share/` begins a shared subscription."""
        ...

    def on_growth(self, callback: Callable[[int], None]) -> None:
        """Call back with the bytes by which the codec of a single client grows, each time."""
        ...

    def read_publish(self, first: int, data: bytes, topic_end: int, end: int) -> PublishHead:
        """Read what is between a PUBLISH's topic and its payload."""
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

    def read_acknowledgement(self, data: bytes, start: int, end: int) -> tuple[int, bool]:
        """Return the packet identifier of a PUBACK, PUBREC, PUBREL or PUBCOMP, and whether it is one of success."""
        ...

    def read_disconnect(self, data: bytes, start: int, end: int) -> Leave:
        """Read a DISCONNECT."""
        ...

    def connack(self, reason: Reason, *, is_session_present: bool = False, terms: Terms | None = None) -> bytes:
        """Return a CONNACK, empty if it is longer than the client takes; `terms` go with an acceptance."""
        ...

    def suback(self, packet_id: int, answers: Sequence[SubscriptionOptions | Reason]) -> bytes:
        """Return a SUBACK: for each filter the granted QoS, or why it was refused; empty like a CONNACK."""
        ...

    def unsuback(self, packet_id: int, answers: Sequence[bool]) -> bytes:
        """Return an UNSUBACK: for each filter, whether there was such a subscription; empty like a CONNACK."""
        ...

    def acknowledgement(self, kind: int, packet_id: int, reason: Reason | None = None) -> bytes:
        """Return a PUBACK, PUBREC, PUBREL or PUBCOMP; `reason` if it isn't one of success."""
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
        properties: bytes = b"",
        expiry_seconds: int | None = None,
        identifiers: tuple[int, ...] = (),
    ) -> bytes:
        """Return a PUBLISH; empty if it is longer than the client takes."""
        ...

    def disconnect(self, reason: Reason) -> bytes:
        """Return the packet to send before the server closes; empty if the version has none."""
        ...
