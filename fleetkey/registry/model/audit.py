"""The audit: who did what, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

__all__ = ["Actor", "AuditEntry", "AuditFilter", "AuditPage", "AuditRecord"]


class Actor(str):
    """Who does something, for the audit, with the address from which; a plain text is one without an address."""

    __slots__ = ("address",)
    address: str

    def __new__(cls, name: str, *, address: str = "") -> Self:
        """Make one.

        Args:
            name: who it is.
            address: from where.
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
    """Whether whoever caused it proved nothing, whatever they claim to be: such entries have a bound of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRecord(AuditEntry):
    """An audit entry as stored."""

    seq: int
    at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditFilter:
    """Which audit entries are wanted; what is None is not asked for."""

    actor: str | None = None
    """`device`, `cli`, `cli:USER`, `api:NAME:ID` and so on: a kind stands for all of its kind."""
    action: str | None = None
    outcome: str | None = None
    address: str | None = None
    serial: str | None = None
    device_id: str | None = None
    key: str | None = None
    since: int | None = None
    """Milliseconds since 1970; this moment counts."""
    until: int | None = None
    """Milliseconds since 1970; this moment doesn't count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPage:
    """Entries that match, and how far was looked: a page may be short, or empty, and there be more behind it."""

    records: tuple[AuditRecord, ...]
    position: int
    has_more: bool
