"""The Litestar application, assembled from handlers built elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from litestar import Litestar
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from fleetkey import __version__
from fleetkey.http.health import health_handlers
from fleetkey.http.metrics import metrics_handler
from fleetkey.http.openapi import (
    BEARER_DESCRIPTION,
    DESCRIPTION,
    TAGS,
    TimeSchemas,
    operation_id,
    summarize,
)
from fleetkey.http.problems import problem_from_exception

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from litestar import Router
    from litestar.handlers import HTTPRouteHandler

    from fleetkey.access import WorkerPool
    from fleetkey.config import Settings
    from fleetkey.registry.store import Availability

__all__ = ["build_app"]


def build_app(
    *,
    settings: Settings,
    registration: HTTPRouteHandler,
    store: Availability,
    pool: WorkerPool,
    broker_lacks: Callable[[], Awaitable[Sequence[str]]] | None = None,
    render_metrics: Callable[[], Awaitable[bytes]] | None = None,
    api: Router | None = None,
) -> Litestar:
    """Return the application: registration, health, metrics, `GET /schema/openapi.json`, and the admin API."""
    operations = health_handlers(store, pool, broker_lacks)
    if render_metrics is not None and settings.http.metrics != "off":
        operations.append(metrics_handler(render_metrics, settings.http.metrics))
    summarize(operations, "operations")
    return Litestar(
        route_handlers=[registration, *operations, *([api] if api is not None else [])],
        exception_handlers={HTTPException: problem_from_exception, Exception: problem_from_exception},
        openapi_config=OpenAPIConfig(
            title="Fleetkey",
            version=__version__,
            description=DESCRIPTION,
            tags=TAGS,
            path="/schema",
            use_handler_docstrings=True,
            operation_id_creator=operation_id,
            components=Components(
                security_schemes={"token": SecurityScheme(type="http", scheme="bearer", description=BEARER_DESCRIPTION)}
            ),
            render_plugins=[JsonRenderPlugin(path="/openapi.json")],
        ),
        plugins=[TimeSchemas()],
        logging_config=None,
        request_max_body_size=None,
    )
