"""What a CONNECT claims, and how it is decided."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fleetkey.access.decisions.principal import Principal

__all__ = ["ConnectAttempt", "Granted", "Refusal", "Refused"]

NOT_AUTHORIZED = 5
SERVER_UNAVAILABLE = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectAttempt:
    """What a CONNECT claims; none of it is verified yet."""

    client_id: str
    username: str | None
    password: bytes | None = field(repr=False)
    address: str
    will_topic: str | None = None


class Refusal(StrEnum):
    """The exact reason, for the log; the client only sees the return code."""

    MALFORMED = "malformed_credentials"
    UNKNOWN_KEY = "unknown_key"
    WRONG_SECRET = "wrong_secret"  # noqa: S105 - a reason
    KEY_RETIRED = "key_retired"
    KEY_EXPIRED = "key_expired"
    DEVICE_NOT_ACTIVE = "device_not_active"
    WRONG_CLIENT_ID = "wrong_client_id"
    WRONG_ADDRESS = "wrong_address"
    FOREIGN_WILL = "foreign_will"
    UNSAFE_SCOPE = "unsafe_scope"
    SCOPE_TOO_LARGE = "scope_too_large"
    OVERLOADED = "overloaded"
    STORE_UNAVAILABLE = "store_unavailable"


PROVEN = frozenset(
    {
        Refusal.KEY_RETIRED,
        Refusal.KEY_EXPIRED,
        Refusal.DEVICE_NOT_ACTIVE,
        Refusal.WRONG_CLIENT_ID,
        Refusal.WRONG_ADDRESS,
        Refusal.FOREIGN_WILL,
        Refusal.UNSAFE_SCOPE,
        Refusal.SCOPE_TOO_LARGE,
    }
)
"""What nobody is told before the secret was compared, and right."""


@dataclass(frozen=True, slots=True)
class Granted:
    """The client is who its key says."""

    principal: Principal


@dataclass(frozen=True, slots=True)
class Refused:
    """The client is refused, and nothing that exists is touched."""

    reason: Refusal

    @property
    def may_pass(self) -> bool:
        """Whether the reason lies with the server, so the same CONNECT may succeed later."""
        return self.reason in {Refusal.OVERLOADED, Refusal.STORE_UNAVAILABLE}

    @property
    def is_proven(self) -> bool:
        """Whether key and secret were right, so that it is no stranger who is refused."""
        return self.reason in PROVEN

    @property
    def return_code(self) -> int:
        """The CONNACK return code (MQTT 3.1.1, 3.2.2.3): 3 if `may_pass`, otherwise 5."""
        return SERVER_UNAVAILABLE if self.may_pass else NOT_AUTHORIZED
