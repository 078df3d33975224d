"""The bearer tokens of a remote server."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from fleetkey.access import Secret
from fleetkey.cli.remote.client import segment
from fleetkey.management import MAX_PAGE, CreatedToken
from fleetkey.management.schemas import CreatedTokenAnswer, TokenAnswer, TokenBody, TokenPage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fleetkey.cli.remote.client import RemoteClient
    from fleetkey.registry import Role

__all__ = ["RemoteTokens"]


class RemoteTokens:
    """What `TokenService` does for commands. Every method raises `CommandError`."""

    def __init__(self, client: RemoteClient) -> None:
        self._client = client

    def create(self, name: str, role: Role, *, expires_at: int | None = None, actor: str) -> CreatedToken:
        """Create a token."""
        expires = None if expires_at is None else datetime.fromtimestamp(expires_at / 1000, UTC).isoformat()
        answer = self._client.ask(
            "POST", "tokens", CreatedTokenAnswer, body=TokenBody(name=name, role=role, expires=expires)
        )
        return CreatedToken(token=answer.without_text(), text=Secret(answer.token))

    def iterate(self, *, include_ended: bool = False) -> Iterator[TokenAnswer]:
        """Yield all tokens, oldest first, a page at a time."""
        query: dict[str, Any] = {"include_ended": "true" if include_ended else None, "limit": MAX_PAGE}
        while True:
            page = self._client.ask("GET", "tokens", TokenPage, query=query)
            yield from page.items
            if page.next_cursor is None:
                return
            query["cursor"] = page.next_cursor

    def revoke(self, token_id: str, *, actor: str) -> TokenAnswer:
        """Revoke a token for good."""
        return self._client.ask("POST", f"tokens/{segment('token', token_id)}/revoke", TokenAnswer)
