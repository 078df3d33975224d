"""The protocols for the audit log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fleetkey.registry.model import AuditEntry, AuditFilter, AuditPage, AuditRecord

__all__ = ["AuditLog", "AuditReader", "AuditWriter", "DeletedDevices"]


class AuditWriter(Protocol):
    """Appending to the audit log."""

    def record(self, entry: AuditEntry) -> None:
        """Append one entry."""
        ...

    def record_all(self, entries: Iterable[AuditEntry]) -> None:
        """Append entries in the given order, all or none."""
        ...


class AuditReader(Protocol):
    """Reading who did what, and with what outcome.

    Positions increase and are never reused, but there may be gaps anywhere, since strangers' entries are deleted
    separately.
    """

    def list_audit(self, *, after: int = 0, limit: int = 100) -> list[AuditRecord]:
        """Return up to `limit` entries after position `after`, oldest first."""
        ...

    def find_audit(self, wanted: AuditFilter, *, after: int = 0, limit: int = 100) -> AuditPage:
        """Return up to `limit` matching entries after a position, oldest first; examines a bounded number."""
        ...

    def last_audit(self, limit: int, wanted: AuditFilter | None = None) -> list[AuditRecord]:
        """Return the newest `limit` entries that match, oldest first."""
        ...

    def audit_bounds(self) -> tuple[int, int]:
        """Return the positions of the oldest and the newest entry; (0, 0) if there are none."""
        ...

    def scan_audit(
        self, wanted: AuditFilter, *, after: int | None = None, before: int | None = None, limit: int, max_scanned: int
    ) -> tuple[list[AuditRecord], int | None]:
        """Examine up to `max_scanned` entries; return up to `limit` that match, and the last position examined.

        With `after`, it goes forward from there; otherwise back from `before`, or from the newest entry. A position
        beyond the newest counts as the newest. The returned position is None if the search is complete, which it never
        is going forward, since more entries may come.
        """
        ...


class DeletedDevices(Protocol):
    """Looking up deleted devices in the audit log."""

    def deleted_serial(self, device_id: str) -> str | None:
        """Return the serial of a deleted device; None if the audit log doesn't have it (any more)."""
        ...


class AuditLog(AuditWriter, AuditReader, DeletedDevices, Protocol):
    """The whole audit log; it is append-only except for retention."""

    def drop_old_audit(self, *, days: int) -> int:
        """Delete some entries older than this many days; return how many. Repeat until it returns 0."""
        ...
