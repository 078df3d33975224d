"""Audit and tokens, remotely."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fleetkey.access import Secret
from fleetkey.cli.remote import values
from fleetkey.cli.remote.client import segment
from fleetkey.management import MAX_PAGE, CreatedToken, Page, PositionList, parse_position, position_cursor, when
from fleetkey.registration.api.answers import AuditPage, CreatedTokenAnswer, TokenAnswer, TokenPage
from fleetkey.registry import AuditFilter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fleetkey.cli.remote.client import RemoteClient
    from fleetkey.registry import AuditRecord, Role, Token

__all__ = ["RemoteAudit", "RemoteTokens"]

EVERYTHING = AuditFilter()


class RemoteAudit:
    """What `AuditService` does for commands. Errors of every method: `CommandError`."""

    def __init__(self, client: RemoteClient) -> None:
        self._client = client

    def newest(
        self, wanted: AuditFilter = EVERYTHING, *, cursor: str | None = None, limit: int = 100
    ) -> Page[AuditRecord]:
        """Return a page of entries, newest first."""
        return self._page("newest", wanted, cursor, limit)

    def oldest(
        self, wanted: AuditFilter = EVERYTHING, *, cursor: str | None = None, limit: int = 100
    ) -> Page[AuditRecord]:
        """Return a page of entries, oldest first."""
        return self._page("oldest", wanted, cursor, limit)

    def iterate(
        self, wanted: AuditFilter, *, on_progress: Callable[[int, int], None] | None = None
    ) -> Iterator[AuditRecord]:
        """Yield all entries that match, oldest first, a page at a time, up to the one that is the newest now."""
        oldest = next((record.seq for record in self.oldest(limit=1).items), 1)
        newest = next((record.seq for record in self.newest(limit=1).items), 0)
        position = oldest - 1
        while position < newest:
            page = self.oldest(wanted, cursor=position_cursor(PositionList.AUDIT, position), limit=MAX_PAGE)
            for record in page.items:
                if record.seq > newest:
                    return
                yield record
            reached = parse_position(PositionList.AUDIT, page.next_cursor)
            if reached <= position:
                return
            position = reached
            if on_progress is not None:
                on_progress(min(position, newest) - oldest + 1, newest - oldest + 1)

    def _page(self, order: str, wanted: AuditFilter, cursor: str | None, limit: int) -> Page[AuditRecord]:
        query = {
            **asdict(wanted),
            "since": when(wanted.since),
            "until": when(wanted.until),
            "order": order,
            "cursor": cursor,
            "limit": limit,
        }
        page = self._client.ask("GET", "audit", AuditPage, query=query)
        return Page(items=tuple(map(values.audit_record, page.items)), next_cursor=page.next_cursor)


class RemoteTokens:
    """What `TokenService` does for commands. Errors of every method: `CommandError`."""

    def __init__(self, client: RemoteClient) -> None:
        self._client = client

    def create(self, name: str, role: Role, *, expires_at: int | None = None, actor: str) -> CreatedToken:
        """Make a token."""
        del actor
        expires = None if expires_at is None else datetime.fromtimestamp(expires_at / 1000, UTC).isoformat()
        answer = self._client.ask(
            "POST", "tokens", CreatedTokenAnswer, body={"name": name, "role": role, "expires": expires}
        )
        return CreatedToken(token=values.token(answer), text=Secret(answer.token))

    def iterate(self, *, include_ended: bool = False) -> Iterator[Token]:
        """Yield all tokens, in order of making, a page at a time."""
        query: dict[str, Any] = {"include_ended": "true" if include_ended else None, "limit": MAX_PAGE}
        while True:
            page = self._client.ask("GET", "tokens", TokenPage, query=query)
            yield from map(values.token, page.items)
            if page.next_cursor is None:
                return
            query["cursor"] = page.next_cursor

    def revoke(self, token_id: str, *, actor: str) -> Token:
        """End a token for good."""
        del actor
        return values.token(self._client.ask("POST", f"tokens/{segment('token', token_id)}/revoke", TokenAnswer))
