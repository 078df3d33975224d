"""The bounds of a body from both sides, and what other methods and paths leave behind."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from tests.integration.registration.registration_rig import at_refusal, post
from tests.support.http import NOBODY_TRUSTED
from tests.support.problems import assert_problem

if TYPE_CHECKING:
    from tests.support.fleet import Fleet

MAX_BYTES = 8 * 1024


def _body(fleet: Fleet, size: int = 0) -> bytes:
    return (b'{"serial": "%s"}' % fleet.serial().encode()).ljust(size)


def _post(fleet: Fleet, body: bytes, *, chunked: bool) -> httpx.Response:
    parts = (body[start : start + 1000] for start in range(0, len(body), 1000))
    return post(fleet, parts if chunked else body)


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
def test_register_largest_body(fleet: Fleet, *, chunked: bool) -> None:
    """A body of exactly 8 KiB is taken, with and without a content length."""
    assert _post(fleet, _body(fleet, MAX_BYTES), chunked=chunked).status_code == 200


@pytest.mark.parametrize("chunked", [False, True], ids=["announced", "chunked"])
def test_register_one_byte_over(fleet: Fleet, *, chunked: bool) -> None:
    """One byte more is 413, and what was in it counts for nothing."""
    body = _body(fleet, MAX_BYTES + 1)
    with at_refusal(fleet, "body_too_large"):
        assert_problem(_post(fleet, body, chunked=chunked), 413)


@pytest.mark.parametrize("content_type", ["", ";", "json", "application", "application/json, text/plain"])
def test_register_odd_content_type(fleet: Fleet, content_type: str) -> None:
    """What isn't quite JSON's content type is 415."""
    body = _body(fleet)
    with at_refusal(fleet, "wrong_content_type"):
        assert_problem(post(fleet, body, **{"Content-Type": content_type}), 415)


@pytest.mark.parametrize("body", [rb'{"\ud800": 1, "\ud800": 2}', rb'{"\ud800": 1}', rb'{"serial": "\udfff"}'])
def test_register_half_a_surrogate_pair(fleet: Fleet, body: bytes) -> None:
    """What no encoding has is refused like anything malformed, wherever it is, and not an error of the server."""
    assert_problem(post(fleet, body), 400)


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
def test_wrong_method(fleet: Fleet, method: str) -> None:
    """405 names the method that is allowed (RFC 9110, 15.5.6), and registers nobody."""
    body = {"serial": fleet.serial()}
    with at_refusal(fleet):
        response = httpx.request(method, f"{fleet.server.url}/register", json=body, verify=NOBODY_TRUSTED)
        assert_problem(response, 405)
        assert response.headers["Cache-Control"] == "no-store"
    assert "POST" in {allowed.strip() for allowed in response.headers["Allow"].split(",")}


@pytest.mark.parametrize("path", ["/", "/registers", "/register/more", "/%2e%2e/register", "/api/v2/devices"])
def test_unknown_path(fleet: Fleet, path: str) -> None:
    """404 registers nobody."""
    body = {"serial": fleet.serial()}
    with at_refusal(fleet):
        assert_problem(httpx.post(f"{fleet.server.url}{path}", json=body, verify=NOBODY_TRUSTED), 404)
