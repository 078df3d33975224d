"""The schemas of bearer tokens and of requests to create them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Self

import msgspec

from fleetkey.management.schemas.times import Time, shown_time, when
from fleetkey.management.schemas.values import Expires, TokenId
from fleetkey.registry import Role

if TYPE_CHECKING:
    from fleetkey.access import Secret
    from fleetkey.registry import Token

__all__ = ["CreatedTokenAnswer", "TokenAnswer", "TokenBody", "TokenPage"]

TokenRole = Annotated[
    Role,
    msgspec.Meta(
        description="What it allows. `viewer`: read; `operator`: change devices, serials and keys; `admin`: everything."
    ),
]


class TokenAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A bearer token; its text is not stored and can't be shown."""

    token_id: TokenId
    name: str
    role: Role
    created_at: Time
    created_by: str
    expires_at: Time | None
    revoked_at: Time | None

    @classmethod
    def of(cls, token: Token) -> Self:
        """Return a token of the registry in this schema."""
        return cls(
            token_id=token.token_id,
            name=token.name,
            role=token.role,
            created_at=shown_time(token.created_at),
            created_by=token.created_by,
            expires_at=when(token.expires_at),
            revoked_at=when(token.revoked_at),
        )


class CreatedTokenAnswer(TokenAnswer, frozen=True, kw_only=True):
    """A new token; its text is shown here and never again."""

    token: Annotated[str, msgspec.Meta(pattern="^fkt_[0-9a-f]{12}_[0-9a-f]{64}$")]

    def __repr__(self) -> str:
        """Show the token, but not its text."""
        return f"CreatedTokenAnswer(token_id={self.token_id!r})"

    @classmethod
    def with_text(cls, token: TokenAnswer, text: Secret) -> Self:
        """Return a new token with its text."""
        return cls(**msgspec.structs.asdict(token), token=text.reveal())

    def without_text(self) -> TokenAnswer:
        """Return the token without its text, as it is shown from now on."""
        return TokenAnswer(**{name: getattr(self, name) for name in TokenAnswer.__struct_fields__})


class TokenPage(msgspec.Struct):
    """Tokens, oldest first. A page may be short and still have a `next_cursor`; null means the list is complete."""

    items: list[TokenAnswer]
    next_cursor: str | None


class TokenBody(msgspec.Struct, forbid_unknown_fields=True):
    """A token to create; `expires` is a duration such as 30d, or a date."""

    name: str
    role: TokenRole
    expires: Expires = None
