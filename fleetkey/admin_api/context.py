"""What the admin API's handlers share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from litestar import Request

from fleetkey.http.body import decode_json, read_json
from fleetkey.management import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from fleetkey.access import WorkerPool
    from fleetkey.admin_api.auth import Authorizer
    from fleetkey.admin_api.bodies import Bodies
    from fleetkey.config import MqttEndpoint

__all__ = ["MAX_BODY_BYTES", "ApiContext", "Asked", "labels_from"]

MAX_BODY_BYTES = 1024 * 1024
"""Maximum size of a request body, except for imports."""
DECODED_AT_ONCE_BYTES = 16 * 1024
"""Bytes of a body that are decoded on the event loop; a longer body is decoded in a thread."""

Asked = Request[Any, Any, Any]

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiContext:
    """The authorizer, and what handlers need to know about the server.

    Args:
        authorizer: the only way to the services.
        bodies: what requests are charged for their bodies.
        request_pool: threads for requests.
        import_pool: threads for imports, which may take minutes.
        endpoint: the broker's address.
        body_timeout_seconds: how long a request body may take to arrive.
        now: the clock by which keys and tokens expire.
    """

    authorizer: Authorizer
    bodies: Bodies
    request_pool: WorkerPool
    import_pool: WorkerPool
    endpoint: MqttEndpoint
    body_timeout_seconds: float
    now: Callable[[], datetime]

    async def body(self, request: Asked, shape: type[T]) -> T:
        """Return the decoded body of a request. Raises as `raw_body`."""
        return await self.parsed(await self.raw_body(request), lambda content: decode_json(content, shape))

    async def optional_body(self, request: Asked, shape: type[T]) -> T:
        """Return the decoded body of a request; no body counts as `{}`. Raises as `raw_body`."""
        # RFC 9112, 6.3: a request that announces no body has none, so no media type is required either.
        is_announced = "transfer-encoding" in request.headers or request.headers.get("content-length", "0") != "0"
        content = (await self.raw_body(request) if is_announced else b"") or b"{}"
        return await self.parsed(content, lambda content: decode_json(content, shape))

    async def parsed(self, content: bytes, parse: Callable[[bytes], T]) -> T:
        """Return what `parse` makes of a body, which happens in a thread if it is long. Raises what that raises."""
        if len(content) <= DECODED_AT_ONCE_BYTES:
            return parse(content)
        return await self.request_pool.run(parse, content)

    async def raw_body(self, request: Asked) -> bytes:
        """Return a JSON body without decoding it. Raises `BodyError`, and `OverloadedError` if there are too many."""
        token_id = self.authorizer.caller(request).token.token_id
        return await read_json(
            request,
            max_bytes=MAX_BODY_BYTES,
            timeout_seconds=self.body_timeout_seconds,
            charge=lambda count: self.bodies.charge(request.scope, token_id, count),
        )


def labels_from(texts: Iterable[str] | None, what: str) -> Mapping[str, str]:
    """Split each `NAME=VALUE` of a query. Raises `InvalidRequestError`, also for a name with two values."""
    found: dict[str, str] = {}
    for text in texts or ():
        name, separator, value = text.partition("=")
        if not separator or not name or not value:
            raise InvalidRequestError(what, "write NAME=VALUE")
        if found.setdefault(name, value) != value:
            raise InvalidRequestError(what, "a name is given two values, and all must match, so no device would")
    return found
