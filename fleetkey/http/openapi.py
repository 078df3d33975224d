"""What the OpenAPI description says beyond what the handlers' types say."""

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
"""The beginning of a docstring, up to where more is said."""
PROBLEM_MEDIA_TYPE = "application/problem+json"
DESCRIPTION = """\
Devices register themselves at `POST /register` and need no token.

Everything below `/api/v1` takes a bearer token; `fleetkey tokens create` makes the first one, on the server. A token
has a role: a `viewer` reads everything but tokens, an `operator` changes serials, devices and keys as well, and tokens
and far-reaching application keys are for an `admin` alone.

A list is answered in pages. Send `next_cursor` of a page as `cursor`, with everything else unchanged, for the next one;
null: that was all. A page may be short, or empty, and have a next one. A cursor is good for its own list alone.

What is refused is answered as `application/problem+json` (RFC 9457), with what was wrong and where in `detail`.
"""
BEARER_DESCRIPTION = (
    "`Authorization: Bearer fkt_…`: a token from `fleetkey tokens create` or `POST /api/v1/tokens`. "
    "It is shown once, has one of the roles viewer, operator and admin, and may expire."
)
TAGS = [
    Tag(name="registration", description="What devices ask for."),
    Tag(name="devices", description="The devices that registered: state, tags, attributes, presence."),
    Tag(name="serials", description="The allow-list: which serials may register."),
    Tag(name="keys", description="Credentials of devices and applications."),
    Tag(name="audit", description="Who did what, and how it ended."),
    Tag(name="tokens", description="The bearer tokens of this API."),
    Tag(name="webhooks", description="The webhooks of the settings, and how far each is."),
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
    """All is well."""

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
    200: ResponseSpec(data_container=HealthAnswer, description="Devices can come", generate_examples=False),
    503: problem_response("Something is lacking that devices need; the detail names it"),
}
METRICS_RESPONSES = {
    200: ResponseSpec(data_container=str, description="Metrics", media_type="text/plain", generate_examples=False),
    403: problem_response("Metrics are for this machine, by the settings"),
}


class TimeSchemas(OpenAPISchemaPlugin):
    """Describes the times of our schemas, which are texts with a mark that Litestar doesn't look for."""

    def is_plugin_supported_field(self, field_definition: FieldDefinition) -> bool:
        """Whether it is one."""
        return TIME in field_definition.metadata

    def to_openapi_schema(self, field_definition: FieldDefinition, schema_creator: Any) -> Schema:
        """Describe it."""
        del field_definition, schema_creator
        return Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.DATE_TIME)


@dataclass
class DescribedOperation(Operation):
    """Describes what Litestar can't see: headers of answers, and that an optional parameter is left out, not null."""

    def __post_init__(self) -> None:
        """Add it to what Litestar found out."""
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
    """Return what a parameter is if it is there: a query has no null."""
    kinds = [kind for kind in schema.one_of or () if not (isinstance(kind, Schema) and kind.type == OpenAPIType.NULL)]
    if len(kinds) != 1:
        return schema
    kind = kinds[0]
    if isinstance(kind, Schema) and schema.enum:
        kind = replace(kind, enum=schema.enum)
    return kind


def summarize(handlers: Iterable[ControllerRouterHandler], tag: str) -> None:
    """Give each operation its tag and a summary: the beginning of its docstring; all of that is its description."""
    for handler in handlers:
        if isinstance(handler, HTTPRouteHandler):
            found = CLAUSE.match(handler.fn.__doc__ or "")
            handler.summary = found[1] if found else None
            handler.tags = [tag]
            if handler.operation_class is Operation:
                handler.operation_class = DescribedOperation


def operation_id(handler: HTTPRouteHandler, _method: Method, _path: object) -> str:
    """Return the handler's name, which is a verb and what it is about: `list_devices`."""
    return handler.handler_name
