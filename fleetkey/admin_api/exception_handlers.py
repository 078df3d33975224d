"""Problem details (RFC 9457) for refused requests."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import structlog
from litestar.exceptions import ValidationException

from fleetkey.access import OverloadedError, SharedSecretError
from fleetkey.config import SettingsError
from fleetkey.http.body import BodyError
from fleetkey.http.problems import problem
from fleetkey.management import ConflictError, InvalidRequestError, SerialFileError
from fleetkey.registry import InvalidSerialError, NotFoundError, StoreError, TooManyLabelsError

if TYPE_CHECKING:
    from litestar import Request, Response
    from litestar.types import ExceptionHandlersMap

__all__ = ["EXCEPTION_HANDLERS"]

log = structlog.get_logger(__name__)

RETRY_SECONDS = 2
MAX_DETAIL_CHARACTERS = 2000
WORD = re.compile(r"[a-z]+[ ',;]")


def _invalid(_: Request[Any, Any, Any], error: InvalidRequestError) -> Response[dict[str, Any]]:
    said = str(error)
    # A message that already begins with the field's name gets no prefix.
    return problem(400, f"{_cut(error)}." if said.startswith(error.field) else f"At `{error.field}`: {_cut(error)}.")


def _malformed(_: Request[Any, Any, Any], error: Exception) -> Response[dict[str, Any]]:
    return problem(400, f"{_cut(error)}.")


def _body(_: Request[Any, Any, Any], error: BodyError) -> Response[dict[str, Any]]:
    return problem(error.status, error.detail[:MAX_DETAIL_CHARACTERS])


def _parameter(request: Request[Any, Any, Any], error: ValidationException) -> Response[dict[str, Any]]:
    # Litestar lists the errors, each with the name of the handler's parameter.
    wrong = error.extra if isinstance(error.extra, list) else []
    said = ". ".join(_wrong_parameter(request, item.get("key", ""), item.get("message", "")) for item in wrong)
    missing = error.detail.partition(" for path ")[0]
    return problem(400, f"{said or missing}"[: MAX_DETAIL_CHARACTERS - 1].rstrip(".") + ".")


def _wrong_parameter(request: Request[Any, Any, Any], key: str, message: str) -> str:
    field = request.route_handler.parsed_fn_signature.parameters.get(key)
    if field is None:
        return f"At `{key}`: {message}"
    name = getattr(field.kwarg_definition, "name", None) or key
    if name == "cursor":
        return f"At `{name}`: This is not a cursor of an earlier page of this list"
    for inner in (field, *field.inner_types):
        if inner.is_subclass_of(StrEnum):
            return f"At `{name}`: {message}; must be one of {', '.join(inner.annotation)}"
    return f"At `{name}`: {message.replace(' | null`', '`')}"


def _missing(_: Request[Any, Any, Any], error: NotFoundError) -> Response[dict[str, Any]]:
    return problem(404, f"{_cut(error)}.")


def _conflict(_: Request[Any, Any, Any], error: Exception) -> Response[dict[str, Any]]:
    return problem(409, f"{_cut(error)}.")


def _unavailable(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, Any]]:
    # The message names local files, so it is only for the log.
    log.error("api_request_failed", path=request.url.path, error=str(error))
    return problem(503, "Temporarily unavailable; try again.", retry_after_seconds=RETRY_SECONDS)


def _cut(error: Exception) -> str:
    text = str(error)
    # Capitalize a sentence, but not a name that it starts with.
    first = text[:1].upper() if WORD.match(text) else text[:1]
    return (first + text[1:MAX_DETAIL_CHARACTERS]).rstrip(".")


EXCEPTION_HANDLERS: ExceptionHandlersMap = {
    InvalidRequestError: _invalid,
    InvalidSerialError: _malformed,
    SerialFileError: _malformed,
    BodyError: _body,
    ValidationException: _parameter,
    NotFoundError: _missing,
    ConflictError: _conflict,
    TooManyLabelsError: _conflict,
    StoreError: _unavailable,
    OverloadedError: _unavailable,
    SettingsError: _unavailable,
    SharedSecretError: _unavailable,
}
