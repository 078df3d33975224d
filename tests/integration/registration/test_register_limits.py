"""How often one may try to register."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx
import pytest

from tests.support.fleet import Fleet, note_answer
from tests.support.http import NOBODY_TRUSTED
from tests.support.problems import assert_problem
from tests.support.server import ServerProcess

if TYPE_CHECKING:
    from pathlib import Path


def _post(fleet: Fleet, serial: str, *, forwarded: str | None = None, address: str = "127.0.0.1") -> httpx.Response:
    transport = httpx.HTTPTransport(local_address=address, verify=NOBODY_TRUSTED)
    headers = {"x-forwarded-for": forwarded} if forwarded else {}
    with httpx.Client(transport=transport, timeout=30) as client:
        response = client.post(f"{fleet.server.url}/register", json={"serial": serial}, headers=headers)
    note_answer(response)
    return response


def _assert_limited(response: httpx.Response, longest_seconds: int) -> None:
    assert_problem(response, 429)
    assert 1 <= int(response.headers["retry-after"]) <= longest_seconds


def test_register_default_limits(tmp_path: Path) -> None:
    """By default the 21st attempt for a serial in an hour and the 61st from an address in a minute are 429."""
    with ServerProcess(tmp_path) as server:
        fleet = Fleet(server)
        often, other = fleet.serial(), fleet.serial()
        for _ in range(20):
            assert _post(fleet, often).status_code == 200
        _assert_limited(_post(fleet, often), 3600)
        assert _post(fleet, other).status_code == 200
        _assert_limited(_post(fleet, often, address="127.0.0.2"), 3600)

        for number in range(60 - 22):
            assert _post(fleet, f"unknown {number}").status_code == 400
        for forwarded in (None, "203.0.113.7", "203.0.113.8, 127.0.0.1"):
            _assert_limited(_post(fleet, other, forwarded=forwarded), 60)
        assert _post(fleet, other, address="127.0.0.2").status_code == 200
        assert httpx.get(f"{server.url}/health", verify=NOBODY_TRUSTED).status_code == 200
        with fleet.store() as store:
            reasons = [entry.reason for entry in store.last_audit(1000)]
        assert "too_many_from_address" in reasons
        assert "too_many_for_serial" in reasons


def test_register_trusted_proxy(tmp_path: Path) -> None:
    """Behind a trusted proxy the forwarded address counts and is audited; from anyone else it is ignored."""
    settings = (
        '[http]\ntrusted_proxies = ["127.0.0.1"]\n'
        "[registration]\nmax_per_address_per_minute = 3\nmax_per_serial_per_hour = 0\n"
    )
    with ServerProcess(tmp_path, settings=settings) as server:
        fleet = Fleet(server)
        for _ in range(3):
            assert _post(fleet, "unknown", forwarded="203.0.113.7").status_code == 400
        _assert_limited(_post(fleet, "unknown", forwarded="203.0.113.7"), 60)
        assert _post(fleet, "unknown", forwarded="203.0.113.8").status_code == 400
        with fleet.store() as store:
            assert {"203.0.113.7", "203.0.113.8"} <= {entry.address for entry in store.last_audit(10)}

        for number in range(3):
            response = _post(fleet, "unknown", forwarded=f"203.0.113.{100 + number}", address="127.0.0.3")
            assert response.status_code == 400
        _assert_limited(_post(fleet, "unknown", forwarded="203.0.113.200", address="127.0.0.3"), 60)
        with fleet.store() as store:
            assert {entry.address for entry in store.last_audit(4)} == {"127.0.0.3"}


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
def test_register_without_limits(fleet: Fleet, http: httpx.Client, *, known: bool) -> None:
    """0 is no limit."""
    serial = fleet.serial() if known else "unknown"
    statuses = {http.post("/register", json={"serial": serial}).status_code for _ in range(100)}
    assert statuses == {200 if known else 400}
