"""The protocol for the tokens of the admin API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from fleetkey.registry.model import Role, Token, TokenVerifier

__all__ = ["Tokens"]


class Tokens(Protocol):
    """The bearer tokens."""

    def create_token(
        self, *, token_id: str, token_hash: bytes, name: str, role: Role, expires_at: int | None, actor: str
    ) -> Token:
        """Store a token; `token_hash` is the hash of its secret part."""
        ...

    def find_token(self, token_id: str) -> TokenVerifier | None:
        """Return everything that decides whether a token is valid; None for an unknown one."""
        ...

    def list_tokens(self, *, after: int = 0, limit: int = 100, include_ended: bool = False) -> list[tuple[int, Token]]:
        """Return up to `limit` (position, token) pairs after position `after`, oldest first.

        Revoked and expired tokens are included only with `include_ended`.
        """
        ...

    def revoke_token(self, token_id: str, *, actor: str) -> Token:
        """Revoke a token for good, effective at once. Revoking it again changes nothing. Raises `NotFoundError`."""
        ...
