"""The bearer tokens of the admin API: creating, checking and revoking them.

A token is `fkt_ID_SECRET`: 12 hex digits that identify it and 64 that prove it. The SHA-256 of the secret part is
stored: 256 random bits can't be guessed, so a slow hash would only slow down valid requests (ADR 0013).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fleetkey.access import Secret
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
from fleetkey.management.schemas import TokenAnswer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    from fleetkey.registry import Role, Token
    from fleetkey.registry.store import StoreTime, Tokens

    class TokenStore(Tokens, StoreTime, Protocol):
        """The parts of the registry that the service uses."""


__all__ = ["CreatedToken", "TokenRefused", "TokenService"]

MAX_TOKEN_NAME_CHARACTERS = 64
ID_BYTES, SECRET_BYTES = 6, 32
FORM = re.compile(rf"fkt_([0-9a-f]{{{2 * ID_BYTES}}})_([0-9a-f]{{{2 * SECRET_BYTES}}})\Z")
NO_HASH = bytes(hashlib.sha256().digest_size)
PAGE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class CreatedToken:
    """A new token. Its text exists in plain text only here."""

    token: TokenAnswer
    text: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRefused:
    """An invalid token: `malformed`, `unknown`, `revoked` or `expired`, for the log and audit only.

    `token_id` is set only if the token's secret was correct.
    """

    reason: str
    token_id: str | None = None


class TokenService:
    """Lists, creates, checks and revokes tokens. Every method blocks; every change is audited in the same transaction.

    Every method may raise `NotFoundError`, `InvalidRequestError` and `StoreError`.
    """

    def __init__(self, store: TokenStore) -> None:
        self._store = store
        self._clock = store.now

    def create(self, name: str, role: Role, *, expires_at: int | None = None, actor: str) -> CreatedToken:
        """Create a token; its text is shown here and never again."""
        if not name.strip() or name != name.strip() or not name.isprintable() or len(name) > MAX_TOKEN_NAME_CHARACTERS:
            reason = f"a token's name must be 1 to {MAX_TOKEN_NAME_CHARACTERS} printable characters, no space at an end"
            raise InvalidRequestError("name", reason)
        token_id, secret = secrets.token_hex(ID_BYTES), secrets.token_hex(SECRET_BYTES)
        token = self._store.create_token(
            token_id=token_id, token_hash=_hash(secret), name=name, role=role, expires_at=expires_at, actor=actor
        )
        return CreatedToken(token=TokenAnswer.of(token), text=Secret(f"fkt_{token_id}_{secret}"))

    def page(
        self, *, include_ended: bool = False, cursor: str | None = None, limit: int = 100
    ) -> EncodedPage[TokenAnswer]:
        """Return a page of tokens, oldest first, continuing from the cursor of an earlier page."""
        check_limit(limit)

        def read(after: int, count: int) -> Batch[tuple[int, Token], int]:
            found = self._store.list_tokens(after=after, limit=count, include_ended=include_ended)
            return Batch(items=found, reached=found[-1][0] if len(found) == count else None)

        return fill_page(
            read,
            start=parse_position(PositionList.TOKENS, cursor),
            limit=limit,
            show=lambda found: TokenAnswer.of(found[1]),
            position=lambda found: found[0],
            cursor=lambda position: position_cursor(PositionList.TOKENS, position),
        )

    def iterate(self, *, include_ended: bool = False) -> Iterator[TokenAnswer]:
        """Yield all tokens, oldest first, in bounded memory."""
        cursor: str | None = None
        while True:
            page = self.page(include_ended=include_ended, cursor=cursor, limit=PAGE)
            yield from page.items
            cursor = page.next_cursor
            if cursor is None:
                return

    def revoke(self, token_id: str, *, actor: str) -> TokenAnswer:
        """Revoke a token for good; the next request with it is refused."""
        return TokenAnswer.of(self._store.revoke_token(token_id, actor=actor))

    def check(self, text: str) -> Token | TokenRefused:
        """Return the token for its text, or why it is invalid.

        Reads the registry each time, so a revocation applies to the next request. An unknown token takes the same
        steps as a known one with a wrong secret.
        """
        form = FORM.match(text)
        if form is None:
            return TokenRefused(reason="malformed")
        found = self._store.find_token(form[1])
        is_proven = hmac.compare_digest(_hash(form[2]), found.token_hash if found else NO_HASH)
        if found is None or not is_proven:
            return TokenRefused(reason="unknown")
        return self.refusal(found.token) or found.token

    def refusal(self, token: Token) -> TokenRefused | None:
        """Return why an existing token is invalid at this time, or None."""
        if token.revoked_at is not None:
            return TokenRefused(reason="revoked", token_id=token.token_id)
        if token.expires_at is not None and token.expires_at <= self._clock() * 1000:
            return TokenRefused(reason="expired", token_id=token.token_id)
        return None


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
