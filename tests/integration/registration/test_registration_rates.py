"""How often one address and one serial may try, if the settings say so, and which address counts."""

from __future__ import annotations

import base64
import hmac
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.integration.registration.registration_rig import at_refusal, serving
from tests.support.fleet import note_answer
from tests.support.http import NOBODY_TRUSTED
from tests.support.ledger import the_ledger
from tests.support.problems import assert_problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fleet import Fleet

PROXIES = "127.0.0.1,10.0.0.0/8"


def _post(fleet: Fleet, serial: str, *, source: str = "127.0.0.1", forwarded: str = "") -> httpx.Response:
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    with httpx.Client(transport=httpx.HTTPTransport(local_address=source, verify=NOBODY_TRUSTED), timeout=30) as client:
        response = client.post(f"{fleet.server.url}/register", json={"serial": serial}, headers=headers)
    note_answer(response)
    return response


def _assert_limited(response: httpx.Response, window_seconds: int) -> None:
    assert_problem(response, 429)
    assert window_seconds - 30 <= int(response.headers["Retry-After"]) <= window_seconds


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run a server that lets an address try five times and a serial three times."""
    limits = {"registration__max_per_address_per_minute": "5", "registration__max_per_serial_per_hour": "3"}
    with serving(tmp_path_factory.mktemp("strict"), **limits) as fleet:
        yield fleet


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run a server behind trusted proxies that lets an address try once."""
    settings = {"http__trusted_proxies": PROXIES, "registration__max_per_address_per_minute": "1"}
    with serving(tmp_path_factory.mktemp("behind"), **settings) as fleet:
        yield fleet


def test_sixth_from_address(strict: Fleet) -> None:
    """The sixth attempt is 429, whatever it forwards, and audited once; another address may."""
    serials = [strict.serial() for _ in range(7)]
    for serial in serials[:5]:
        assert _post(strict, serial).status_code == 200
    with at_refusal(strict, "too_many_from_address"):
        for forwarded in ("", "203.0.113.1", "203.0.113.2, 127.0.0.1"):
            _assert_limited(_post(strict, serials[5], forwarded=forwarded), 60)
    assert _post(strict, serials[5], source="127.0.0.2").status_code == 200


def test_attempts_that_are_malformed(strict: Fleet) -> None:
    """What is refused counts as well, before anything of it is read."""
    for _ in range(5):
        assert_problem(_post(strict, "", source="127.0.1.1"), 400)
    _assert_limited(_post(strict, "", source="127.0.1.1"), 60)


def test_fourth_for_serial(strict: Fleet) -> None:
    """The fourth attempt for a serial is 429 from any address, and audited once; its last key works."""
    serial = strict.serial()
    for number in range(3):
        assert _post(strict, serial, source=f"127.0.2.{number + 1}").status_code == 200
    with at_refusal(strict, "too_many_for_serial"):
        for number in range(3):
            _assert_limited(_post(strict, serial, source=f"127.0.2.{number + 4}"), 3600)
    assert _post(strict, strict.serial(), source="127.0.2.1").status_code == 200


def test_fourth_for_unknown_serial(strict: Fleet) -> None:
    """A serial that nobody listed gets to its limit as a listed one does, with the same bytes."""
    listed, unknown = strict.serial(), "SN-nobody-listed"
    for serial, network in ((listed, "127.0.3"), (unknown, "127.0.4")):
        for _ in range(3):
            _post(strict, serial, source=f"{network}.1")
    answers = [_post(strict, listed, source="127.0.3.1"), _post(strict, unknown, source="127.0.4.1")]
    for answer in answers:
        _assert_limited(answer, 3600)
    assert answers[0].content == answers[1].content


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("203.0.113.1", "203.0.113.1"),
        ("198.51.100.1, 203.0.113.2", "203.0.113.2"),
        ("203.0.113.3, 10.1.2.3", "203.0.113.3"),
        ("198.51.100.1, 203.0.113.4, 10.1.2.3, 127.0.0.1", "203.0.113.4"),
        ("2001:db8:1::7", "2001:db8:1::7"),
    ],
    ids=["one", "client_adds_one", "two_proxies", "client_adds_one_before_two", "ipv6"],
)
def test_forwarded_by_trusted_proxy(behind: Fleet, forwarded: str, address: str) -> None:
    """The last address that no trusted proxy has is the one that counts, and the one in the audit."""
    assert_problem(_post(behind, "SN-nobody-listed", forwarded=forwarded), 400)
    with behind.store() as store:
        assert store.last_audit(1)[0].address == address
    _assert_limited(_post(behind, "SN-nobody-listed", forwarded=forwarded), 60)


def test_forwarded_ipv6_network(behind: Fleet) -> None:
    """IPv6 addresses count by their /64."""
    assert_problem(_post(behind, "SN-nobody-listed", forwarded="2001:db8:2::1"), 400)
    _assert_limited(_post(behind, "SN-nobody-listed", forwarded="2001:db8:2::2"), 60)
    assert_problem(_post(behind, "SN-nobody-listed", forwarded="2001:db8:2:1::1"), 400)


def test_forwarded_by_someone_else(behind: Fleet) -> None:
    """What another peer forwards is ignored."""
    assert_problem(_post(behind, "SN-nobody-listed", source="127.0.0.5", forwarded="203.0.113.50"), 400)
    with behind.store() as store:
        assert store.last_audit(1)[0].address == "127.0.0.5"
    _assert_limited(_post(behind, "SN-nobody-listed", source="127.0.0.5", forwarded="203.0.113.51"), 60)


def test_forwarded_by_network_with_host_bits(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A network that the settings accept is trusted, also if it is written with one of its addresses."""
    with serving(tmp_path_factory.mktemp("bits"), http__trusted_proxies="127.0.0.1/8") as fleet:
        assert_problem(_post(fleet, "SN-nobody-listed", forwarded="203.0.113.60"), 400)
        with fleet.store() as store:
            assert store.last_audit(1)[0].address == "203.0.113.60"


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("203.0.113.60, nobody", "127.0.0.1"),
        ("=cmd|1, 10.1.2.60", "10.1.2.60"),
        ("203.0.113.61, x" * 3 + ", 10.1.2.62", "10.1.2.62"),
        ("203.0.113.62:1234", "203.0.113.62"),
        ("[2001:db8:9::1]:1234", "2001:db8:9::1"),
        ("::ffff:203.0.113.63", "203.0.113.63"),
        ("fe80::1%eth0=cmd|1", "fe80::1"),
    ],
)
def test_forwarded_that_is_no_address(behind: Fleet, forwarded: str, address: str) -> None:
    """Only what is an address is taken for one, and only so far; nothing else reaches limits or audit."""
    _post(behind, "SN-nobody-listed", forwarded=forwarded)
    with behind.store() as store:
        assert store.last_audit(1)[0].address == address


def test_others_attempts_leave_a_serial_alone(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whoever can't prove a serial uses up attempts of their own address only; what is proven counts for the serial."""
    with serving(
        tmp_path_factory.mktemp("proofs"),
        registration__verifiers="hmac",
        registration__hmac__secrets=f'{{"plant": "{"s" * 32}"}}',
        registration__max_per_serial_per_hour="2",
    ) as fleet:
        proof = base64.b64encode(hmac.digest(b"s" * 32, b"SN-1", "sha256")).decode()
        url = f"{fleet.server.url}/register"

        def post(source: str, proof: str) -> httpx.Response:
            with httpx.Client(transport=httpx.HTTPTransport(local_address=source, verify=NOBODY_TRUSTED)) as client:
                return client.post(url, json={"serial": "SN-1", "proof": proof})

        assert [post("127.0.5.1", "wrong").status_code for _ in range(3)] == [400, 400, 429]
        for source in ("127.0.5.2", "127.0.5.3"):
            answer = post(source, proof)
            assert answer.status_code == 200, answer.text
            the_ledger().note_secret(answer.json()["secret"])
        _assert_limited(post("127.0.5.4", proof), 3600)
