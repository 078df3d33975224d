"""The meaning of packets, independent of the protocol version."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import NamedTuple

__all__ = [
    "AT_LEAST_ONCE",
    "AT_MOST_ONCE",
    "EXACTLY_ONCE",
    "LONGEST_PACKET",
    "MAX_IDENTIFIERS",
    "MOST_PACKET_IDS",
    "NO_END",
    "NO_LIMITS",
    "Connect",
    "Kind",
    "Leave",
    "PeerLimits",
    "PublishHead",
    "SubscriptionOptions",
    "Terms",
    "Will",
]

AT_MOST_ONCE, AT_LEAST_ONCE, EXACTLY_ONCE = 0, 1, 2
MOST_PACKET_IDS = 65_535
"""As many handshakes can be unfinished at a time (2.3.1)."""
LONGEST_PACKET = 2**28 + 4
"""Bytes of the longest packet that MQTT has (2.2.3)."""

MAX_IDENTIFIERS = 16
"""Subscription identifiers that go with a message to one session; those of further matching filters are left out."""
NO_END = 0xFFFF_FFFF
"""The session expiry interval of a session that never expires (MQTT 5.0, 3.1.2.11.2)."""


class Kind(IntEnum):
    """The types of control packets (MQTT 3.1.1, 2.2.1; MQTT 5.0, 2.1.2)."""

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
    AUTH = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Will:
    """The message to publish if a client disconnects without DISCONNECT (MQTT 3.1.1, 3.1.2.5)."""

    topic: str
    payload: bytes = field(repr=False)
    qos: int
    is_retained: bool
    properties: bytes = field(default=b"", repr=False)
    """The properties that are passed on, as encoded by MQTT 5.0."""
    expiry_seconds: int | None = None
    """For how long the message may be delivered once it is published; None = without end."""
    delay_seconds: int = 0
    """How long to wait for the client's next connection before it is published."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerLimits:
    """What a client takes, and what it wants to be told; the default is what MQTT 3.1.1 implies."""

    receive_maximum: int = MOST_PACKET_IDS
    """How many messages of QoS 1 and 2 may be unacknowledged at a time."""
    max_packet_bytes: int = LONGEST_PACKET
    topic_alias_maximum: int = 0
    wants_problem_information: bool = True
    wants_response_information: bool = False


NO_LIMITS = PeerLimits()


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
    peer: PeerLimits = NO_LIMITS
    authentication_method: str | None = None
    """The method of extended authentication that it asks for (MQTT 5.0, 4.12); none is offered."""
    is_mqtt_5: bool = False
    """Whether it is of MQTT 5; there, the server chooses a client id also for a session that is kept."""

    @property
    def is_session_kept(self) -> bool:
        """Whether the session is kept after its connection."""
        return self.session_expiry_seconds != 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What the server tells a client it accepts, beyond what MQTT 3.1.1 can say (MQTT 5.0, 3.2.2.3)."""

    session_expiry_seconds: int | None = None
    """If it differs from what the client asked for."""
    receive_maximum: int = MOST_PACKET_IDS
    max_packet_bytes: int = LONGEST_PACKET
    topic_alias_maximum: int = 0
    assigned_client_id: str | None = None
    keep_alive_seconds: int | None = None
    """If the server wants another one than the client."""
    response_information: str | None = None


PublishHead = tuple[int, int, int, bytes, int | None, int]
"""What a PUBLISH says besides its topic and payload, in a plain tuple, as there is one for each message:

- its QoS
- its packet identifier; 0 at QoS 0
- where its payload begins
- the properties that are passed on, as encoded by MQTT 5.0
- for how many seconds it may be delivered; None = without end
- the alias that stands for its topic from now on, or is there instead of it; 0 = none
"""


class Leave(NamedTuple):
    """A DISCONNECT from the client."""

    sends_will: bool = False
    session_expiry_seconds: int | None = None
    """How long to keep the session; None = as before."""


@dataclass(frozen=True, slots=True)
class SubscriptionOptions:
    """How a subscription is served; the defaults are what MQTT 3.1.1 has (MQTT 5.0, 3.8.3.1)."""

    qos: int
    """The maximum QoS of messages sent."""
    no_local: bool = False
    """Whether the client's own messages aren't sent to it."""
    retain_as_published: bool = False
    """Whether messages keep the retain flag with which they were published."""
    retain_handling: int = 0
    """When retained messages are sent: 0 = whenever it is subscribed, 1 = if it is new, 2 = never."""
    identifiers: tuple[int, ...] = ()
    """Subscription identifiers to send with its messages: at most one, but several if this stands for several
    subscriptions of a session that match the same topic."""

    @property
    def packed(self) -> int:
        """The options as in SUBSCRIBE, besides the QoS."""
        return self.no_local << 2 | self.retain_as_published << 3 | self.retain_handling << 4

    @classmethod
    def unpacked(cls, qos: int, packed: int, identifier: int) -> SubscriptionOptions:
        """Return the options that `packed` and the other two stand for; 0 = no identifier."""
        return cls(
            qos,
            no_local=bool(packed & 4),
            retain_as_published=bool(packed & 8),
            retain_handling=packed >> 4 & 3,
            identifiers=(identifier,) if identifier else (),
        )

    @property
    def is_plain(self) -> bool:
        """Whether a message is sent to it as to any subscription of MQTT 3.1.1."""
        return not (self.no_local or self.retain_as_published or self.identifiers)

    def merged(self, other: SubscriptionOptions) -> SubscriptionOptions:
        """Return how a message is sent that matches both subscriptions of one session: once (MQTT 5.0, 3.3.4)."""
        if self.is_plain and other.is_plain:
            return self if self.qos >= other.qos else other
        return SubscriptionOptions(
            max(self.qos, other.qos),
            no_local=self.no_local and other.no_local,
            retain_as_published=self.retain_as_published or other.retain_as_published,
            identifiers=(self.identifiers + other.identifiers)[:MAX_IDENTIFIERS],
        )
