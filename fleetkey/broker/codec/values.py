"""The meaning of packets, independent of the protocol version."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum

__all__ = ["AT_LEAST_ONCE", "AT_MOST_ONCE", "EXACTLY_ONCE", "Connect", "Kind", "SubscriptionOptions", "Will"]

AT_MOST_ONCE, AT_LEAST_ONCE, EXACTLY_ONCE = 0, 1, 2


class Kind(IntEnum):
    """The types of control packets (MQTT 3.1.1, 2.2.1)."""

    CONNECT = 1
    CONNACK = 2
    PUBLISH = 3
    PUBACK = 4
    PUBREC = 5
    PUBREL = 6
    PUBCOMP = 7
    SUBSCRIBE = 8
    SUBACK = 9
    UNSUBSCRIBE = 10
    UNSUBACK = 11
    PINGREQ = 12
    PINGRESP = 13
    DISCONNECT = 14


@dataclass(frozen=True, slots=True, kw_only=True)
class Will:
    """The message to publish if a client disconnects without DISCONNECT (MQTT 3.1.1, 3.1.2.5)."""

    topic: str
    payload: bytes = field(repr=False)
    qos: int
    is_retained: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Connect:
    """A well-formed CONNECT; nothing in it has been verified."""

    client_id: str
    clean_start: bool
    """Whether to delete an older session of this client."""
    session_expiry_seconds: int | None
    """How long to keep the session after the connection: 0 = not at all, None = as long as the server allows."""
    keep_alive_seconds: int
    will: Will | None
    username: str | None
    password: bytes | None = field(repr=False)

    @property
    def is_session_kept(self) -> bool:
        """Whether the session is kept after its connection."""
        return self.session_expiry_seconds != 0


@dataclass(frozen=True, slots=True)
class SubscriptionOptions:
    """How a subscription is served."""

    qos: int
    """The maximum QoS of messages sent."""
