"""A cache of tokens and responses that is valid until the next commit to the registry."""

from __future__ import annotations

import hmac
import secrets
from collections import OrderedDict
from typing import TYPE_CHECKING

from fleetkey.registry import StoreError

if TYPE_CHECKING:
    from fleetkey.registry import ChangeWatch, Token

__all__ = ["ApiCache", "Target"]

Target = tuple[str, bytes]
"""The path and the query string."""
MAX_REMEMBERED_TOKENS = 1000
"""How many valid tokens are cached; the oldest is dropped first."""
MAX_REMEMBERED_BYTES = 8 * 1024 * 1024
"""How many bytes of responses are cached; the oldest are dropped first."""


class ApiCache:
    """Caches valid tokens and responses to reads; a commit by any process invalidates everything.

    Each lookup first checks whether there was a commit (SQLite's `data_version`, a microsecond, without waiting for
    locks), so no cached value is older than the request. Used only on the event loop.

    Args:
        watch: reports commits without waiting; its owner closes it.
    """

    def __init__(self, watch: ChangeWatch) -> None:
        self._watch = watch
        self._moment = 0
        self._mac_key = secrets.token_bytes(32)
        self._tokens: OrderedDict[bytes, Token] = OrderedDict()
        self._answers: OrderedDict[Target, bytes] = OrderedDict()
        self._bytes = 0

    def moment(self) -> int | None:
        """Check for commits and return the number of the registry's current state; None if it can't be determined."""
        try:
            if not self._watch.has_news():
                return self._moment
            unknown = False
        except StoreError:
            unknown = True
        self._moment += 1
        self._tokens.clear()
        self._answers.clear()
        self._bytes = 0
        return None if unknown else self._moment

    def token(self, text: str) -> Token | None:
        """Return the token for its text, if cached. The caller checks whether it has expired since."""
        return self._tokens.get(self._mac(text))

    def answer(self, target: Target) -> bytes | None:
        """Return the cached response for a path and query."""
        return self._answers.get(target)

    def keep_token(self, text: str, token: Token, *, since: int | None) -> None:
        """Cache a token that was found valid in the state `since`, unless there was a commit in the meantime."""
        if since is None or self.moment() != since:
            return
        while len(self._tokens) >= MAX_REMEMBERED_TOKENS:
            self._tokens.popitem(last=False)
        self._tokens[self._mac(text)] = token

    def keep_answer(self, target: Target, body: bytes, *, since: int | None) -> None:
        """Cache a response that was read in the state `since`, unless there was a commit in the meantime."""
        size = _size(target, body)
        if since is None or size > MAX_REMEMBERED_BYTES or target in self._answers or self.moment() != since:
            return
        while self._bytes + size > MAX_REMEMBERED_BYTES:
            self._bytes -= _size(*self._answers.popitem(last=False))
        self._answers[target] = body
        self._bytes += size

    def _mac(self, text: str) -> bytes:
        # Keyed, so that cached values are useless outside this process and lookup times reveal nothing.
        return hmac.digest(self._mac_key, text.encode(), "sha256")


def _size(target: Target, body: bytes) -> int:
    return len(target[0]) + len(target[1]) + len(body)
