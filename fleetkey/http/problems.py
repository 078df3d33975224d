"""The format of all refusals: `application/problem+json` (RFC 9457)."""

from __future__ import annotations

import json
import math
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import structlog
from litestar import Response
from litestar.exceptions import HTTPException

if TYPE_CHECKING:
    from litestar import Request

__all__ = ["last_problem", "problem", "problem_from_exception"]

log = structlog.get_logger(__name__)

MEDIA_TYPE = "application/problem+json"
INTERNAL_SERVER_ERROR = 500


def problem(status: int, detail: str, *, retry_after_seconds: float | None = None) -> Response[dict[str, Any]]:
    """Return a refusal.

    Args:
        status: the HTTP status.
        detail: one sentence for the reader; never says whether a serial exists.
        retry_after_seconds: when to try again, rounded up to a whole second.
    """
    headers = {"Cache-Control": "no-store"}
    if retry_after_seconds is not None:
        headers["Retry-After"] = str(max(1, math.ceil(retry_after_seconds)))
    return Response(
        _members(status, detail),
        status_code=status,
        media_type=MEDIA_TYPE,
        headers=headers,
    )


def last_problem(status: int, detail: str) -> bytes:
    """Return a refusal as the bytes of a complete response, after which the connection is closed."""
    body = json.dumps(_members(status, detail)).encode()
    head = (
        f"HTTP/1.1 {int(status)} {HTTPStatus(status).phrase}\r\ncontent-type: {MEDIA_TYPE}\r\n"
        f"content-length: {len(body)}\r\ncache-control: no-store\r\nconnection: close\r\n\r\n"
    )
    return head.encode("ascii") + body


def _members(status: int, detail: str) -> dict[str, Any]:
    # It may quote client input that can't be encoded, such as a lone surrogate.
    spelled = detail.encode(errors="backslashreplace").decode()
    return {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": int(status), "detail": spelled}


def _detail(request: Request[Any, Any, Any], error: HTTPException) -> str:
    """Return the error's sentence, or our own for unknown paths and methods, where the framework provides none."""
    if error.detail == HTTPStatus(error.status_code).phrase:
        if error.status_code == HTTPStatus.NOT_FOUND:
            return "There is nothing at this path."
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
            names = {name.lower(): value for name, value in (error.headers or {}).items()}
            allowed = ", ".join(sorted(names.get("allow", "").split(", ")))
            return f"This path doesn't allow {request.method}" + (f"; it allows {allowed}." if allowed else ".")
    return error.detail


def problem_from_exception(request: Request[Any, Any, Any], error: Exception) -> Response[dict[str, Any]]:
    """Return the framework's refusals in the same format; unexpected errors reveal nothing."""
    if isinstance(error, HTTPException) and error.status_code != INTERNAL_SERVER_ERROR:
        answer = problem(error.status_code, _detail(request, error))
        for name, value in (error.headers or {}).items():
            answer.headers[name] = value
        return answer
    log.error("request_failed", path=request.url.path, exc_info=error)
    return problem(INTERNAL_SERVER_ERROR, "Something went wrong on the server; its log says what.")
