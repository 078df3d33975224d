"""Request bodies in memory, charged in bytes: to each token, and to all requests together."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from fleetkey.access import OverloadedError

if TYPE_CHECKING:
    from litestar.types import ASGIApp, Receive, Scope, Send

__all__ = ["MAX_BODIES_BYTES", "MAX_BODIES_BYTES_PER_TOKEN", "Bodies"]

MAX_BODIES_BYTES = 16 * 1024 * 1024
"""Bytes of bodies that all requests hold together, from their arrival until they are answered; any more get 503."""
MAX_BODIES_BYTES_PER_TOKEN = 8 * 1024 * 1024
"""The same for the requests with one token."""
CHARGED = "fleetkey_charged_body"


class Bodies:
    """What all requests to the admin API are charged for their bodies. Decoded, a body takes several times its size."""

    def __init__(self) -> None:
        self.total = 0
        self._tokens: Counter[str] = Counter()

    def charge(self, scope: Any, token_id: str, count: int) -> None:
        """Charge a request for bytes that it is about to hold.

        Args:
            scope: the request's, whose end releases them.
            token_id: who sends them.
            count: bytes.

        Raises:
            OverloadedError: they would exceed a bound, of the token or of all.
        """
        of_token = self._tokens[token_id] + count
        if of_token > MAX_BODIES_BYTES_PER_TOKEN or self.total + count > MAX_BODIES_BYTES:
            msg = f"request bodies take {self.total} bytes, those with the token {token_id} {of_token - count}"
            raise OverloadedError(msg)
        self.total += count
        self._tokens[token_id] = of_token
        scope[CHARGED] = (token_id, scope.get(CHARGED, ("", 0))[1] + count)

    def releasing(self, app: ASGIApp) -> ASGIApp:
        """Return an application that releases what each request was charged when it ends: ASGI middleware."""

        async def run(scope: Scope, receive: Receive, send: Send) -> None:
            try:
                await app(scope, receive, send)
            finally:
                self._release(scope)

        return run

    def _release(self, scope: Any) -> None:
        token_id, count = scope.pop(CHARGED, ("", 0))
        if count:
            self.total -= count
            self._tokens[token_id] -= count
            if not self._tokens[token_id]:
                del self._tokens[token_id]
