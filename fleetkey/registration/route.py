"""`POST /register`: a thin layer over the registrar."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from litestar import Request, Response, post

from fleetkey.http.body import BodyError, decode_json, read_json
from fleetkey.http.openapi import summarize
from fleetkey.http.openapi_bodies import described
from fleetkey.http.problems import problem
from fleetkey.registration.outcomes import Issued, Limited, Malformed, NotAllowed, Pending, Unavailable
from fleetkey.registration.schemas import REGISTER_RESPONSES, RegisterBody

if TYPE_CHECKING:
    from litestar.handlers import HTTPRouteHandler

    from fleetkey.config import MqttEndpoint, Settings
    from fleetkey.registration.outcomes import Outcome
    from fleetkey.registration.registrar import Registrar

__all__ = ["MAX_BODY_BYTES", "register_route"]

MAX_BODY_BYTES = 8 * 1024
NO_STORE = {"Cache-Control": "no-store"}
OVERLOAD_RETRY_SECONDS = 2

Answer = Response[dict[str, Any]]


def register_route(settings: Settings, registrar: Registrar, endpoint: MqttEndpoint) -> HTTPRouteHandler:
    """Return the handler; `endpoint` is the broker's address for devices."""
    refuse_status = settings.registration.refuse_status
    body_timeout_seconds = settings.http.body_timeout_seconds

    @post("/register", status_code=200, operation_class=described(RegisterBody), responses=REGISTER_RESPONSES)
    async def register(request: Request[Any, Any, Any]) -> Answer:
        """Register a device: it sends its serial and gets its own device id, key and secret."""
        address = request.client.host if request.client else ""
        limited = await registrar.admit_address(address)
        if limited is not None:
            return _answer(limited, endpoint, request, refuse_status)
        try:
            content = await read_json(request, max_bytes=MAX_BODY_BYTES, timeout_seconds=body_timeout_seconds)
            body = decode_json(content, RegisterBody)
        except BodyError as error:
            await registrar.note_refusal(error.reason, address=address)
            return problem(error.status, error.detail)
        outcome = await registrar.register(body.serial, body.proof, address)
        return _answer(outcome, endpoint, request, refuse_status)

    summarize([register], "registration")
    return register


def _answer(outcome: Outcome, endpoint: MqttEndpoint, request: Request[Any, Any, Any], refuse_status: int) -> Answer:
    match outcome:
        case Issued():
            return Response(_credentials(outcome, endpoint, request), headers=NO_STORE)
        case Pending(retry_after_seconds=seconds):
            pending = {
                "status": "pending",
                "detail": "The device is waiting for an operator's approval; try again later.",
            }
            return Response(pending, status_code=202, headers={**NO_STORE, "Retry-After": str(seconds)})
        case Malformed(detail=detail):
            return problem(400, f"At `serial`: {detail}.")
        case NotAllowed(is_conflict=True):
            return problem(409, "This serial has already registered and may not register again.")
        case NotAllowed():
            return problem(refuse_status, "This serial may not register.")
        case Limited(retry_after_seconds=wait):
            return problem(429, "Too many registrations; try again later.", retry_after_seconds=wait)
        case Unavailable():
            detail = "Registration is temporarily unavailable; try again."
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
