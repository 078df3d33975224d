"""What one HTTP connection may take of time, bytes and room."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest

from tests.integration.registration.registration_rig import (
    at_refusal,
    head,
    is_closed,
    read_answer,
    serving,
)
from tests.support.measure import log_lines
from tests.support.problems import assert_problem
from tests.support.streams import TcpStream
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fleet import Fleet

HEADER_SECONDS = 10.0
READ_SECONDS = 10.0
MAX_HEADER_BYTES = 16 * 1024
BODY_SECONDS = 0.5
PATIENCE_SECONDS = 7.0


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run a server that waits half a second for a body."""
    with serving(tmp_path_factory.mktemp("hasty"), http__body_timeout_seconds=str(BODY_SECONDS)) as fleet:
        yield fleet


def _held_open(connections: dict[str, TcpStream], seconds: float, data: bytes = b" ") -> set[str]:
    """Send something on each now and then, for as long as this, and return which of them the server left open."""
    left = dict(connections)
    deadline = time.monotonic() + seconds
    while left and time.monotonic() < deadline:
        for name, connection in list(left.items()):
            try:
                connection.send(data)
            except ConnectionError:
                del left[name]
                continue
            if is_closed(connection, 0.1):
                del left[name]
    return set(left)


def test_slow_headers(fleet: Fleet) -> None:
    """A connection that sends nothing, or one byte now and then, gets 408 after ten seconds and is closed."""
    with at_refusal(fleet), TcpStream(fleet.server.http_port) as silent, TcpStream(fleet.server.http_port) as slow:
        began = time.monotonic()
        slow.send(head())
        while time.monotonic() - began < HEADER_SECONDS - 1:
            slow.send(b"X")
            time.sleep(0.5)
        for connection in (silent, slow):
            assert_problem(read_answer(connection), 408)
            assert HEADER_SECONDS - 0.5 < time.monotonic() - began < HEADER_SECONDS + 3
            assert is_closed(connection, 1)


def test_silent_after_a_request(fleet: Fleet) -> None:
    """Empty lines where a request may begin keep a connection no longer than silence does."""
    request = head("/health", method="GET") + b"\r\n"
    with TcpStream(fleet.server.http_port) as once, TcpStream(fleet.server.http_port) as again:
        for connection in (once, again):
            connection.send(request)
            assert read_answer(connection, "/health").status_code == 200
            connection.send(b"\r\n")
        assert _held_open({"again": again}, HEADER_SECONDS + 3, b"\r\n") == set()
        assert_problem(read_answer(once), 408)
        assert is_closed(once, 1)


def test_reads_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Whoever asks and doesn't read is cut off, and others get its place."""
    request = head("/schema/openapi.json", method="GET") + b"\r\n"
    with (
        serving(tmp_path_factory.mktemp("unread"), http__max_connections="1") as fleet,
        TcpStream(fleet.server.http_port) as unread,
    ):
        unread.send(request * 100)
        assert not _is_served(fleet)
        assert eventually(lambda: _is_served(fleet), 2 * READ_SECONDS + 5)
        assert len(log_lines(fleet, "bound_reached", bound="http.min_read_bytes")) == 1


def test_reads_slowly(fleet: Fleet) -> None:
    """Whoever reads, however slowly, gets all of it."""
    request = head("/schema/openapi.json", method="GET")
    with TcpStream(fleet.server.http_port) as connection:
        connection.send((request + b"\r\n") * 99 + request + b"Connection: close\r\n\r\n")
        read, slow_until = b"", time.monotonic() + 3.2 * READ_SECONDS
        while part := connection.raw.recv(40_000):
            read += part
            if time.monotonic() < slow_until:
                time.sleep(0.2)
    assert read.count(b"HTTP/1.1 200 OK") == 100


def _is_served(fleet: Fleet) -> bool:
    """Whether there is a place for a request that no place is kept for."""
    with TcpStream(fleet.server.http_port) as connection:
        connection.send(head("/schema/openapi.json", method="GET") + b"\r\n")
        try:
            return read_answer(connection, "/schema/openapi.json").status_code == 200
        except ConnectionError:
            return False


def test_slow_body(hasty: Fleet) -> None:
    """A body that comes too slowly gets 408, though what came by then would be enough."""
    body = json.dumps({"serial": hasty.serial()}).encode()
    length = {"Content-Length": str(len(body) + 100)}
    with at_refusal(hasty, "body_too_slow"), TcpStream(hasty.server.http_port) as connection:
        began = time.monotonic()
        connection.send(head(**length) + b"\r\n" + body)
        assert_problem(read_answer(connection), 408)
        assert BODY_SECONDS <= time.monotonic() - began < BODY_SECONDS + 3


def test_slow_body_connection(hasty: Fleet) -> None:
    """After its 408 the connection is closed, also if the rest goes on coming."""
    with TcpStream(hasty.server.http_port) as connection:
        connection.send(head(**{"Content-Length": "1000"}) + b"\r\n{")
        assert_problem(read_answer(connection), 408)
        assert not _held_open({"slow": connection}, 2)


def test_slow_body_after_refusal(hasty: Fleet) -> None:
    """A body that was refused before it came can't hold its connection open for as long as it likes."""
    length = {"Content-Length": "1000"}
    requests = {
        "404": head("/nowhere", **length),
        "413": head(**{"Content-Length": "100000"}),
        "415": head(**length, **{"Content-Type": "text/plain"}),
    }
    with ExitStack() as stack:
        connections = {status: stack.enter_context(TcpStream(hasty.server.http_port)) for status in requests}
        for status, connection in connections.items():
            connection.send(requests[status] + b"\r\n{")
            assert_problem(read_answer(connection), int(status))
        assert _held_open(connections, PATIENCE_SECONDS) == set()


@pytest.mark.parametrize("rest", [b"", b"5\r\nabcde\r\n0\r\n" + b"a: b\r\n" * 4_000], ids=["gone", "trailers"])
def test_incomplete_body(hasty: Fleet, rest: bytes) -> None:
    """A client that goes away within its body, or sends trailers without end, writes no error into the log."""
    with hasty.store() as store:
        newest = max((entry.seq for entry in store.last_audit(1)), default=0)
        with TcpStream(hasty.server.http_port) as connection:
            connection.send(head(**{"Transfer-Encoding": "chunked"}) + b"\r\n" + rest)
            if rest:
                assert_problem(read_answer(connection), 431)
        assert eventually(lambda: [entry.reason for entry in store.list_audit(after=newest)] == ["body_incomplete"])
    assert log_lines(hasty, "request_failed") == []


def _long_head(kind: str, length: int) -> bytes:
    if kind == "line":
        return head("/register?" + "x" * (length - len(head("/register?")) - 2)) + b"\r\n"
    many = {f"X-{number}": "x" * 90 for number in range(100)} if kind == "many_headers" else {}
    return head(**many, **{"X-Long": "x" * (length - len(head(**many, **{"X-Long": ""})) - 2)}) + b"\r\n"


@pytest.mark.parametrize("kind", ["line", "one_header", "many_headers"])
@pytest.mark.parametrize("piece", [512, 1_000_000], ids=["in_pieces", "at_once"])
def test_headers_too_long(fleet: Fleet, kind: str, piece: int) -> None:
    """Line and headers over 16 KiB are 431 and the connection is closed, however they come."""
    data = _long_head(kind, MAX_HEADER_BYTES + 100)
    with at_refusal(fleet), TcpStream(fleet.server.http_port) as connection:
        for start in range(0, len(data), piece):
            connection.send(data[start : start + piece])
            time.sleep(0.002)
        assert_problem(read_answer(connection), 431)
        assert is_closed(connection, 1)


def test_headers_too_long_in_second_request(fleet: Fleet) -> None:
    """The bound is the same for each request of a connection."""
    with TcpStream(fleet.server.http_port) as connection:
        connection.send(head("/health", method="GET") + b"\r\n")
        assert read_answer(connection, "/health").status_code == 200
        connection.send(_long_head("one_header", MAX_HEADER_BYTES + 100))
        assert_problem(read_answer(connection), 431)
        assert is_closed(connection, 1)


@pytest.mark.parametrize("piece", [512, 1_000_000], ids=["in_pieces", "at_once"])
def test_headers_long_enough(fleet: Fleet, piece: int) -> None:
    """15 KiB of headers are taken, request after request."""
    body = json.dumps({"serial": fleet.serial()}).encode()
    data = head(**{"X-Long": "x" * 15_000, "Content-Length": str(len(body))}) + b"\r\n" + body
    with TcpStream(fleet.server.http_port) as connection:
        for _ in range(3):
            for start in range(0, len(data), piece):
                connection.send(data[start : start + piece])
            assert read_answer(connection).status_code == 200


def test_too_many_connections(tmp_path_factory: pytest.TempPathFactory) -> None:
    """`max_connections` are served; the one above gets 503 as a problem; one that leaves makes room.

    It is logged once and counted, and who watches the server from its own machine still gets answers.
    """
    request = head("/schema/openapi.json", method="GET") + b"\r\n"
    with serving(tmp_path_factory.mktemp("narrow"), http__max_connections="2") as fleet, ExitStack() as stack:
        first, second = (stack.enter_context(TcpStream(fleet.server.http_port)) for _ in range(2))
        for connection in (first, second):
            connection.send(request)
            assert read_answer(connection, "/schema/openapi.json").status_code == 200
        for _ in range(3):
            with TcpStream(fleet.server.http_port) as third:
                third.send(request)
                assert_problem(read_answer(third), 503)
                assert is_closed(third, 1)
        with TcpStream(fleet.server.http_port) as watching:
            watching.send(head("/metrics", method="GET") + b"\r\n")
            metrics = read_answer(watching, "/metrics").text
        assert 'fleetkey_http_bounds_reached_total{bound="max_connections"} 4.0' in metrics
        assert len(log_lines(fleet, "bound_reached", bound="http.max_connections", address="127.0.0.1")) == 1
        first.close()
        assert eventually(lambda: _is_served(fleet))
