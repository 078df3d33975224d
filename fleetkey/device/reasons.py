"""MQTT's reasons in words, and what each of them means for a device."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from paho.mqtt.properties import Properties

__all__ = [
    "BAD_USER_NAME_OR_PASSWORD",
    "NOT_AUTHORISED",
    "PACKET_ID_NOT_FOUND",
    "PACKET_TOO_LARGE",
    "REASON_CODES",
    "UNSUPPORTED_VERSION",
    "in_words",
    "is_about_credentials",
    "is_temporary",
    "reason_string",
]

UNSUPPORTED_VERSION = 0x84
BAD_USER_NAME_OR_PASSWORD = 0x86
NOT_AUTHORISED = 0x87
PACKET_ID_NOT_FOUND = 0x92
PACKET_TOO_LARGE = 0x95
NAMES = {
    0x80: "unspecified error",
    0x81: "malformed packet",
    0x82: "protocol error",
    0x83: "implementation specific error",
    UNSUPPORTED_VERSION: "unacceptable protocol version",
    0x85: "client id rejected",
    BAD_USER_NAME_OR_PASSWORD: "bad user name or password",
    NOT_AUTHORISED: "not authorised",
    0x88: "server unavailable",
    0x89: "server busy",
    0x8A: "banned",
    0x8B: "server shutting down",
    0x8C: "bad authentication method",
    0x8D: "keep alive timeout",
    0x8E: "session taken over",
    0x8F: "topic filter invalid",
    0x90: "topic name invalid",
    0x91: "packet identifier in use",
    PACKET_ID_NOT_FOUND: "packet identifier not found",
    0x93: "receive maximum exceeded",
    0x94: "topic alias invalid",
    PACKET_TOO_LARGE: "packet too large",
    0x96: "message rate too high",
    0x97: "quota exceeded",
    0x98: "administrative action",
    0x99: "payload format invalid",
    0x9A: "retain not supported",
    0x9B: "QoS not supported",
    0x9C: "use another server",
    0x9D: "server moved",
    0x9E: "shared subscriptions not supported",
    0x9F: "connection rate exceeded",
    0xA0: "maximum connect time",
    0xA1: "subscription identifiers not supported",
    0xA2: "wildcard subscriptions not supported",
}
"""The reason codes of failures (MQTT 5.0, 2.4)."""
REASON_CODES = {1: UNSUPPORTED_VERSION, 2: 0x85, 3: 0x88, 4: BAD_USER_NAME_OR_PASSWORD, 5: NOT_AUTHORISED}
"""The reason code for each return code of MQTT 3.1.1 (3.2.2.3)."""
ABOUT_CREDENTIALS = frozenset({BAD_USER_NAME_OR_PASSWORD, NOT_AUTHORISED})
TEMPORARY = frozenset({0x88, 0x89, 0x8B, 0x97, 0x9F})
MAX_REASON_CHARACTERS = 200


def in_words(code: int, text: str = "") -> str:
    """Return a reason code's name, with the broker's own words if there are any."""
    name = NAMES.get(code, f"unknown reason 0x{code:02X}")
    return f"{name} ({text})" if text else name


def is_about_credentials(code: int) -> bool:
    """Return whether a refused CONNECT may succeed with other credentials."""
    return code in ABOUT_CREDENTIALS


def is_temporary(code: int) -> bool:
    """Return whether a reason says to try the same again later."""
    return code in TEMPORARY


def reason_string(properties: Properties | None) -> str:
    """Return what the broker says about a reason, shortened and printable; empty without (MQTT 5.0, 3.2.2.3.9)."""
    text = getattr(properties, "ReasonString", None)
    if not isinstance(text, str):
        return ""
    shown = "".join(character if character.isprintable() else " " for character in text[:MAX_REASON_CHARACTERS])
    return shown.strip()
