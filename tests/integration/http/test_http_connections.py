"""How many HTTP connections there may be, from where, and who gets in all the same."""

from __future__ import annotations

import ssl
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from fleetkey.config import Settings
from fleetkey.http import connections as http_connections
from fleetkey.http import local, server
from fleetkey.http.connections import (
    MAX_REFUSED_CONNECTIONS,
    MAX_RESERVED_CONNECTIONS,
    QUIET_SECONDS,
    HttpConnections,
    Place,
)
from tests.integration.http.http_rig import Client, Rig, running
from tests.support.certificates import make_certificate

if TYPE_CHECKING:
    from pathlib import Path

LOCAL = b"Host: localhost\r\n"
OTHERS = b"Host: fleet.example.com\r\n"


async def _fill(rig: Rig, stack: AsyncExitStack, count: int, source: str = "127.0.0.1") -> list[Client]:
    """Open connections, each of which is answered once."""
    clients = []
    for _ in range(count):
        client = await stack.enter_async_context(rig.client(source=source))
        assert await _ask(client, "/register", OTHERS) == 200
        clients.append(client)
    return clients


async def _ask(client: Client, path: str, headers: bytes) -> int:
    client.send(b"GET %b HTTP/1.1\r\n%b\r\n" % (path.encode(), headers))
    return (await client.answer())[0]


async def test_per_address() -> None:
    """An address has its own bound, and reaching it keeps nobody else out; one that leaves makes room."""
    async with running(max_connections_per_address=3) as rig, AsyncExitStack() as stack:
        rig.app.gate.set()
        held = await _fill(rig, stack, 3)
        async with rig.client() as further:
            assert await _ask(further, "/register", OTHERS) == 503
            assert await further.is_closed()
        await _fill(rig, stack, 3, source="127.0.0.2")
        assert rig.server.bounds_reached == {"max_connections_per_address": 1}
        held[0].writer.transport.abort()
        async with rig.client(source="127.0.0.3") as other:
            # Once this one is answered, the server has seen the other one go.
            assert await _ask(other, "/register", OTHERS) == 200
        await _fill(rig, stack, 1)


async def test_per_address_of_proxies() -> None:
    """A trusted proxy is exempt from the bound of an address, but not from the bound on all."""
    async with (
        running(max_connections_per_address=1, max_connections=4, trusted_proxies=("127.0.0.1",)) as rig,
        AsyncExitStack() as stack,
    ):
        rig.app.gate.set()
        await _fill(rig, stack, 4)
        async with rig.client() as further:
            assert await _ask(further, "/register", OTHERS) == 503
        assert rig.server.bounds_reached == {"max_connections": 1}


@pytest.mark.parametrize("settings", [{"max_connections": 2}, {"max_connections_per_address": 2}], ids=str)
async def test_reserve(settings: dict[str, int]) -> None:
    """At a bound, health and metrics are still answered to who asks on the machine itself; one request a connection."""
    async with running(**settings) as rig, AsyncExitStack() as stack:
        rig.app.gate.set()
        await _fill(rig, stack, 2)
        for path in ("/health", "/health/live", "/health/ready?x=1", "/metrics"):
            async with rig.client() as watching:
                watching.send(b"GET %b HTTP/1.1\r\n%b\r\n" % (path.encode(), LOCAL) * 2)
                status, head, _ = await watching.answer()
                assert (status, b"connection: close" in head) == (200, True)
                assert await watching.is_closed()
        for path, headers in (
            ("/register", LOCAL),
            ("/healthy", LOCAL),
            ("/health", OTHERS),
            ("/health", LOCAL + OTHERS),
            ("/health", LOCAL + b"X-Forwarded-For: 192.0.2.1\r\n"),
            ("/health", b""),
        ):
            async with rig.client() as other:
                assert await _ask(other, path, headers) == 503
                assert await other.is_closed()


async def test_reserve_is_bounded() -> None:
    """The places for those who watch are few; what comes above is refused at once."""
    async with running(max_connections=1) as rig, AsyncExitStack() as stack:
        rig.app.gate.set()
        await _fill(rig, stack, 1)
        for _ in range(MAX_RESERVED_CONNECTIONS):
            await stack.enter_async_context(rig.client())
        async with rig.client() as further:
            assert (await further.answer())[0] == 503
            assert await further.is_closed()


async def test_handshake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A TLS handshake has its time; who has finished one is served."""
    monkeypatch.setattr(server, "HANDSHAKE_SECONDS", 0.3)
    made = make_certificate(tmp_path)
    context = ssl.create_default_context(cafile=str(made.certificate))
    async with running(tls_cert=made.certificate, tls_key=made.key) as rig:
        rig.app.gate.set()
        async with rig.client() as client:
            assert await client.is_closed()
        async with rig.client() as client:
            await client.writer.start_tls(context, server_hostname="localhost")
            assert await _ask(client, "/register", OTHERS) == 200


async def test_handshake_at_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Silent handshakes of one address give way to another's, and nobody's keep the machine's own health check out."""
    monkeypatch.setattr(server, "is_loopback", lambda address: address == "127.0.0.1")
    monkeypatch.setattr(local, "is_local", lambda address, _: address == "127.0.0.1")
    made = make_certificate(tmp_path)
    context = ssl.create_default_context(cafile=str(made.certificate))

    async def is_served(source: str) -> bool:
        async with rig.client(source=source) as client:
            try:
                await client.writer.start_tls(context, server_hostname="localhost")
            except ConnectionError:
                return False
            return await _ask(client, "/health", LOCAL) == 200

    async with (
        running(tls_cert=made.certificate, tls_key=made.key, max_connections=3, max_connections_per_address=0) as rig,
        AsyncExitStack() as stack,
    ):
        rig.app.gate.set()
        silent = [await stack.enter_async_context(rig.client(source="127.0.0.2")) for _ in range(3)]
        assert await is_served("127.0.0.3")
        assert await silent[0].is_closed()
        silent += [await stack.enter_async_context(rig.client(source=f"127.0.0.{number}")) for number in (3, 4)]
        assert await silent[1].is_closed()
        # One each: nobody's place is another's now.
        assert not await is_served("127.0.0.5")
        for _ in range(2 * server.MAX_RESERVED_HANDSHAKES):
            assert await is_served("127.0.0.1")
        assert not any(client.reader.at_eof() for client in silent[2:])


async def test_refused_without_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once enough connections are being refused, a further one is just closed."""
    monkeypatch.setattr(http_connections, "MAX_REFUSED_CONNECTIONS", 0)
    monkeypatch.setattr(http_connections, "MAX_RESERVED_CONNECTIONS", 0)
    async with running(max_connections=1) as rig, AsyncExitStack() as stack:
        rig.app.gate.set()
        (held,) = await _fill(rig, stack, 1)
        for _ in range(3):
            async with rig.client() as further:
                assert await further.is_closed()
        assert await _ask(held, "/register", OTHERS) == 200


def _connections(**settings: object) -> HttpConnections:
    return HttpConnections(Settings.model_construct().http.model_copy(update=settings))


@pytest.mark.parametrize(
    ("first", "second", "place"),
    [
        pytest.param("2001:db8::1", "2001:db8::2", Place.REFUSED, id="same_64"),
        pytest.param("2001:db8::1", "2001:db8:0:1::1", Place.ORDINARY, id="other_64"),
        pytest.param("192.0.2.1", "::ffff:192.0.2.1", Place.REFUSED, id="mapped"),
        pytest.param("192.0.2.1", "192.0.2.2", Place.ORDINARY, id="other"),
        pytest.param("192.0.2.9", "192.0.2.9", Place.ORDINARY, id="proxy"),
        pytest.param("192.0.2.9", "::ffff:192.0.2.9", Place.ORDINARY, id="mapped_proxy"),
        pytest.param("::1", "::1", Place.RESERVED, id="loopback"),
        pytest.param("::ffff:127.0.0.1", "127.0.0.1", Place.RESERVED, id="mapped_loopback"),
    ],
)
def test_address(first: str, second: str, place: Place) -> None:
    """IPv6 is counted by its /64, IPv4 in IPv6 as IPv4."""
    connections = _connections(max_connections_per_address=1, trusted_proxies=("192.0.2.9",))
    assert connections.arrived(first) is Place.ORDINARY
    assert connections.arrived(second) is place


def test_no_bound_of_an_address() -> None:
    """0 is no bound of its own."""
    connections = _connections(max_connections_per_address=0)
    assert {connections.arrived("192.0.2.1") for _ in range(1_000)} == {Place.ORDINARY}
    assert connections.arrived("192.0.2.1") is Place.REFUSED


def test_refusals_are_bounded() -> None:
    """So many are told that they are too many; then they are closed without a word, until some have gone."""
    connections = _connections(max_connections=1)
    connections.arrived("192.0.2.1")
    places = [connections.arrived(f"192.0.2.{number}") for number in range(MAX_REFUSED_CONNECTIONS + 2)]
    assert places == [Place.REFUSED] * MAX_REFUSED_CONNECTIONS + [Place.NONE] * 2
    connections.left("192.0.2.0", Place.REFUSED)
    assert connections.arrived("192.0.2.1") is Place.REFUSED


def test_logged_once() -> None:
    """Who reaches a bound first is logged, and again after a minute; each time is counted."""
    seconds = 0.0
    settings = Settings.model_construct().http.model_copy(update={"max_connections": 1})
    connections = HttpConnections(settings, now=lambda: seconds)
    connections.arrived("192.0.2.1")
    with capture_logs() as lines:
        for number in range(10):
            connections.arrived(f"192.0.2.{number}")
        seconds = QUIET_SECONDS
        connections.arrived("192.0.2.77")
    assert [(line["event"], line["bound"], line["address"]) for line in lines] == [
        ("bound_reached", "http.max_connections", "192.0.2.0"),
        ("bound_reached", "http.max_connections", "192.0.2.77"),
    ]
    assert connections.bounds == {"max_connections": 11}
