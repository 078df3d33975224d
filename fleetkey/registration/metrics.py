"""`GET /metrics`, in the text format of Prometheus."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING, Any, Literal

from litestar import MediaType, Request, Response, get

from fleetkey.registration.problems import problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from litestar.handlers import HTTPRouteHandler

__all__ = ["MetricsAccess", "metrics_handler"]

MetricsAccess = Literal["off", "loopback", "open"]
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def metrics_handler(render: Callable[[], bytes], access: MetricsAccess) -> HTTPRouteHandler:
    """Return the handler; with `loopback`, only a client on this machine that came through no proxy is answered."""

    @get("/metrics", media_type=MediaType.TEXT, include_in_schema=False, sync_to_thread=False)
    def metrics(request: Request[Any, Any, Any]) -> Response[Any]:
        if access != "open" and not _is_local(request):
            return problem(403, "Metrics are for this machine; see the setting http.metrics.")
        return Response(render(), headers={"Content-Type": CONTENT_TYPE, "Cache-Control": "no-store"})

    return metrics


def _is_local(request: Request[Any, Any, Any]) -> bool:
    if "x-forwarded-for" in request.headers or "forwarded" in request.headers or request.client is None:
        return False
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False
