"""MQTT on the wire, without I/O: bytes to values and values to bytes, one codec for each protocol version."""

from fleetkey.broker.codec.codec import Codec
from fleetkey.broker.codec.connect import read_connect
from fleetkey.broker.codec.errors import (
    MalformedPacketError,
    PacketTooLargeError,
    ProtocolError,
    QuotaExceededError,
    ReceiveMaximumExceededError,
    TooManyFiltersError,
    TopicAliasInvalidError,
    TopicNameInvalidError,
    UnsupportedProtocolError,
)
from fleetkey.broker.codec.properties import PropertyLimits
from fleetkey.broker.codec.reasons import Reason
from fleetkey.broker.codec.v5 import MQTT_5, Codec5
from fleetkey.broker.codec.v311 import MQTT_3_1_1
from fleetkey.broker.codec.values import Connect, Kind, Leave, PeerLimits, SubscriptionOptions, Terms, Will

__all__ = [
    "MQTT_3_1_1",
    "MQTT_5",
    "Codec",
    "Codec5",
    "Connect",
    "Kind",
    "Leave",
    "MalformedPacketError",
    "PacketTooLargeError",
    "PeerLimits",
    "PropertyLimits",
    "ProtocolError",
    "QuotaExceededError",
    "Reason",
    "ReceiveMaximumExceededError",
    "SubscriptionOptions",
    "Terms",
    "TooManyFiltersError",
    "TopicAliasInvalidError",
    "TopicNameInvalidError",
    "UnsupportedProtocolError",
    "Will",
    "read_connect",
]
