"""The tokens of the admin API."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

__all__ = ["Role", "Token", "TokenVerifier"]


class Role(StrEnum):
    """What a token of the admin API may do; each role includes those before it."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A bearer token of the admin API as an operator sees it: everything but its hash."""

    token_id: str
    name: str
    role: Role
    created_at: int
    created_by: str
    expires_at: int | None
    revoked_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenVerifier:
    """Everything that decides whether a token is valid."""

    token: Token
    token_hash: bytes = field(repr=False)
