"""Request bodies in the OpenAPI description, which Litestar can't see because handlers read them themselves."""

from __future__ import annotations

from dataclasses import dataclass
from inspect import cleandoc
from typing import TYPE_CHECKING, Any

import msgspec
from litestar.openapi.spec import OpenAPIMediaType, RequestBody

from fleetkey.http.openapi import DescribedOperation

if TYPE_CHECKING:
    from litestar.openapi.spec import Operation

__all__ = ["described", "described_text"]


def described(shape: type, *, is_required: bool = True) -> type[Operation]:
    """Return an operation with a JSON body of this shape; the handler reads it itself (ADR 0017)."""
    return _with_body({"application/json": _inlined(shape)}, is_required=is_required)


def described_text(*media_types: str) -> type[Operation]:
    """Return an operation with a text body."""
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
    """Return a shape's schema with all references inlined; shapes are not recursive."""
    (schema,), parts = msgspec.json.schema_components([shape], ref_template="{name}")

    def inline(value: Any) -> Any:
        if isinstance(value, dict):
            if "$ref" in value:
                beside = {name: inner for name, inner in value.items() if name != "$ref"}
                return inline(parts[value["$ref"]]) | beside
            inlined = {name: inline(inner) for name, inner in value.items() if name != "title"}
            # All enumerations here are strings.
            if "enum" in inlined:
                inlined.setdefault("type", "string")
            if isinstance(inlined.get("description"), str):
                inlined["description"] = cleandoc(inlined["description"])
            return inlined
        return [inline(inner) for inner in value] if isinstance(value, list) else value

    inlined: dict[str, Any] = inline(schema)
    return inlined
