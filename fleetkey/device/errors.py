"""The device's errors, with their data as attributes and never with a secret in the message."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from fleetkey.device.reasons import (
    NOT_AUTHORISED,
    REASON_CODES,
    in_words,
    is_about_credentials,
    is_temporary,
)

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
    "PublishRefused",
    "RegistrationPending",
    "RegistrationRefused",
    "RegistrationUnreachable",
    "SubscriptionRefused",
]

OUTSIDE = "topic outside of the key's scope"
"""What it means that a publish isn't authorised, if the broker has no words for it."""
RETURN_CODES = {reason: code for code, reason in REASON_CODES.items()}


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
    """The broker answered CONNECT with a refusal (MQTT 5.0, 3.2.2.2; MQTT 3.1.1, 3.2.2.3).

    Args:
        code: the reason code, or the return code of MQTT 3.1.1.
        reason_string: what the broker said about it.

    Attributes:
        reason_code: the reason code of MQTT 5, also for a return code of 3.1.1 that means the same.
        reason_string: what the broker said about it; empty if nothing.
    """

    def __init__(self, code: int, reason_string: str = "") -> None:
        self.reason_code = REASON_CODES.get(code, code)
        self.reason_string = reason_string
        super().__init__(f"refused by the broker: {in_words(self.reason_code, reason_string)}")

    @property
    def return_code(self) -> int:
        """The return code of MQTT 3.1.1 that means the same, 1 to 5; 0 if there is none."""
        return RETURN_CODES.get(self.reason_code, 0)

    @property
    def is_about_credentials(self) -> bool:
        """Whether new credentials could help: not authorised, or bad user name or password."""
        return is_about_credentials(self.reason_code)

    @property
    def is_temporary(self) -> bool:
        """Whether the broker says to try again later."""
        return is_temporary(self.reason_code)


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
        reason_code: why the broker closed it (MQTT 5.0, 3.14.2.1), or None if it didn't say.
        reason_string: what it said about that; empty if nothing.
    """

    def __init__(self, address: str, reason_code: int | None = None, reason_string: str = "") -> None:
        why = "" if reason_code is None else f": {in_words(reason_code, reason_string)}"
        super().__init__(f"the connection to the broker at {address} was lost{why}")
        self.address = address
        self.reason_code = reason_code
        self.reason_string = reason_string


class SubscriptionRefused(DeviceError):  # noqa: N818 - named by what happened
    """The broker refused some filters of a SUBSCRIBE (MQTT 5.0 and 3.1.1, 3.9.3); the connection stays up.

    Attributes:
        topic_filters: the filters that were refused.
        reason_code: why the first of them was, or None in MQTT 3.1.1, which can't say.
        reason_string: what the broker said about that; empty if nothing.
    """

    def __init__(self, topic_filters: Sequence[str], reason_code: int | None = None, reason_string: str = "") -> None:
        why = "" if reason_code is None else f": {in_words(reason_code, reason_string)}"
        super().__init__(f"the broker refused the subscription to {', '.join(topic_filters)}{why}")
        self.topic_filters = tuple(topic_filters)
        self.reason_code = reason_code
        self.reason_string = reason_string


class PublishRefused(DeviceError):  # noqa: N818 - named by what happened
    """The broker refused a message of QoS 1 or 2 (MQTT 5.0, 3.4.2.1 and 3.5.2.1); the connection stays up.

    MQTT 3.1.1 can't say so.

    Attributes:
        topic: the message's topic.
        reason_code: why.
        reason_string: what the broker said about it; empty if nothing.
    """

    def __init__(self, topic: str, reason_code: int, reason_string: str = "") -> None:
        why = in_words(reason_code, reason_string or (OUTSIDE if reason_code == NOT_AUTHORISED else ""))
        super().__init__(f"the broker refused the message to {topic}: {why}")
        self.topic = topic
        self.reason_code = reason_code
        self.reason_string = reason_string

    @property
    def is_temporary(self) -> bool:
        """Whether the same message may be accepted later."""
        return is_temporary(self.reason_code)


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
