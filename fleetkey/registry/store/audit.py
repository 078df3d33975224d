"""What others need from the audit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fleetkey.registry.model import AuditEntry, AuditFilter, AuditPage, AuditRecord

__all__ = ["AuditLog", "AuditReader", "AuditWriter", "DeletedDevices"]


class AuditWriter(Protocol):
    """Appending to the audit."""

    def record(self, entry: AuditEntry) -> None:
        """Append one entry."""
        ...

    def record_all(self, entries: Iterable[AuditEntry]) -> None:
        """Append entries in their order, all or none."""
        ...


class AuditReader(Protocol):
    """Who did what, and how it ended.

    Positions grow and are never given twice, but not every one is there: entries of strangers are dropped by
    themselves, so gaps may be anywhere.
    """

    def list_audit(self, *, after: int = 0, limit: int = 100) -> list[AuditRecord]:
        """Return up to `limit` entries after position `after`, oldest first."""
        ...

    def find_audit(self, wanted: AuditFilter, *, after: int = 0, limit: int = 100) -> AuditPage:
        """Return up to `limit` entries after a position that match, oldest first; looks at a bounded number."""
        ...

    def last_audit(self, limit: int, wanted: AuditFilter | None = None) -> list[AuditRecord]:
        """Return the newest `limit` entries that match, oldest first."""
        ...

    def audit_bounds(self) -> tuple[int, int]:
        """Return the positions of the oldest kept and the newest entry; (0, 0) when there is none."""
        ...

    def scan_audit(
        self, wanted: AuditFilter, *, after: int | None = None, before: int | None = None, limit: int, max_scanned: int
    ) -> tuple[list[AuditRecord], int | None]:
        """Look at up to `max_scanned` entries and return up to `limit` that match, and the last position looked at.

        With `after`, forward from there; else back from `before`, or from the newest. What lies behind the newest is
        taken for it. The position is None if there is nothing behind it; forward never, since more may come.
        """
        ...


class DeletedDevices(Protocol):
    """What the audit still knows of devices that are gone."""

    def deleted_serial(self, device_id: str) -> str | None:
        """Return the serial of a device that was deleted; None if the audit doesn't have it, or not any more."""
        ...


class AuditLog(AuditWriter, AuditReader, DeletedDevices, Protocol):
    """The whole audit; it is append-only but for what its retention drops."""

    def drop_old_audit(self, *, days: int) -> int:
        """Drop some entries that are older than so many days; return how many: call again until it is 0."""
        ...
