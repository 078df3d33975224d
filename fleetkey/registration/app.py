"""The Litestar application: a thin face of the registrar, with the admin API beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from litestar import Litestar, Request, Response, post
from litestar.exceptions import HTTPException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from fleetkey import __version__
from fleetkey.registration.body import BodyError, RegisterBody, read_body
from fleetkey.registration.health import health_handlers
from fleetkey.registration.metrics import metrics_handler
from fleetkey.registration.openapi import (
    BEARER_DESCRIPTION,
    DESCRIPTION,
    REGISTER_RESPONSES,
    TAGS,
    TimeSchemas,
    operation_id,
    summarize,
)
from fleetkey.registration.openapi_bodies import described
from fleetkey.registration.outcomes import Issued, Limited, Malformed, NotAllowed, Pending, Unavailable
from fleetkey.registration.problems import problem, problem_from_exception

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from litestar import Router
    from litestar.handlers import HTTPRouteHandler

    from fleetkey.access import WorkerPool
    from fleetkey.config import MqttEndpoint, Settings
    from fleetkey.registration.outcomes import Outcome
    from fleetkey.registration.registrar import Registrar
    from fleetkey.registry.store import Availability

__all__ = ["build_app"]

Answer = Response[dict[str, Any]]
NO_STORE = {"Cache-Control": "no-store"}
OVERLOAD_RETRY_SECONDS = 2


def build_app(
    *,
    settings: Settings,
    registrar: Registrar,
    endpoint: MqttEndpoint,
    store: Availability,
    pool: WorkerPool,
    broker_listens: Callable[[], Awaitable[bool]] | None = None,
    render_metrics: Callable[[], Awaitable[bytes]] | None = None,
    api: Router | None = None,
) -> Litestar:
    """Return the application: registration, health, metrics, `GET /schema/openapi.json`, and the admin API."""
    refuse_status = settings.registration.refuse_status
    body_timeout_seconds = settings.http.body_timeout_seconds

    @post("/register", status_code=200, operation_class=described(RegisterBody), responses=REGISTER_RESPONSES)
    async def register(request: Request[Any, Any, Any]) -> Answer:
        """Register a device: its serial in, a device id, key and secret of its own out."""
        address = request.client.host if request.client else ""
        limited = await registrar.admit_address(address)
        if limited is not None:
            return _answer(limited, endpoint, request, refuse_status)
        try:
            body = await read_body(request, timeout_seconds=body_timeout_seconds)
        except BodyError as error:
            await registrar.note_refusal(error.reason, address=address)
            return problem(error.status, error.detail)
        outcome = await registrar.register(body.serial, body.proof, address)
        return _answer(outcome, endpoint, request, refuse_status)

    handlers: list[HTTPRouteHandler] = [register, *health_handlers(store, pool, broker_listens)]
    if render_metrics is not None and settings.http.metrics != "off":
        handlers.append(metrics_handler(render_metrics, settings.http.metrics))
    summarize([register], "registration")
    summarize(handlers[1:], "operations")
    return Litestar(
        route_handlers=[*handlers, *([api] if api is not None else [])],
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


def _answer(outcome: Outcome, endpoint: MqttEndpoint, request: Request[Any, Any, Any], refuse_status: int) -> Answer:
    match outcome:
        case Issued():
            return Response(_credentials(outcome, endpoint, request), headers=NO_STORE)
        case Pending(retry_after_seconds=seconds):
            pending = {"status": "pending", "detail": "The device waits for an operator's approval; ask again later."}
            return Response(pending, status_code=202, headers={**NO_STORE, "Retry-After": str(seconds)})
        case Malformed(detail=detail):
            return problem(400, f"At `serial`: {detail}.")
        case NotAllowed(is_conflict=True):
            return problem(409, "This serial has registered already and may not register again.")
        case NotAllowed():
            return problem(refuse_status, "This serial may not register.")
        case Limited(retry_after_seconds=wait):
            return problem(429, "Too many registrations; try again later.", retry_after_seconds=wait)
        case Unavailable():
            detail = "Registration can't take this now; try again."
            return problem(503, detail, retry_after_seconds=OVERLOAD_RETRY_SECONDS)


def _credentials(issued: Issued, endpoint: MqttEndpoint, request: Request[Any, Any, Any]) -> dict[str, Any]:
    server = request.scope.get("server")
    return {
        "deviceId": issued.device_id,
        "key": issued.key,
        "secret": issued.secret.reveal(),
        "mqtt": {
            "host": endpoint.host or (server[0] if server else "localhost"),
            "port": endpoint.port,
            "tls": endpoint.is_tls,
            "clientId": issued.device_id,
            "publish": list(issued.publish),
            "subscribe": list(issued.subscribe),
        },
    }
