"""The parts of the OpenAPI description that don't come from the handlers' types."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import msgspec
from litestar.handlers import HTTPRouteHandler
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import (
    OpenAPIHeader,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Parameter,
    Reference,
    Schema,
    Tag,
)
from litestar.openapi.spec.enums import OpenAPIFormat
from litestar.plugins import OpenAPISchemaPlugin

from fleetkey.management.schemas.times import TIME

__all__ = [
    "BEARER_DESCRIPTION",
    "DESCRIPTION",
    "HEALTH_RESPONSES",
    "LIVE_RESPONSES",
    "METRICS_RESPONSES",
    "READY_RESPONSES",
    "TAGS",
    "DescribedOperation",
    "TimeSchemas",
    "operation_id",
    "problem_response",
    "summarize",
]

if TYPE_CHECKING:
    from collections.abc import Iterable

    from litestar.types import ControllerRouterHandler, Method
    from litestar.typing import FieldDefinition

CLAUSE = re.compile(r"(.+?)(?:[;:.] |[;:.]?$)", re.MULTILINE)
"""The first clause of a docstring."""
PROBLEM_MEDIA_TYPE = "application/problem+json"
DESCRIPTION = """\
Devices register themselves at `POST /register` and need no token.

Everything below `/api/v1` requires a bearer token; `fleetkey tokens create` creates the first one, on the server. A
token has a role: a `viewer` reads everything but tokens, an `operator` also changes serials, devices and keys, and only
an `admin` manages tokens and creates application keys with a wide scope.

Lists are returned in pages. For the next page, send a page's `next_cursor` as `cursor`, with everything else unchanged;
null means the list is complete. A page may be short or empty and still have a next one. A cursor is only valid for its
own list.

Refusals are `application/problem+json` (RFC 9457); `detail` says what was wrong and where.
"""
BEARER_DESCRIPTION = (
    "`Authorization: Bearer fkt_…`: a token from `fleetkey tokens create` or `POST /api/v1/tokens`. "
    "It is shown once, has one of the roles viewer, operator and admin, and may expire."
)
TAGS = [
    Tag(name="registration", description="The operation for devices."),
    Tag(name="devices", description="The registered devices: state, tags, attributes, presence."),
    Tag(name="serials", description="The allow-list: which serials may register."),
    Tag(name="keys", description="The credentials of devices and applications."),
    Tag(name="audit", description="Who did what, and with what outcome."),
    Tag(name="refusals", description="Who was refused, why, and what to do about it."),
    Tag(name="tokens", description="The bearer tokens of this API."),
    Tag(name="webhooks", description="The webhooks in the settings, and how far behind each is."),
    Tag(name="operations", description="The server itself: version, health and metrics."),
]
WITH_RETRY_AFTER = frozenset({"202", "429", "503"})
RETRY_AFTER = OpenAPIHeader(
    description="Seconds after which to try again.",
    required=True,
    schema=Schema(type=OpenAPIType.INTEGER, minimum=1),
)
WWW_AUTHENTICATE = OpenAPIHeader(
    description="How to authenticate: `Bearer`.", required=True, schema=Schema(type=OpenAPIType.STRING)
)


class Problem(msgspec.Struct):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str


class HealthAnswer(msgspec.Struct):
    """Everything works."""

    status: str
    version: str


def problem_response(description: str) -> ResponseSpec:
    """Describe a refusal."""
    return ResponseSpec(
        data_container=Problem, description=description, media_type=PROBLEM_MEDIA_TYPE, generate_examples=False
    )


HEALTH_RESPONSES = {
    200: ResponseSpec(data_container=HealthAnswer, description="Healthy", generate_examples=False),
    503: problem_response("The registry can't be read"),
}
LIVE_RESPONSES = {200: ResponseSpec(data_container=HealthAnswer, description="Runs", generate_examples=False)}
READY_RESPONSES = {
    200: ResponseSpec(data_container=HealthAnswer, description="Ready to accept devices", generate_examples=False),
    503: problem_response("Not ready; the detail says why"),
}
METRICS_RESPONSES = {
    200: ResponseSpec(data_container=str, description="Metrics", media_type="text/plain", generate_examples=False),
    403: problem_response("The settings restrict metrics to this machine"),
}


class TimeSchemas(OpenAPISchemaPlugin):
    """Describes the timestamps in our schemas: strings with a marker that Litestar doesn't know."""

    def is_plugin_supported_field(self, field_definition: FieldDefinition) -> bool:
        """Return whether a field is such a timestamp."""
        return TIME in field_definition.metadata

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: Any) -> Schema:
        """Return its schema."""
        del field_definition, schema_creator
        return Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.DATE_TIME)


@dataclass
class DescribedOperation(Operation):
    """Adds what Litestar doesn't know: response headers, and that optional parameters are omitted rather than null."""

    def __post_init__(self) -> None:
        """Complete Litestar's description."""
        for status, response in (self.responses or {}).items():
            if isinstance(response, OpenAPIResponse):
                if status in WITH_RETRY_AFTER:
                    response.headers = {"Retry-After": RETRY_AFTER}
                elif status == "401" and self.security:
                    response.headers = {"WWW-Authenticate": WWW_AUTHENTICATE}
        for parameter in self.parameters or ():
            if isinstance(parameter, Parameter) and isinstance(parameter.schema, Schema):
                parameter.schema = _without_null(parameter.schema)


def _without_null(schema: Schema) -> Schema | Reference:
    """Return a parameter's schema without null, which a query can't express."""
    kinds = [kind for kind in schema.one_of or () if not (isinstance(kind, Schema) and kind.type == OpenAPIType.NULL)]
    if len(kinds) != 1:
        return schema
    kind = kinds[0]
    if isinstance(kind, Schema) and schema.enum:
        kind = replace(kind, enum=schema.enum)
    return kind


def summarize(handlers: Iterable[ControllerRouterHandler], tag: str) -> None:
    """Give each operation its tag, and a summary from the first clause of its docstring, which is its description."""
    for handler in handlers:
        if isinstance(handler, HTTPRouteHandler):
            found = CLAUSE.match(handler.fn.__doc__ or "")
            handler.summary = found[1] if found else None
            handler.tags = [tag]
            if handler.operation_class is Operation:
                handler.operation_class = DescribedOperation


def operation_id(handler: HTTPRouteHandler, _method: Method, _path: object) -> str:
    """Return the handler's name, which is a verb and an object: `list_devices`."""
    return handler.handler_name
