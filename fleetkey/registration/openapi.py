"""What the OpenAPI description says beyond what the handlers' types say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import msgspec
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import (
    OpenAPIMediaType,
    OpenAPIType,
    Operation,
    RequestBody,
    Schema,
)

from fleetkey.registry.ids import MAX_SERIAL_CHARACTERS

__all__ = [
    "HEALTH_RESPONSES",
    "LIVE_RESPONSES",
    "METRICS_RESPONSES",
    "READY_RESPONSES",
    "REGISTER_RESPONSES",
    "RegisterOperation",
    "operation_id",
    "summarize",
]

if TYPE_CHECKING:
    from collections.abc import Iterable

    from litestar.types import ControllerRouterHandler, Method

CLAUSE = re.compile(r"(.+?)(?:[;:.] |[;:.]?$)", re.MULTILINE)
"""The beginning of a docstring, up to where more is said."""
PROBLEM_MEDIA_TYPE = "application/problem+json"


class MqttAccess(msgspec.Struct):
    """Where and how the device connects."""

    host: str
    port: int
    tls: bool
    clientId: str  # noqa: N815 - the wire's spelling
    publish: list[str]
    subscribe: list[str]


class RegisterAnswer(msgspec.Struct):
    """A credential; the secret is shown here and never again."""

    deviceId: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{24}$")]  # noqa: N815 - the wire's spelling
    key: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]
    secret: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    mqtt: MqttAccess


class PendingAnswer(msgspec.Struct):
    """The device waits for an operator's approval."""

    status: str
    detail: str


class Problem(msgspec.Struct):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str


class HealthAnswer(msgspec.Struct):
    """All is well."""

    status: str
    version: str


def _problem(description: str) -> ResponseSpec:
    return ResponseSpec(
        data_container=Problem, description=description, media_type=PROBLEM_MEDIA_TYPE, generate_examples=False
    )


REGISTER_RESPONSES = {
    200: ResponseSpec(data_container=RegisterAnswer, description="Registered", generate_examples=False),
    202: ResponseSpec(
        data_container=PendingAnswer, description="Waits for approval; see Retry-After", generate_examples=False
    ),
    400: _problem("Malformed, or the serial may not register"),
    401: _problem("The serial may not register, if the settings say 401"),
    408: _problem("The body came too slowly"),
    409: _problem("Registered already, and may not again"),
    413: _problem("The body is too large"),
    415: _problem("The body is not JSON"),
    429: _problem("Too many attempts; see Retry-After"),
    503: _problem("Can't be taken now; see Retry-After"),
}
HEALTH_RESPONSES = {
    200: ResponseSpec(data_container=HealthAnswer, description="Healthy", generate_examples=False),
    503: _problem("The registry can't be read"),
}
LIVE_RESPONSES = {200: ResponseSpec(data_container=HealthAnswer, description="Runs", generate_examples=False)}
READY_RESPONSES = {
    200: ResponseSpec(data_container=HealthAnswer, description="Devices can come", generate_examples=False),
    503: _problem("Something is lacking that devices need; the detail names it"),
}
METRICS_RESPONSES = {
    200: ResponseSpec(data_container=str, description="Metrics", media_type="text/plain", generate_examples=False),
    403: _problem("Metrics are for this machine, by the settings"),
}


BODY = RequestBody(
    required=True,
    content={
        "application/json": OpenAPIMediaType(
            schema=Schema(
                type=OpenAPIType.OBJECT,
                required=["serial"],
                additional_properties=False,
                properties={
                    "serial": Schema(
                        type=OpenAPIType.STRING,
                        min_length=1,
                        max_length=MAX_SERIAL_CHARACTERS,
                        description="Printable characters, no white space at the ends",
                    ),
                    "proof": Schema(
                        one_of=[Schema(type=OpenAPIType.STRING), Schema(type=OpenAPIType.NULL)],
                        description="What a verifier asks for beside the serial",
                    ),
                },
            )
        )
    },
)


@dataclass
class RegisterOperation(Operation):
    """Describes the body, which the handler reads by itself to keep it bounded."""

    def __post_init__(self) -> None:
        """Put the body in; Litestar knows of none."""
        self.request_body = BODY


def summarize(handlers: Iterable[ControllerRouterHandler]) -> None:
    """Give each operation a summary, which is the beginning of its docstring; all of that is its description."""
    for handler in handlers:
        if isinstance(handler, HTTPRouteHandler) and handler.fn.__doc__:
            found = CLAUSE.match(handler.fn.__doc__)
            handler.summary = found[1] if found else None


def operation_id(handler: HTTPRouteHandler, _method: Method, _path: object) -> str:
    """Return the handler's name, which is a verb and what it is about: `list_devices`."""
    return handler.handler_name
