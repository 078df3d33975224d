"""What a CONNECT claims, and how it is decided."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fleetkey.registry import RefusalReason, is_access_key

if TYPE_CHECKING:
    from fleetkey.access.decisions.principal import Principal

__all__ = ["ConnectAttempt", "Granted", "Refused"]

NOT_AUTHORIZED = 5
SERVER_UNAVAILABLE = 3
NOT_AUTHORIZED_IN_5, SERVER_BUSY, CONNECTION_RATE_EXCEEDED = 0x87, 0x89, 0x9F


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectAttempt:
    """What a CONNECT claims; none of it is verified yet."""

    client_id: str
    username: str | None
    password: bytes | None = field(repr=False)
    address: str
    will_topic: str | None = None
    is_mqtt_5: bool = False
    """Whether the client speaks MQTT 5. There, an empty client id leaves it to the server: a device's own id then."""

    @property
    def claimed_key(self) -> str | None:
        """The user name, if it looks like a key. Otherwise it may be a secret in the wrong place."""
        return self.username if self.username is not None and is_access_key(self.username) else None


PROVEN = frozenset(
    {
        RefusalReason.KEY_RETIRED,
        RefusalReason.KEY_EXPIRED,
        RefusalReason.DEVICE_NOT_ACTIVE,
        RefusalReason.WRONG_CLIENT_ID,
        RefusalReason.WRONG_ADDRESS,
        RefusalReason.FOREIGN_WILL,
        RefusalReason.UNSAFE_SCOPE,
        RefusalReason.SCOPE_TOO_LARGE,
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

    reason: RefusalReason
    """The exact reason, for the log and the records; the client only sees the return code."""
    device_id: str | None = field(default=None, compare=False)
    """The device of the key, if the key exists and is a device's."""
    is_throttled: bool = field(default=False, compare=False)
    """Whether too many failures of its address or key are why the server has no time for it."""

    @property
    def may_pass(self) -> bool:
        """Whether the reason lies with the server, so the same CONNECT may succeed later."""
        return self.reason in {RefusalReason.OVERLOADED, RefusalReason.STORE_UNAVAILABLE}

    @property
    def is_proven(self) -> bool:
        """Whether key and secret were right, so that it is no stranger who is refused."""
        return self.reason in PROVEN

    @property
    def return_code(self) -> int:
        """The CONNACK return code (MQTT 3.1.1, 3.2.2.3): 3 if `may_pass`, otherwise 5."""
        return SERVER_UNAVAILABLE if self.may_pass else NOT_AUTHORIZED

    def code(self, *, is_mqtt_5: bool) -> int:
        """Return the code that the client gets: `return_code`, or the reason code of MQTT 5 (3.2.2.2)."""
        if not is_mqtt_5:
            return self.return_code
        busy = CONNECTION_RATE_EXCEEDED if self.is_throttled else SERVER_BUSY
        return busy if self.may_pass else NOT_AUTHORIZED_IN_5
