"""What the registry answered lately, for as long as nobody commits anything to it."""

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
"""Path and query."""
MAX_REMEMBERED_TOKENS = 1000
"""Good tokens that are remembered; the oldest is forgotten first."""
MAX_REMEMBERED_BYTES = 8 * 1024 * 1024
"""Bytes of answers that are remembered; the oldest are forgotten first."""


class ApiCache:
    """Good tokens and answers to reads; every commit, of any process, ends all of it at once.

    The registry is asked each time whether there was a commit (SQLite's `data_version`, a microsecond, without
    waiting for anybody), so nothing that is used is older than the request. Lives on the event loop.

    Args:
        watch: tells of commits without waiting; closing it is its owner's.
    """

    def __init__(self, watch: ChangeWatch) -> None:
        self._watch = watch
        self._moment = 0
        self._mac_key = secrets.token_bytes(32)
        self._tokens: OrderedDict[bytes, Token] = OrderedDict()
        self._answers: OrderedDict[Target, bytes] = OrderedDict()
        self._bytes = 0

    def moment(self) -> int | None:
        """Look for commits; return the number of the registry's present state, None if that can't be told."""
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
        """Return the token that a text was proven to be; whether it has expired since is the caller's to ask."""
        return self._tokens.get(self._mac(text))

    def answer(self, target: Target) -> bytes | None:
        """Return the answer that a request for this path and query got."""
        return self._answers.get(target)

    def keep_token(self, text: str, token: Token, *, since: int | None) -> None:
        """Remember a token that was found good after the moment `since`, unless something was committed meanwhile."""
        if since is None or self.moment() != since:
            return
        while len(self._tokens) >= MAX_REMEMBERED_TOKENS:
            self._tokens.popitem(last=False)
        self._tokens[self._mac(text)] = token

    def keep_answer(self, target: Target, body: bytes, *, since: int | None) -> None:
        """Remember an answer that was read after the moment `since`, unless something was committed meanwhile."""
        size = _size(target, body)
        if since is None or size > MAX_REMEMBERED_BYTES or target in self._answers or self.moment() != since:
            return
        while self._bytes + size > MAX_REMEMBERED_BYTES:
            self._bytes -= _size(*self._answers.popitem(last=False))
        self._answers[target] = body
        self._bytes += size

    def _mac(self, text: str) -> bytes:
        # Keyed: what is remembered is of no use outside this process, and looking it up tells nothing in its time.
        return hmac.digest(self._mac_key, text.encode(), "sha256")


def _size(target: Target, body: bytes) -> int:
    return len(target[0]) + len(target[1]) + len(body)
