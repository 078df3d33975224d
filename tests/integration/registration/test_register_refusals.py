"""Everything that may not register: one shape, the right status, nothing created, and the reason in the audit."""

from __future__ import annotations

import json
import secrets
import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from tests.support.fleet import Fleet
from tests.support.http import NOBODY_TRUSTED
from tests.support.problems import assert_problem
from tests.support.server import NO_LIMITS, ServerProcess
from tests.support.streams import TcpStream, read_all

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

JSON = {"content-type": "application/json"}
NOT_A_SERIAL: dict[str, Any] = {
    "missing": {},
    "null": {"serial": None},
    "number": {"serial": 5},
    "true": {"serial": True},
    "list": {"serial": ["LISTED"]},
    "object": {"serial": {"serial": "LISTED"}},
    "wrong_case": {"Serial": "LISTED"},
    "unknown_field": {"serial": "LISTED", "admin": True},
    "unknown_field_first": {"deviceId": "0" * 24, "serial": "LISTED"},
    "proof_number": {"serial": "LISTED", "proof": 5},
    "proof_object": {"serial": "LISTED", "proof": {}},
    "not_an_object_list": ["LISTED"],
    "not_an_object_text": "LISTED",
    "not_an_object_number": 5,
    "not_an_object_null": None,
}
BAD_SERIAL = {
    "empty": "",
    "too_long": "S" * 129,
    "space": " ",
    "space_before": " LISTED",
    "space_after": "LISTED ",
    "newline_after": "LISTED\n",
    "tab_inside": "LIS\tTED",
    "nul": "LISTED\0",
    "no_break_space_after": "LISTED\u00a0",
    "zero_width": "LISTED\u200b",
    "right_to_left": "LISTED\u202e",
    "line_separator": "LISTED\u2028",
    "private_use": "LISTED\ue000",
}
NOT_JSON = {
    "nothing": b"",
    "broken": b'{"serial": ',
    "unquoted": b"{serial: LISTED}",
    "single_quotes": b"{'serial': 'LISTED'}",
    "form": b"serial=LISTED",
    "more_after_it": b'{"serial": "LISTED"} {}',
    "not_utf8": b'{"serial": "\xff\xfe"}',
    "utf16": '{"serial": "LISTED"}'.encode("utf-16"),
    "lone_surrogate": b'{"serial": "\\ud800"}',
    "nested_lists": b"[" * 8000,
    "nested_lists_closed": b"[" * 4000 + b"]" * 4000,
    "nested_serial": b'{"serial": ' + b"[" * 8000,
    "nested_objects": b'{"serial":' * 800,
    "huge_number": b'{"serial": ' + b"9" * 8000 + b"}",
    "nan": b'{"serial": NaN}',
}
OTHER_TYPES = {
    "none": None,
    "text": "text/plain",
    "form": "application/x-www-form-urlencoded",
    "multipart": "multipart/form-data; boundary=x",
    "json_like": "application/jsonp",
    "problem": "application/problem+json",
}


@pytest.fixture(scope="module")
def listed(fleet: Fleet) -> str:
    """List a serial that would be let in if it came by itself."""
    with fleet.store() as store:
        store.add_serials(["LISTED"], actor="test")
    return "LISTED"


@pytest.fixture(autouse=True)
def _nothing_created(fleet: Fleet, listed: str) -> Iterator[None]:
    """No test in here may end with a device or a key."""
    yield
    with fleet.store() as store:
        assert store.find_device(listed) is None
        assert store.count_devices() == 0
        assert store.count_keys() == 0


def _newest_reason(fleet: Fleet) -> str:
    with fleet.store() as store:
        newest = store.last_audit(1)[0]
    assert (newest.action, newest.outcome, newest.address) == ("register", "refused", "127.0.0.1")
    return newest.reason


@pytest.mark.parametrize("body", NOT_A_SERIAL.values(), ids=NOT_A_SERIAL)
def test_post_not_as_expected(fleet: Fleet, http: httpx.Client, body: object) -> None:
    """A body that isn't an object with a serial and at most a proof: 400."""
    assert_problem(http.post("/register", content=json.dumps(body), headers=JSON), 400)
    assert _newest_reason(fleet) == "malformed_body"


@pytest.mark.parametrize("serial", BAD_SERIAL.values(), ids=BAD_SERIAL)
def test_post_bad_serial(fleet: Fleet, http: httpx.Client, serial: str) -> None:
    """A text that can't be a serial: 400, and the answer doesn't repeat it."""
    detail = assert_problem(http.post("/register", json={"serial": serial}), 400)
    assert "serial" in detail
    assert "LISTED" not in detail
    assert _newest_reason(fleet) == "malformed_serial"


@pytest.mark.parametrize("content", NOT_JSON.values(), ids=NOT_JSON)
def test_post_not_json(fleet: Fleet, http: httpx.Client, content: bytes) -> None:
    """What is no JSON, or JSON beyond measure: 400."""
    assert_problem(http.post("/register", content=content, headers=JSON), 400)
    assert _newest_reason(fleet) in {"malformed_body", "malformed_serial"}


@pytest.mark.parametrize("serial", ["SN-unknown", "listed", "LISTED2", "LISTE", "%", "LISTED\u0301", "'"])
def test_post_unknown_serial(fleet: Fleet, http: httpx.Client, serial: str) -> None:
    """A serial that nobody listed: 400, with nothing about the list in the answer."""
    assert_problem(http.post("/register", json={"serial": serial}), 400)
    assert _newest_reason(fleet) == "allowlist:not_listed"


def _chunks() -> Iterator[bytes]:
    for _ in range(1024):
        yield b" " * 1024


@pytest.mark.parametrize("kind", ["just_over", "megabyte", "megabyte_in_chunks"])
def test_post_too_large(fleet: Fleet, http: httpx.Client, kind: str) -> None:
    """A body over 8 KiB, announced or not: 413."""
    body = b'{"serial": "LISTED"}'
    contents: dict[str, bytes | Iterator[bytes]] = {
        "just_over": body.ljust(8193),
        "megabyte": body.ljust(1_000_000),
        "megabyte_in_chunks": _chunks(),
    }
    content = contents[kind]
    assert_problem(http.post("/register", content=content, headers=JSON), 413)
    assert _newest_reason(fleet) == "body_too_large"


@pytest.mark.parametrize("content_type", OTHER_TYPES.values(), ids=OTHER_TYPES)
def test_post_other_content_type(fleet: Fleet, http: httpx.Client, content_type: str | None) -> None:
    """A body that doesn't say that it is JSON: 415."""
    headers = {"content-type": content_type} if content_type else {}
    assert_problem(http.post("/register", content=b'{"serial": "LISTED"}', headers=headers), 415)
    assert _newest_reason(fleet) == "wrong_content_type"


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/register", 405),
        ("PUT", "/register", 405),
        ("PATCH", "/register", 405),
        ("DELETE", "/register", 405),
        ("POST", "/health", 405),
        ("GET", "/", 404),
        ("POST", "/", 404),
        ("POST", "/registers", 404),
        ("POST", "/register/LISTED", 404),
        ("POST", "/register/../register/x", 404),
        ("GET", "/api/v2/devices", 404),
    ],
)
def test_request_elsewhere(http: httpx.Client, method: str, path: str, status: int) -> None:
    """Other methods and paths: 405 and 404, in the same shape."""
    assert_problem(http.request(method, path, json={"serial": "LISTED"}), status)


def test_post_serial_in_query(http: httpx.Client) -> None:
    """A serial in the address is none."""
    assert_problem(http.post("/register?serial=LISTED", json={}), 400)


def test_post_no_http(fleet: Fleet) -> None:
    """What is no HTTP gets an answer of the same shape, if any, and the server lives on."""
    for junk in (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"POST /register\r\n\r\n", secrets.token_bytes(2000)):
        with TcpStream(fleet.server.http_port, junk) as stream:
            stream.end()
            answer = stream.receive()
            assert not answer or b"application/problem+json" in answer
    assert httpx.get(f"{fleet.server.url}/health", verify=NOBODY_TRUSTED).status_code == 200


def test_post_slow_body(tmp_path: Path) -> None:
    """A body that doesn't arrive in time: 408, and the reason in the audit."""
    environment = {**NO_LIMITS, "FLEETKEY_HTTP__BODY_TIMEOUT_SECONDS": "0.3"}
    with ServerProcess(tmp_path, environment=environment) as server:
        with TcpStream(server.http_port) as stream:
            began = time.monotonic()
            stream.send(
                b"POST /register HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 40\r\n\r\n{"
            )
            answer = read_all(stream)
            assert time.monotonic() - began < 5
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408 ")
        assert b"application/problem+json" in head
        assert b"cache-control: no-store" in head.lower()
        assert json.loads(body)["status"] == 408
        assert _newest_reason(Fleet(server)) == "body_too_slow"
