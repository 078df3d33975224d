"""Clients that take every connection they may leave the server the descriptors that it works with."""

from __future__ import annotations

import resource
import ssl
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.support.certificates import Certificate, make_certificate
from tests.support.fleet import Credentials, Fleet, note_answer
from tests.support.http import NOBODY_TRUSTED
from tests.support.measure import log_lines
from tests.support.server import NO_LIMITS, ServerProcess
from tests.support.streams import TcpStream
from tests.support.versions import only_3_1_1, only_5
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES = 400
"""Less than the settings need, and than what the attacker opens."""
ATTEMPTS = 800
"""On all ports together; with more, the tests' own clients would have descriptors that `select` can't take."""
ATTACKER = "127.0.0.3"
MANY = [f"127.0.3.{number}" for number in range(1, 31)]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Make the server's certificate."""
    return make_certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture(params=["plain", "tls"], scope="module")
def fleet(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, certificate: Certificate
) -> Iterator[Fleet]:
    """Run a server that may have few open files, with TLS everywhere or nowhere."""
    pair = f"tls_cert = '{certificate.certificate}'\ntls_key = '{certificate.key}'\n"
    settings = "[mqtt]\nws_bind = '127.0.0.1:0'\n"
    if request.param == "tls":
        settings = f"[http]\n{pair}{settings}tls_bind = '127.0.0.1:0'\n{pair}"
    folder = tmp_path_factory.mktemp("server")
    with ServerProcess(folder, environment=NO_LIMITS, settings=settings, open_files=FILES) as server:
        yield Fleet(server)


def _ports(fleet: Fleet) -> list[int]:
    """Return the ports on which a client is anybody until it has said who it is."""
    ports = [fleet.server.mqtt_port, fleet.server.ws_port]
    if fleet.server.ready.mqtt_tls:
        # Without a handshake there is no request that HTTP could answer.
        ports += [fleet.server.tls_port, fleet.server.http_port]
    return ports


@contextmanager
def _taken(fleet: Fleet, sources: list[str]) -> Iterator[None]:
    """Open silent connections to every port, from addresses in turn; more than the server may have."""
    with ExitStack() as stack:
        ports = _ports(fleet)
        for number in range(ATTEMPTS):
            stack.enter_context(TcpStream(ports[number % len(ports)], source=sources[number % len(sources)]))
        yield


def _get(fleet: Fleet, certificate: Certificate, path: str) -> httpx.Response:
    return httpx.get(f"{fleet.server.url}{path}", verify=_trust(fleet, certificate), timeout=5)


def _is_live(fleet: Fleet, certificate: Certificate) -> bool:
    try:
        return _get(fleet, certificate, "/health/live").is_success
    except httpx.TransportError:
        # Those who have left may not all be gone yet.
        return False


def _trust(fleet: Fleet, certificate: Certificate) -> ssl.SSLContext:
    if fleet.server.url.startswith("http:"):
        return NOBODY_TRUSTED
    return ssl.create_default_context(cafile=certificate.certificate)


def _descriptors(fleet: Fleet) -> int:
    return len(list(Path(f"/proc/{fleet.server.process.pid}/fd").iterdir()))


def _gets_in(fleet: Fleet, device: Credentials) -> bool:
    with fleet.client(device) as client:
        return client.return_code == 0


@only_3_1_1
def test_one_address_takes_all_it_may(fleet: Fleet, certificate: Certificate) -> None:
    """A device registers and logs in, and the server is well, while one address holds what it may."""
    trust = _trust(fleet, certificate)
    with _taken(fleet, [ATTACKER]):
        assert _get(fleet, certificate, "/health/ready").status_code == 200
        response = fleet.post({"serial": fleet.serial()}, verify=trust)
        assert response.status_code == 200
        answer = response.json()
        device = Credentials(client_id=answer["deviceId"], key=answer["key"], secret=answer["secret"])
        options = {"port": fleet.server.tls_port, "ca_file": certificate.certificate} if answer["mqtt"]["tls"] else {}
        with fleet.connect(device, **options) as client:
            assert client.publish(device.topic("state"), b"heard")
        assert _descriptors(fleet) < FILES
    assert len(log_lines(fleet, "bound_reached")) < 10


@only_5
def test_many_addresses_take_all_they_may(fleet: Fleet, certificate: Certificate) -> None:
    """Together they leave the store its descriptors: the server reads it, and says once what they reached."""
    with _taken(fleet, MANY):
        assert _descriptors(fleet) <= FILES - 64
        assert not log_lines(fleet, "bound_reached", bound="open_files_exhausted")
        # The command line's way to the store isn't the server's; a registration is.
        if fleet.server.url.startswith("http:"):
            response = fleet.post({"serial": fleet.serial()})
            note_answer(response)
            assert response.status_code == 200
            assert _get(fleet, certificate, "/health/ready").status_code == 200
    assert eventually(lambda: _is_live(fleet, certificate), 15)


@only_3_1_1
def test_lowered_bounds_are_said(fleet: Fleet) -> None:
    """At start, with both numbers and what to do."""
    (line,) = log_lines(fleet, "open_file_limit_low")
    assert line["level"] == "warning"
    assert line["limit"] == FILES
    assert line["needed"] > 20_000
    assert line["mqtt_max_connections"] + line["http_max_connections"] < FILES
    assert f"LimitNOFILE={line['needed']}" in line["advice"]


@only_5
def test_exhausted(tmp_path: Path) -> None:
    """When nothing is left the log says so once, and once that it is over; it is counted, and the server goes on."""
    with ServerProcess(tmp_path, environment=NO_LIMITS) as server:
        fleet, pid = Fleet(server), server.process.pid
        device = fleet.device()
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        # Below what is open already.
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (8, before[1]))
        try:
            assert eventually(lambda: bool(log_lines(fleet, "bound_reached", bound="open_files_exhausted")), 10)
            for _ in range(20):
                TcpStream(server.mqtt_port).close()
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        assert eventually(lambda: _gets_in(fleet, device), 10)
        assert eventually(lambda: bool(log_lines(fleet, "bound_over", bound="open_files_exhausted")), 30)
        assert len(log_lines(fleet, "bound_reached", bound="open_files_exhausted")) == 1
        counted = httpx.get(f"{server.url}/metrics").text
        assert 'fleetkey_descriptor_bounds_reached_total{bound="open_files_exhausted"}' in counted


@only_3_1_1
def test_exhausted_over_tls(tmp_path: Path, certificate: Certificate) -> None:
    """A client that comes meanwhile waits, and is served when there are descriptors again."""
    pair = f"tls_cert = '{certificate.certificate}'\ntls_key = '{certificate.key}'\n"
    settings = f"[mqtt]\ntls_bind = '127.0.0.1:0'\n{pair}"
    with ServerProcess(tmp_path, environment=NO_LIMITS, settings=settings) as server:
        pid = server.process.pid
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (8, before[1]))
        try:
            with TcpStream(server.tls_port) as stream:
                assert eventually(lambda: bool(log_lines(Fleet(server), "bound_reached")), 10)
                resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
                context = ssl.create_default_context(cafile=certificate.certificate)
                context.wrap_socket(stream.raw, server_hostname="localhost").close()
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


@only_3_1_1
def test_too_few_for_any_server(tmp_path: Path) -> None:
    """It doesn't start: half of what it needs would be found out later, by whoever comes last."""
    server = ServerProcess(tmp_path, open_files=100)
    with pytest.raises(AssertionError, match=r"the limit on open files is 100; .* raise it with `ulimit -n \d+`"):
        server.start()
