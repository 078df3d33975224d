"""The one shape of every refusal over HTTP."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import httpx

__all__ = ["assert_problem"]


def assert_problem(response: httpx.Response, status: int) -> str:
    """Assert that an answer is a problem (RFC 9457) with this status, and return its detail."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert set(body) == {"type", "title", "status", "detail"}
    assert body["type"] == "about:blank"
    assert body["title"] == HTTPStatus(status).phrase
    assert body["status"] == status
    assert isinstance(body["detail"], str)
    assert body["detail"]
    if response.request.method == "POST":
        assert response.headers["cache-control"] == "no-store"
    detail: str = body["detail"]
    return detail
