"""The device's errors, with their data as attributes and never with a secret in the message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = [
    "BrokerRefused",
    "BrokerUnreachable",
    "ConnectionLost",
    "CredentialsFileError",
    "DeviceError",
    "NoOwnTopic",
    "OutboxFull",
    "RegistrationPending",
    "RegistrationRefused",
    "RegistrationUnreachable",
    "SubscriptionRefused",
]

SERVER_UNAVAILABLE = 3
BAD_USERNAME_OR_PASSWORD = 4
NOT_AUTHORISED = 5
RETURN_CODE_MEANINGS = {
    1: "unacceptable protocol version",
    2: "client id rejected",
    SERVER_UNAVAILABLE: "server unavailable",
    BAD_USERNAME_OR_PASSWORD: "bad user name or password",
    NOT_AUTHORISED: "not authorised",
}


class DeviceError(Exception):
    """An expected error that keeps a device from working. The message is one sentence for a person."""


class RegistrationRefused(DeviceError):  # noqa: N818 - named by what happened, as the protocol does
    """The server refused; trying again helps only after `retry_after_seconds` or a change on the server.

    Attributes:
        status: HTTP status, such as 400, 401, 409, 429 or 503.
        detail: the server's own words (RFC 9457 `detail`, else `title`), shortened and printable.
        retry_after_seconds: the value of `Retry-After`, 0 to 3600, or None without it.
    """

    def __init__(self, status: int, detail: str, retry_after_seconds: float | None = None) -> None:
        super().__init__(f"registration refused ({status}): {detail}")
        self.status = status
        self.detail = detail
        self.retry_after_seconds = retry_after_seconds


class RegistrationPending(DeviceError):  # noqa: N818 - named by what happened
    """The device is waiting for an operator's approval (202); try again later.

    Attributes:
        retry_after_seconds: the value of `Retry-After`, 0 to 3600, or None without it.
    """

    def __init__(self, retry_after_seconds: float | None = None) -> None:
        super().__init__("registration is waiting for an operator's approval")
        self.retry_after_seconds = retry_after_seconds


class RegistrationUnreachable(DeviceError):  # noqa: N818 - named by what happened
    """There was no usable response: no network, no server, too slow, or another service at that address.

    Attributes:
        reason: what was seen.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(f"no usable response from the registration server: {reason}")
        self.reason = reason


class CredentialsFileError(DeviceError):
    """The credentials file can't be used as it is.

    Attributes:
        path: the file.
        kind: `missing`; `corrupt` if it is incomplete or damaged, and registering again replaces it; `unusable` if a
            person has to act (another device's, not a credentials file, no permission).
    """

    def __init__(self, path: Path, reason: str, *, kind: Literal["missing", "corrupt", "unusable"]) -> None:
        super().__init__(f"credentials file {path}: {reason}")
        self.path = path
        self.kind = kind


class BrokerRefused(DeviceError):  # noqa: N818 - named by what happened
    """The broker answered CONNECT with a refusal (MQTT 3.1.1, 3.2.2.3).

    Attributes:
        return_code: 1 to 5; 0 if the broker sent an undefined code.
    """

    def __init__(self, return_code: int) -> None:
        meaning = RETURN_CODE_MEANINGS.get(return_code, "unknown return code")
        super().__init__(f"refused by the broker: {meaning}")
        self.return_code = return_code

    @property
    def is_about_credentials(self) -> bool:
        """Whether new credentials could help: return code 4 or 5."""
        return self.return_code in {BAD_USERNAME_OR_PASSWORD, NOT_AUTHORISED}


class BrokerUnreachable(DeviceError):  # noqa: N818 - named by what happened
    """No MQTT connection could be made.

    Attributes:
        address: `host:port` of the broker.
        reason: what was seen.
    """

    def __init__(self, address: str, reason: str) -> None:
        super().__init__(f"can't reach the broker at {address}: {reason}")
        self.address = address
        self.reason = reason


class ConnectionLost(DeviceError):  # noqa: N818 - named by what happened
    """A working connection was closed by the other side or the network.

    Attributes:
        address: `host:port` of the broker.
    """

    def __init__(self, address: str) -> None:
        super().__init__(f"the connection to the broker at {address} was lost")
        self.address = address


class SubscriptionRefused(DeviceError):  # noqa: N818 - named by what happened
    """The broker answered SUBSCRIBE with 0x80 for some filters (MQTT 3.1.1, 3.9.3); the connection stays up.

    Attributes:
        topic_filters: the filters that were refused.
    """

    def __init__(self, topic_filters: Sequence[str]) -> None:
        super().__init__(f"the broker refused the subscription to {', '.join(topic_filters)}")
        self.topic_filters = tuple(topic_filters)


class OutboxFull(DeviceError):  # noqa: N818 - named by what happened
    """The outbox is full; drop a message, or publish less often.

    Attributes:
        limit: the maximum number of undelivered messages.
    """

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} messages are already waiting to be delivered")
        self.limit = limit


class NoOwnTopic(DeviceError):  # noqa: N818 - named by what is the case
    """The device has no topic of its own to build a topic name from."""
