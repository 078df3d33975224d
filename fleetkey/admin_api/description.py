"""The OpenAPI description's context that Litestar can't see in the handlers' types."""

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
    "Tags",
    "TokenCursor",
    "answers",
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


def _refusal(status: int) -> ResponseSpec:
    return ResponseSpec(
        data_container=Problem,
        description=REFUSALS[status],
        media_type=PROBLEM_MEDIA_TYPE,
        generate_examples=False,
    )
