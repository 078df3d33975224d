"""`GET /metrics`, in the text format of Prometheus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from litestar import MediaType, Request, Response, get

from fleetkey.http.local import is_local
from fleetkey.http.openapi import METRICS_RESPONSES
from fleetkey.http.problems import problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from litestar.handlers import HTTPRouteHandler

__all__ = ["MetricsAccess", "metrics_handler"]

MetricsAccess = Literal["off", "loopback", "open"]
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def metrics_handler(render: Callable[[], Awaitable[bytes]], access: MetricsAccess) -> HTTPRouteHandler:
    """Return the handler; with `loopback`, it answers only clients on this machine, and not through a proxy."""

    @get("/metrics", media_type=MediaType.TEXT, responses=METRICS_RESPONSES)
    async def metrics(request: Request[Any, Any, Any]) -> Response[Any]:
        """Return the metrics, for Prometheus."""
        if access != "open" and not _is_local(request):
            return problem(403, "Metrics are for this machine; see the setting http.metrics.")
        return Response(await render(), headers={"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"})

    return metrics


def _is_local(request: Request[Any, Any, Any]) -> bool:
    return request.client is not None and is_local(request.client.host, request.headers.multi_items())
