"""What a reason is in MQTT 5.0: its code, and the text that helps a device's author."""

from __future__ import annotations

from fleetkey.broker.codec.reasons import Reason
from fleetkey.broker.codec.values import Kind

__all__ = ["CODES", "SCOPE_TEXTS", "SUBACK_CODES", "TEXTS"]

CODES = {
    Reason.SUCCESS: 0x00,
    Reason.MALFORMED_PACKET: 0x81,
    Reason.PROTOCOL_ERROR: 0x82,
    Reason.UNSUPPORTED_PROTOCOL: 0x84,
    Reason.INVALID_CLIENT_ID: 0x85,
    Reason.NOT_AUTHORIZED: 0x87,
    Reason.SERVER_BUSY: 0x89,
    Reason.NOT_STORED: 0x89,
    Reason.SERVER_SHUTTING_DOWN: 0x8B,
    Reason.BAD_AUTHENTICATION_METHOD: 0x8C,
    Reason.KEEP_ALIVE_TIMEOUT: 0x8D,
    Reason.SESSION_TAKEN_OVER: 0x8E,
    Reason.TOPIC_NAME_INVALID: 0x90,
    Reason.RECEIVE_MAXIMUM_EXCEEDED: 0x93,
    Reason.TOPIC_ALIAS_INVALID: 0x94,
    Reason.PACKET_TOO_LARGE: 0x95,
    Reason.QUOTA_EXCEEDED: 0x97,
    Reason.REVOKED: 0x98,
    Reason.DELETED: 0x98,
    Reason.CONNECTION_RATE_EXCEEDED: 0x9F,
}
"""The reason codes (2.4)."""
SUBACK_CODES = CODES | {Reason.NOT_STORED: 0x83}
"""SUBACK has no code for a busy server (3.9.3)."""
TEXTS = {
    Reason.NOT_STORED: "the server can't store anything at the moment; try again later",
    Reason.SERVER_BUSY: "the server is busy; try again later",
    Reason.SERVER_SHUTTING_DOWN: "the server is stopping; try again later",
    Reason.SESSION_TAKEN_OVER: "another connection uses this client id",
    Reason.REVOKED: "the key was revoked or its access changed",
    Reason.DELETED: "the key was revoked or its access changed",
    Reason.QUOTA_EXCEEDED: "more than this client may have",
    Reason.KEEP_ALIVE_TIMEOUT: "nothing was received for 1.5 times the keep-alive",
    Reason.CONNECTION_RATE_EXCEEDED: "too many refused connections from this address; try again later",
    Reason.BAD_AUTHENTICATION_METHOD: "no authentication method is offered; use user name and password",
}
"""The reason strings (3.1.2.11.7): what helps a device's author, and nothing about others."""
SCOPE_TEXTS = {
    Kind.PUBACK: "topic outside of the key's scope",
    Kind.PUBREC: "topic outside of the key's scope",
    Kind.SUBACK: "filter outside of the key's scope",
}
