"""Refusal records: who was refused, when, how often, and why. None ever holds a secret or a payload."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from fleetkey.printable import printable

if TYPE_CHECKING:
    from fleetkey.registry.model.refusal_reasons import RefusalReason, RefusalStage

__all__ = [
    "RefusalCount",
    "RefusalFilter",
    "RefusalIncrement",
    "RefusalListener",
    "RefusalPage",
    "RefusalRecord",
    "is_whole_claim",
    "redacted",
    "shown_claim",
]

MAX_CLAIM_CHARACTERS = 128
"""Length of a claim in a record, as for a serial; a longer one is cut."""
SECRET_LIKE = re.compile(r"[0-9a-fA-F]{64}")
REDACTED = "[64 hex digits]"
CUT = "…"
"""Ends a claim that was cut."""


class RefusalListener(StrEnum):
    """Where a client was refused."""

    HTTP = "http"
    HTTPS = "https"
    MQTT = "mqtt"
    MQTTS = "mqtts"
    WS = "ws"
    WSS = "wss"


def redacted(text: str) -> str:
    """Return a client id or topic without what may be a secret in the wrong place."""
    return SECRET_LIKE.sub(REDACTED, text)


def shown_claim(text: str) -> str:
    """Return a claim as records have it: on one line, escaped, and cut to `MAX_CLAIM_CHARACTERS`."""
    escaped = printable(text[: MAX_CLAIM_CHARACTERS + 1])
    return escaped if len(escaped) <= MAX_CLAIM_CHARACTERS else escaped[: MAX_CLAIM_CHARACTERS - 1] + CUT


def is_whole_claim(shown: str) -> bool:
    """Whether a claim as records have it is certainly what the client sent: nothing is escaped, cut or left out."""
    return "\\" not in shown and not shown.endswith(CUT) and REDACTED not in shown


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalCount:
    """Refusals of one client at one stage for one reason. Serial, key, client id and topic are only claimed."""

    stage: RefusalStage
    reason: RefusalReason
    count: int
    first_at: int
    last_at: int
    listener: RefusalListener
    address: str
    """The last address; empty if there were too many clients to tell them apart."""
    serial: str | None = None
    key: str | None = None
    client_id: str | None = None
    topic: str | None = None
    """A topic or filter: the last one."""
    detail: str = ""
    """More about the last one, in our own words: the bound that was reached, what was malformed."""
    device_id: str | None = None
    """The device that the client proved to be, or whose key or serial it named; `is_proven` tells which."""
    is_proven: bool = False
    """Whether the client proved its key or serial, so that the record is certainly about its owner."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalIncrement(RefusalCount):
    """Refusals that are added to the record of their client. Claims are as `shown_claim` returns them.

    To whom they belong is found out when they are added: the device that the client proved to be, or else that of the
    claimed key or serial; or else the application with the claimed key; or else the claimed serial, if it is listed.
    """

    claimant: str
    """If they belong to nobody, tells strangers apart: by what one claimed, or else by its address."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalRecord(RefusalCount):
    """A record as stored: one per client (device, application or what was claimed), stage and reason."""

    position: int
    """Increases with every refusal that is added, so that the record that changed last comes first."""
    is_known: bool
    """Whether it belongs to a device, an application key or a listed serial; otherwise it is a stranger's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalFilter:
    """A filter for records; None matches everything, and all that are given must match."""

    device_id: str | None = None
    """The device it belongs to."""
    serial: str | None = None
    key: str | None = None
    client_id: str | None = None
    address: str | None = None
    stage: RefusalStage | None = None
    reason: RefusalReason | None = None
    since: int | None = None
    """Milliseconds since 1970, inclusive: the time of the last refusal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RefusalPage:
    """Matching records, newest first, and the position before which the search continues; None at the end."""

    records: tuple[RefusalRecord, ...]
    reached: int | None
