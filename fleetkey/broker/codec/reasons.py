"""Why something was refused or closed: one list for all protocol versions; each codec encodes what its version can."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["Reason"]


class Reason(StrEnum):
    """Named as in the log and the metrics.

    MQTT 5.0 has a code for each; 3.1.1 has five for CONNACK, one for SUBACK, and closes for everything else.
    """

    __hash__ = str.__hash__
    """`Enum.__hash__` is slow Python code, and reasons are counted for each connection."""

    SUCCESS = "success"
    UNSUPPORTED_PROTOCOL = "protocol"
    INVALID_CLIENT_ID = "identifier_rejected"
    NOT_AUTHORIZED = "not_authorized"
    SERVER_BUSY = "server_busy"
    CONNECTION_RATE_EXCEEDED = "connection_rate"
    BAD_AUTHENTICATION_METHOD = "authentication_method"
    QUOTA_EXCEEDED = "quota_exceeded"
    MALFORMED_PACKET = "malformed"
    PROTOCOL_ERROR = "protocol_error"
    PACKET_TOO_LARGE = "packet_too_large"
    RECEIVE_MAXIMUM_EXCEEDED = "receive_maximum"
    TOPIC_ALIAS_INVALID = "topic_alias"
    TOPIC_NAME_INVALID = "topic_name"
    KEEP_ALIVE_TIMEOUT = "keep_alive"
    CONNECT_TIMEOUT = "connect_timeout"
    SESSION_TAKEN_OVER = "taken_over"
    SERVER_SHUTTING_DOWN = "shutdown"
    REVOKED = "revoked"
    DELETED = "deleted"
    NOT_STORED = "not_stored"
    REFUSED = "refused"
    CLIENT_DISCONNECTED = "disconnect"
    CONNECTION_LOST = "connection_lost"
    UPGRADE_REFUSED = "upgrade_refused"
