"""What the handlers of the admin API share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from litestar import Request
from litestar.response.base import ASGIResponse

from fleetkey.management import InvalidRequestError
from fleetkey.registration.body import decode_json, read_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime

    from litestar.types import Receive, Scope, Send

    from fleetkey.access import WorkerPool
    from fleetkey.config import MqttEndpoint
    from fleetkey.registration.api.gate import Gate

__all__ = ["MAX_BODY_BYTES", "Answer", "ApiParts", "Asked", "as_json", "labels_from"]

MAX_BODY_BYTES = 1024 * 1024
"""Of every body but an import."""

Asked = Request[Any, Any, Any]

T = TypeVar("T")


class Answer(ASGIResponse):
    """JSON that is sent as it is; what Litestar does for a `Response` is half of what a small answer costs.

    None may be kept by anything between server and client.
    """

    def __init__(self, content: bytes, status: int) -> None:
        self.body = content
        self.status_code = status

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        del scope, receive
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(self.body)).encode()),
            (b"cache-control", b"no-store"),
        ]
        await send({"type": "http.response.start", "status": self.status_code, "headers": headers})
        await send({"type": "http.response.body", "body": self.body, "more_body": False})


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiParts:
    """The gate, and what handlers know of the server.

    Args:
        gate: the only way to the services.
        import_pool: threads for imports, which may take minutes.
        endpoint: where the broker is.
        body_timeout_seconds: how long a body may take.
        now: the time by which keys and tokens end.
    """

    gate: Gate
    import_pool: WorkerPool
    endpoint: MqttEndpoint
    body_timeout_seconds: float
    now: Callable[[], datetime]

    async def body(self, request: Asked, shape: type[T]) -> T:
        """Return what a request posts. Raises `BodyError`."""
        return decode_json(await self.raw_body(request), shape)

    async def optional_body(self, request: Asked, shape: type[T]) -> T:
        """Return what a request posts; one without a body posts `{}`. Raises `BodyError`."""
        # RFC 9112, 6.3: a request that announces no body has none, and so no media type to be asked for.
        is_announced = "transfer-encoding" in request.headers or request.headers.get("content-length", "0") != "0"
        return decode_json((await self.raw_body(request) if is_announced else b"") or b"{}", shape)

    async def raw_body(self, request: Asked) -> bytes:
        """Return a JSON body as it is. Raises `BodyError`."""
        return await read_json(request, max_bytes=MAX_BODY_BYTES, timeout_seconds=self.body_timeout_seconds)


def as_json(shown: Any, *, status: int = 200) -> Answer:
    """Return what a schema shows as an answer."""
    return Answer(msgspec.json.encode(shown), status)


def labels_from(texts: Iterable[str] | None, what: str) -> Mapping[str, str]:
    """Split each `NAME=VALUE` of a query. Raises `InvalidRequestError`, also for a name that is there twice."""
    found: dict[str, str] = {}
    for text in texts or ():
        name, separator, value = text.partition("=")
        if not separator or not name or not value:
            raise InvalidRequestError(what, "write NAME=VALUE")
        if found.setdefault(name, value) != value:
            raise InvalidRequestError(what, "one name has two values here, and all must match: no device would")
    return found
