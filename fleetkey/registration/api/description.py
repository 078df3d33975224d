"""The OpenAPI description's parts that Litestar can't see in the handlers' types."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import cleandoc
from typing import Annotated, Any

import msgspec
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import OpenAPIMediaType, Operation, RequestBody
from litestar.params import QueryParameter

from fleetkey.management import MAX_PAGE, PositionList
from fleetkey.registration.openapi import PROBLEM_MEDIA_TYPE, DescribedOperation, Problem

__all__ = [
    "Attributes",
    "AuditCursor",
    "Cursor",
    "KeyCursor",
    "Limit",
    "Tags",
    "TokenCursor",
    "answers",
    "described",
    "described_text",
]

LABEL = r"^[^=]+=[\s\S]+$"
REFUSALS = {
    400: "Malformed, or can't be",
    401: "No token, or none that is good",
    403: "The token's role may not",
    404: "There is no such thing",
    408: "The body came too slowly",
    409: "Doesn't fit the state that it is in",
    413: "The body is too large",
    415: "The body is of another media type",
    429: "Too many bad tokens from this address; see Retry-After",
    503: "Can't be done now; see Retry-After",
}
ALWAYS = (400, 401, 403, 429, 503)
OF_BODIES = (408, 413, 415)
FROM_CURSOR = "`next_cursor` of an earlier page; without it, from the beginning."

Cursor = Annotated[str | None, QueryParameter(description=FROM_CURSOR)]
KeyCursor = Annotated[
    Annotated[str, QueryParameter(pattern=PositionList.KEYS.pattern)] | None, QueryParameter(description=FROM_CURSOR)
]
TokenCursor = Annotated[
    Annotated[str, QueryParameter(pattern=PositionList.TOKENS.pattern)] | None, QueryParameter(description=FROM_CURSOR)
]
AuditCursor = Annotated[
    Annotated[str, QueryParameter(pattern=PositionList.AUDIT.pattern)] | None, QueryParameter(description=FROM_CURSOR)
]
Limit = Annotated[int, QueryParameter(ge=1, le=MAX_PAGE, description="The most items of the page.")]
Tags = Annotated[
    list[Annotated[str, QueryParameter(pattern=LABEL)]] | None,
    QueryParameter(description="`NAME=VALUE`: only with this tag. Repeated, all must match."),
]
Attributes = Annotated[
    list[Annotated[str, QueryParameter(pattern=LABEL)]] | None,
    QueryParameter(description="`NAME=VALUE`: only with this attribute. Repeated, all must match."),
]


def answers(
    status: int, shape: type | None, description: str, *more: int, has_body: bool = False
) -> dict[int, ResponseSpec]:
    """Return what an operation answers.

    Args:
        status: when it is done.
        shape: of the answer then; None = empty.
        description: of the answer then.
        more: refusals beyond those that every operation has: 404, 409.
        has_body: whether it reads a body.
    """
    refused = sorted({*ALWAYS, *more, *(OF_BODIES if has_body else ())})
    done = ResponseSpec(data_container=shape, description=description, generate_examples=False)
    return {status: done, **{code: _refusal(code) for code in refused}}


def described(shape: type, *, is_required: bool = True) -> type[Operation]:
    """Return a description with a JSON body, which handlers read by themselves to keep it bounded."""
    return _with_body({"application/json": _inlined(shape)}, is_required=is_required)


def described_text(*media_types: str) -> type[Operation]:
    """Return a description with a body of text."""
    return _with_body({media_type: {"type": "string"} for media_type in media_types})


def _with_body(content: dict[str, dict[str, Any]], *, is_required: bool = True) -> type[Operation]:
    # A schema is a plain mapping here: msgspec writes OpenAPI 3.1's own dialect (JSON Schema 2020-12).
    body = RequestBody(
        required=is_required,
        content={
            media_type: OpenAPIMediaType(schema=schema)  # type: ignore[arg-type]
            for media_type, schema in content.items()
        },
    )

    @dataclass
    class OperationWithBody(DescribedOperation):
        def __post_init__(self) -> None:
            super().__post_init__()
            self.request_body = body

    return OperationWithBody


def _inlined(shape: type) -> dict[str, Any]:
    """Return the shape's schema with everything that it refers to in its place; shapes are not recursive."""
    (schema,), parts = msgspec.json.schema_components([shape], ref_template="{name}")

    def inline(value: Any) -> Any:
        if isinstance(value, dict):
            if "$ref" in value:
                beside = {name: inner for name, inner in value.items() if name != "$ref"}
                return inline(parts[value["$ref"]]) | beside
            inlined = {name: inline(inner) for name, inner in value.items() if name != "title"}
            # All of the enumerations here are of texts.
            if "enum" in inlined:
                inlined.setdefault("type", "string")
            if isinstance(inlined.get("description"), str):
                inlined["description"] = cleandoc(inlined["description"])
            return inlined
        return [inline(inner) for inner in value] if isinstance(value, list) else value

    inlined: dict[str, Any] = inline(schema)
    return inlined


def _refusal(status: int) -> ResponseSpec:
    return ResponseSpec(
        data_container=Problem,
        description=REFUSALS[status],
        media_type=PROBLEM_MEDIA_TYPE,
        generate_examples=False,
    )
