"""The audit log: who did what, and with what outcome."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

__all__ = ["Actor", "AuditEntry", "AuditFilter", "AuditPage", "AuditRecord"]


class Actor(str):
    """Who does something, for the audit log, and from which address. A plain string is an actor without an address."""

    __slots__ = ("address",)
    address: str

    def __new__(cls, name: str, *, address: str = "") -> Self:
        """Create an actor.

        Args:
            name: who it is.
            address: where the request came from.
        """
        actor = super().__new__(cls, name)
        actor.address = address
        return actor


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """Who did what, from where, with which outcome and why. Never holds a secret."""

    actor: str
    action: str
    outcome: str
    reason: str = ""
    address: str = ""
    serial: str | None = None
    device_id: str | None = None
    key: str | None = None
    by_stranger: bool = False
    """Whether its cause proved no identity, whatever it claimed. Such entries have a separate bound."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord(AuditEntry):
    """An audit entry as stored."""

    seq: int
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """A filter for audit entries; None matches everything."""

    actor: str | None = None
    """`device`, `cli`, `cli:USER`, `api:NAME:ID` and so on; a kind alone matches all actors of that kind."""
    action: str | None = None
    outcome: str | None = None
    address: str | None = None
    serial: str | None = None
    device_id: str | None = None
    key: str | None = None
    since: int | None = None
    """Milliseconds since 1970, inclusive."""
    until: int | None = None
    """Milliseconds since 1970, exclusive."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPage:
    """Matching entries, and how far the search got: a page may be short or empty although more follow."""

    records: tuple[AuditRecord, ...]
    position: int
    has_more: bool
