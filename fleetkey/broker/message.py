"""Messages: published ones, which their receivers share, and what one session has of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fleetkey.budget import SharedCharge

__all__ = ["Message", "OutboundMessage"]


class Message:
    """One published message, shared by all its receivers and, if it is retained, by its topic."""

    __slots__ = (
        "expires_at",
        "in_memory",
        "is_retained",
        "on_disk",
        "owner",
        "payload",
        "properties",
        "qos",
        "references",
        "row",
        "size",
        "topic",
        "topic_bytes",
    )

    def __init__(
        self,
        topic: str,
        topic_bytes: bytes,
        payload: bytes,
        qos: int,
        owner: str = "",
        properties: bytes = b"",
        expires_at: float | None = None,
        *,
        is_retained: bool = False,
    ) -> None:
        self.topic = topic
        self.topic_bytes = topic_bytes
        self.payload = payload
        self.properties = properties
        """The properties that are passed on with it, as encoded by MQTT 5.0."""
        self.expires_at = expires_at
        """Until when it may be delivered, by `SteadyClock.lasted`; None = without end."""
        self.size = len(topic_bytes) + len(payload) + len(properties)
        """Bytes of topic, payload and properties."""
        self.qos = qos
        self.is_retained = is_retained
        """Whether it was published with the retain flag."""
        self.owner = owner
        """Its publisher's owner: a device id or an application's key; empty for the broker's own messages."""
        self.row = 0
        """Its row in the broker's store, which has it once; 0 = not stored."""
        self.references = 0
        """How many stored deliveries and retained messages refer to that row; it is deleted with the last one."""

        self.in_memory: SharedCharge | None = None
        self.on_disk: SharedCharge | None = None
        """Who is charged for it, as sessions of theirs wait for it; None if nobody was so far."""


class OutboundMessage:
    """One message on its way to one session."""

    __slots__ = (
        "identifiers",
        "is_released",
        "is_retained",
        "is_sent",
        "message",
        "must_wait",
        "packet_id",
        "qos",
        "row",
        "sent",
    )

    def __init__(
        self,
        message: Message,
        qos: int,
        *,
        is_retained: bool = False,
        identifiers: tuple[int, ...] = (),
    ) -> None:
        self.message = message
        self.qos = qos
        self.is_retained = is_retained
        """Whether it is sent with the retain flag."""
        self.identifiers = identifiers
        """Subscription identifiers that are sent with it (MQTT 5.0, 3.3.2.3.8)."""
        self.packet_id = 0
        self.is_sent = False
        self.is_released = False
        """QoS 2: PUBREC has arrived, so PUBREL is resent instead of the message (4.3.3)."""
        self.row = 0
        """Its row in the broker's store; 0 = not stored."""
        self.sent = 0
        """If stored: its place in the order of first sending; 0 = not sent yet, or sent by an older Fleetkey."""
        self.must_wait = False
        """Whether its packet id must be committed before it is sent, so that it keeps the same one after a crash."""
