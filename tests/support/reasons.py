"""The reason codes of MQTT 5 with which the broker refuses something, or ends a connection (2.4)."""

from __future__ import annotations

from enum import IntEnum

__all__ = ["Says"]


class Says(IntEnum):
    """What it says, and in which packets."""

    MALFORMED, PROTOCOL_ERROR = 0x81, 0x82
    CLIENT_ID_TAKEN, NOT_AUTHORIZED, BUSY = 0x85, 0x87, 0x89
    STOPPING, KEEP_ALIVE, TAKEN_OVER = 0x8B, 0x8D, 0x8E
    BAD_FILTER, BAD_TOPIC, NO_SUCH_NUMBER = 0x8F, 0x90, 0x92
    RECEIVE_MAXIMUM, BAD_ALIAS, TOO_LARGE, QUOTA, REVOKED = 0x93, 0x94, 0x95, 0x97, 0x98
