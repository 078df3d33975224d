"""The parts of the OpenAPI description that Litestar can't derive from the handlers' types."""

from __future__ import annotations

from typing import Annotated

from litestar.openapi.datastructures import ResponseSpec
from litestar.params import QueryParameter

from fleetkey.http.openapi import PROBLEM_MEDIA_TYPE, Problem
from fleetkey.management import MAX_PAGE, PositionList

__all__ = [
    "Attributes",
    "AuditCursor",
    "Cursor",
    "KeyCursor",
    "Limit",
    "RefusalCursor",
    "Tags",
    "TokenCursor",
    "answers",
]

LABEL = r"^[^=]+=[\s\S]+$"
REFUSALS = {
    400: "Malformed or invalid",
    401: "No token, or an invalid one",
    403: "The token's role does not allow this",
    404: "Not found",
    408: "The body arrived too slowly",
    409: "Conflicts with the current state",
    413: "The body is too large",
    415: "The body has an unsupported media type",
    429: "Too many invalid tokens from this address; see Retry-After",
    503: "Temporarily unavailable; see Retry-After",
}
ALWAYS = (400, 401, 403, 429, 503)
OF_BODIES = (408, 413, 415)
FROM_CURSOR = "The `next_cursor` of an earlier page. Without it, the list starts at the beginning."

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
RefusalCursor = Annotated[
    Annotated[str, QueryParameter(pattern=PositionList.REFUSALS.pattern)] | None,
    QueryParameter(description=FROM_CURSOR),
]
Limit = Annotated[
    int, QueryParameter(ge=1, le=MAX_PAGE, description="Maximum number of items in the page, which may have fewer.")
]
SerialPattern = Annotated[
    str | None,
    QueryParameter(description="A pattern for the whole serial, such as `SN-2026-[0-9]+`."),
]
Tags = Annotated[
    list[Annotated[str, QueryParameter(pattern=LABEL)]] | None,
    QueryParameter(description="`NAME=VALUE`: only devices with this tag. If repeated, all must match."),
]
Attributes = Annotated[
    list[Annotated[str, QueryParameter(pattern=LABEL)]] | None,
    QueryParameter(description="`NAME=VALUE`: only devices with this attribute. If repeated, all must match."),
]


def answers(
    status: int, shape: type | None, description: str, *more: int, has_body: bool = False
) -> dict[int, ResponseSpec]:
    """Return the responses of an operation.

    Args:
        status: the status of success.
        shape: the body of success; None = empty.
        description: describes success.
        more: refusals besides those that every operation has: 404, 409.
        has_body: whether the operation reads a request body.
    """
    refused = sorted({*ALWAYS, *more, *(OF_BODIES if has_body else ())})
    done = ResponseSpec(data_container=shape, description=description, generate_examples=False)
    return {status: done, **{code: _refusal(code) for code in refused}}


def _refusal(status: int) -> ResponseSpec:
    return ResponseSpec(
        data_container=Problem,
        description=REFUSALS[status],
        media_type=PROBLEM_MEDIA_TYPE,
        generate_examples=False,
    )
