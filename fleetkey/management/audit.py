"""Reading the audit log: who did what, and with what outcome."""

from __future__ import annotations

import ipaddress
from dataclasses import replace
from enum import StrEnum
from typing import TYPE_CHECKING

from fleetkey.management.errors import InvalidRequestError
from fleetkey.management.pages import (
    Batch,
    EncodedPage,
    PositionList,
    check_limit,
    fill_page,
    parse_position,
    position_cursor,
)
from fleetkey.management.schemas import AuditAnswer
from fleetkey.registry import AuditEntry, AuditFilter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    from fleetkey.registry import AuditRecord
    from fleetkey.registry.store import AuditReader, AuditWriter

    class AuditStore(AuditReader, AuditWriter, Protocol):
        """The parts of the registry that the service uses."""


__all__ = ["AuditAction", "AuditOutcome", "AuditService"]

PAGE = 500
MAX_SCANNED = 5000
"""How many entries are examined for one page of a filtered list."""
EVERYTHING = AuditFilter()
ACTORS = ("device", "application", "server", "cli", "api")
"""The kinds of actors: an entry's actor up to its first colon."""


class AuditAction(StrEnum):
    """The actions of audit entries."""

    REGISTER = "register"
    KEY_CONNECTED = "key_connected"
    KEY_EXPIRED = "key_expired"
    KEY_REVOKED = "key_revoked"
    KEYS_ROTATED = "keys_rotated"
    APPLICATION_KEY_CREATED = "application_key_created"
    DEVICE_APPROVED = "device_approved"
    DEVICE_REJECTED = "device_rejected"
    DEVICE_DISABLED = "device_disabled"
    DEVICE_ENABLED = "device_enabled"
    DEVICE_DELETED = "device_deleted"
    DEVICE_TAGGED = "device_tagged"
    DEVICE_DESCRIBED = "device_described"
    SERIALS_ADDED = "serials_added"
    SERIAL_REMOVED = "serial_removed"
    BACKUP_MADE = "backup_made"
    BACKUP_RESTORED = "backup_restored"
    TOKEN_CREATED = "token_created"  # noqa: S105 - an action
    TOKEN_REVOKED = "token_revoked"  # noqa: S105 - an action
    API_REQUEST = "api_request"


class AuditOutcome(StrEnum):
    """The outcomes of audit entries."""

    OK = "ok"
    REFUSED = "refused"
    PENDING = "pending"


class AuditService:
    """Reads the audit log, whose entries never change. Every method blocks.

    Every method may raise `InvalidRequestError` and `StoreError`.
    """

    def __init__(self, store: AuditStore) -> None:
        self._store = store

    def newest(
        self, wanted: AuditFilter = EVERYTHING, *, cursor: str | None = None, limit: int = 100
    ) -> EncodedPage[AuditAnswer]:
        """Return a page of entries, newest first, continuing from the cursor of an earlier page."""
        start = self._store.audit_bounds()[1] + 1 if cursor is None else parse_position(PositionList.AUDIT, cursor)
        return self._page(_checked(wanted), start, limit, is_newest_first=True)

    def oldest(
        self, wanted: AuditFilter = EVERYTHING, *, cursor: str | None = None, limit: int = 100
    ) -> EncodedPage[AuditAnswer]:
        """Return a page of entries, oldest first, after a cursor. There is always a next cursor, for later entries."""
        return self._page(_checked(wanted), parse_position(PositionList.AUDIT, cursor), limit, is_newest_first=False)

    def _page(self, wanted: AuditFilter, start: int, limit: int, *, is_newest_first: bool) -> EncodedPage[AuditAnswer]:
        left = MAX_SCANNED

        def read(reached: int, count: int) -> Batch[AuditRecord, int]:
            nonlocal left
            if left <= 0:
                return Batch(items=(), reached=reached)
            found, following = self._store.scan_audit(
                wanted,
                after=None if is_newest_first else reached,
                before=reached if is_newest_first else None,
                limit=count,
                max_scanned=left,
            )
            # At most one entry has each position in between.
            left -= abs((reached if following is None else following) - reached)
            return Batch(items=found, reached=following)

        return fill_page(
            read,
            start=start,
            limit=check_limit(limit),
            show=AuditAnswer.of,
            position=lambda record: record.seq,
            cursor=lambda position: position_cursor(PositionList.AUDIT, position),
        )

    def iterate(
        self, wanted: AuditFilter, *, on_progress: Callable[[int, int], None] | None = None
    ) -> Iterator[AuditAnswer]:
        """Yield all entries that match, oldest first, in bounded memory.

        It ends at the entry that was the newest when it began. `on_progress` takes how many entries have been examined,
        and of how many.
        """
        wanted = _checked(wanted)
        oldest, newest = self._store.audit_bounds()
        position = max(oldest - 1, 0)
        while position < newest:
            found = self._store.find_audit(wanted, after=position, limit=PAGE)
            for record in found.records:
                if record.seq > newest:
                    return
                yield AuditAnswer.of(record)
            position = found.position
            if on_progress is not None:
                on_progress(min(position, newest) - oldest + 1, newest - oldest + 1)

    def record(self, entry: AuditEntry) -> None:
        """Append an entry for something that changed nothing, such as a refusal."""
        self._store.record(entry)


def _checked(wanted: AuditFilter) -> AuditFilter:
    """Check a filter, and return it with its address in the form that entries use."""
    if wanted.actor is not None and wanted.actor.partition(":")[0] not in ACTORS:
        reason = f"{wanted.actor[:64]!r} is not one of {', '.join(ACTORS)}, and does not begin with cli: or api:"
        raise InvalidRequestError("actor", reason)
    _check_word("action", wanted.action, AuditAction)
    _check_word("outcome", wanted.outcome, AuditOutcome)
    if wanted.since is not None and wanted.until is not None and wanted.since >= wanted.until:
        raise InvalidRequestError("until", "the end (until) must be later than the beginning (since)")
    if wanted.address is None:
        return wanted
    try:
        return replace(wanted, address=str(ipaddress.ip_address(wanted.address)))
    except ValueError:
        raise InvalidRequestError("address", f"{wanted.address[:64]!r} is not an IP address") from None


def _check_word(field: str, word: str | None, words: type[StrEnum]) -> None:
    # An unknown word would match nothing, which would look as if nothing had happened.
    if word is not None and word not in {*words}:
        raise InvalidRequestError(field, f"{word[:64]!r} is not one of {', '.join(words)}")
