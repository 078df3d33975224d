"""MQTT on the wire, without I/O: bytes to values and values to bytes, one codec for each protocol version."""

from fleetkey.broker.codec.codec import Codec
from fleetkey.broker.codec.connect import read_connect
from fleetkey.broker.codec.errors import MalformedPacketError, TooManyFiltersError, UnsupportedProtocolError
from fleetkey.broker.codec.reasons import Reason
from fleetkey.broker.codec.v311 import MQTT_3_1_1
from fleetkey.broker.codec.values import Connect, Kind, SubscriptionOptions, Will

__all__ = [
    "MQTT_3_1_1",
    "Codec",
    "Connect",
    "Kind",
    "MalformedPacketError",
    "Reason",
    "SubscriptionOptions",
    "TooManyFiltersError",
    "UnsupportedProtocolError",
    "Will",
    "read_connect",
]
