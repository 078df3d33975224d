"""Registering against a server on loopback that answers whatever a test wants."""

from __future__ import annotations

import json
import socket
import threading
import time
import traceback
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetkey.device import DeviceError, Registrar, RegistrationPending, RegistrationRefused, RegistrationUnreachable
from fleetkey.device.registration import parse_retry_after, registration_endpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DEVICE_ID, SECRET, PROOF = "0123456789abcdef01234567", "cd" * 32, "the-proof-of-origin"
MQTT = {"host": "h", "port": 1883, "tls": False, "clientId": DEVICE_ID, "publish": ["d/#"], "subscribe": ["d/#"]}
ANSWER: dict[str, Any] = {"deviceId": DEVICE_ID, "key": "ab" * 16, "secret": SECRET, "mqtt": MQTT}
PROBLEM = "application/problem+json"


class Server:
    """Answers each POST with what is set, and remembers what it was asked."""

    def __init__(self) -> None:
        self.status, self.headers, self.body = 200, {"Content-Type": "application/json"}, json.dumps(ANSWER).encode()
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        handler = type("Handler", (_Handler,), {"answers": self})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def answer(self, status: int, body: object = "", content_type: str = "application/json", **headers: str) -> None:
        """Set the answer; a body that isn't bytes is sent as JSON."""
        self.status, self.body = status, body if isinstance(body, bytes) else json.dumps(body).encode()
        self.headers = {"Content-Type": content_type} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }


class _Handler(BaseHTTPRequestHandler):
    answers: Server

    def do_POST(self) -> None:
        """Answer."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answers.requests.append((self.path, dict(self.headers), body))
        self.send_response(self.answers.status)
        for name, value in ({"Content-Length": str(len(self.answers.body))} | self.answers.headers).items():
            self.send_header(name, value)
        self.end_headers()
        try:
            self.wfile.write(self.answers.body)
        except ConnectionError:
            self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def server() -> Iterator[Server]:
    """Run a server."""
    running = Server()
    thread = threading.Thread(target=running.server.serve_forever, args=(0.02,))
    thread.start()
    yield running
    running.server.shutdown()
    running.server.server_close()
    thread.join(5)


@pytest.fixture
def raw() -> Iterator[Callable[[Callable[[socket.socket], None]], str]]:
    """Return what serves one TCP connection with a function and gives its URL."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.settimeout(5)
    threads: list[threading.Thread] = []

    def serve(talk: Callable[[socket.socket], None]) -> str:
        def accept() -> None:
            connection, _ = listening.accept()
            with connection:
                connection.settimeout(5)
                connection.recv(65_536)
                try:
                    talk(connection)
                except OSError:
                    return

        threads.append(threading.Thread(target=accept))
        threads[-1].start()
        return f"http://127.0.0.1:{listening.getsockname()[1]}"

    yield serve
    for thread in threads:
        thread.join(10)
    listening.close()


def test_register(server: Server) -> None:
    """The serial is posted as JSON to /register, and the answer is credentials with the serial in them."""
    credentials = Registrar("SN-ü", server.url).register()
    path, headers, body = server.requests[0]
    assert (path, headers["Content-Type"], json.loads(body)) == ("/register", "application/json", {"serial": "SN-ü"})
    assert headers["User-Agent"].startswith("fleetkey-device/")
    assert (credentials.device_id, credentials.serial) == (DEVICE_ID, "SN-ü")
    assert credentials.secret.reveal() == SECRET


def test_register_proof(server: Server) -> None:
    """A proof goes along."""
    Registrar("S1", f"{server.url}/register", proof=PROOF).register()
    assert json.loads(server.requests[0][2]) == {"serial": "S1", "proof": PROOF}


@pytest.mark.parametrize(
    ("headers", "seconds"), [({"Retry_After": "30"}, 30), ({}, None), ({"Retry_After": "soon"}, None)]
)
def test_register_pending(server: Server, headers: dict[str, str], seconds: float | None) -> None:
    """202 is waiting for approval."""
    server.answer(202, {"status": "pending"}, **headers)
    with pytest.raises(RegistrationPending) as caught:
        Registrar("S1", server.url).register()
    assert caught.value.retry_after_seconds == seconds


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 429, 500, 503])
def test_register_refused(server: Server, status: int) -> None:
    """Any other status is a refusal with the server's own words and time."""
    problem = {"type": "about:blank", "title": "Refused", "status": status, "detail": "not\non\x1b[2J the list"}
    server.answer(status, problem, PROBLEM, Retry_After="7")
    with pytest.raises(RegistrationRefused) as caught:
        Registrar("S1", server.url).register()
    assert (caught.value.status, caught.value.retry_after_seconds) == (status, 7)
    assert caught.value.detail == "not on [2J the list"
    assert str(caught.value) == f"registration refused ({status}): not on [2J the list"


@pytest.mark.parametrize(
    ("body", "content_type", "detail"),
    [
        ({"title": "Only a title"}, PROBLEM, "Only a title"),
        ({"title": " ", "detail": 5}, PROBLEM, "no reason given"),
        ({"detail": "x" * 1000}, PROBLEM, "x" * 300),
        ([], PROBLEM, "no reason given"),
        (b"[" * 50_000, PROBLEM, "no reason given"),
        (b"{", "application/json", "no reason given"),
        (b"<html>", "text/html", "no reason given"),
    ],
)
def test_register_refused_detail(server: Server, body: object, content_type: str, detail: str) -> None:
    """A refusal needs no sound problem document."""
    server.answer(400, body, content_type)
    with pytest.raises(RegistrationRefused) as caught:
        Registrar("S1", server.url).register()
    assert caught.value.detail == detail


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_register_redirect(server: Server, status: int) -> None:
    """No redirect is followed: the request that fetches credentials goes where it was sent, or nowhere."""
    server.answer(status, Location=f"{server.url}/elsewhere")
    with pytest.raises(RegistrationRefused, match="redirect, which is not followed") as caught:
        Registrar("S1", server.url).register()
    assert caught.value.status == status
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("body", "content_type", "words"),
    [
        (b"<html>Log in to the hotel</html>", "text/html", "is not JSON"),
        (ANSWER, "text/plain", "is not JSON"),
        (b"{", "application/json", "not JSON"),
        (b"[" * 60_000, "application/json", "not JSON"),
        ({}, "application/json", "not credentials"),
        (ANSWER | {"secret": SECRET[1:]}, "application/json", "secret does not have the required format"),
        ({name: value for name, value in ANSWER.items() if name != "deviceId"}, "application/json", "no deviceId"),
        (json.dumps(ANSWER).encode() + b" " * 65_536, "application/json", "larger than 64 KiB"),
    ],
)
def test_register_not_an_answer(server: Server, body: object, content_type: str, words: str) -> None:
    """A 200 that isn't a registration's answer is as good as none, and its content is not in the error."""
    server.answer(200, body, content_type)
    with pytest.raises(RegistrationUnreachable, match=words) as caught:
        Registrar("S1", server.url).register()
    assert SECRET[1:] not in "".join(traceback.format_exception(caught.value))


def test_register_truncated(server: Server) -> None:
    """An answer that ends early is none."""
    server.answer(200, json.dumps(ANSWER).encode()[:-20], Content_Length=str(len(json.dumps(ANSWER))))
    with pytest.raises(RegistrationUnreachable):
        Registrar("S1", server.url, timeout_seconds=1).register()


def test_register_nobody_there() -> None:
    """A server that isn't there is said to be so."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    with pytest.raises(RegistrationUnreachable, match=f"127.0.0.1:{port}/register: Connection refused"):
        Registrar("S1", f"http://127.0.0.1:{port}").register()


def silent(connection: socket.socket) -> None:
    """Say nothing until the other side is gone."""
    while connection.recv(4096):
        continue


def dripping_headers(connection: socket.socket) -> None:
    """Send one byte of headers now and then."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        connection.sendall(b"x")
        time.sleep(0.02)


def dripping_body(connection: socket.socket) -> None:
    """Send one byte of body now and then."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n")
    while True:
        connection.sendall(b" ")
        time.sleep(0.02)


@pytest.mark.parametrize("talk", [silent, dripping_headers, dripping_body])
def test_register_slow(
    raw: Callable[[Callable[[socket.socket], None]], str], talk: Callable[[socket.socket], None]
) -> None:
    """The time limit is for the whole answer, so that a dripping server can't hold a device."""
    before = time.monotonic()
    with pytest.raises(RegistrationUnreachable, match=r"no complete response within 0\.3 s"):
        Registrar("S1", raw(talk), timeout_seconds=0.3).register()
    assert time.monotonic() - before < 2


@pytest.mark.parametrize("talk", [silent, dripping_headers, dripping_body])
def test_abort(raw: Callable[[Callable[[socket.socket], None]], str], talk: Callable[[socket.socket], None]) -> None:
    """`abort` ends a call that another thread is in, and every later one."""
    registrar = Registrar("S1", raw(talk), timeout_seconds=30)
    threading.Timer(0.1, registrar.abort).start()
    before = time.monotonic()
    for _ in range(2):
        with pytest.raises(RegistrationUnreachable):
            registrar.register()
    assert time.monotonic() - before < 2


@pytest.mark.parametrize(
    "noise", [b"SSH-2.0-OpenSSH\r\n", b"", b"HTTP/1.1 abc\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"a" * 70_000]
)
def test_register_not_http(raw: Callable[[Callable[[socket.socket], None]], str], noise: bytes) -> None:
    """Something that doesn't speak HTTP is no server."""
    with pytest.raises(RegistrationUnreachable):
        Registrar("S1", raw(lambda connection: connection.sendall(noise)), timeout_seconds=2).register()


def test_register_no_proxy_for_loopback(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy in the environment has no part in a conversation with this machine; elsewhere it has."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    Registrar("S1", server.url).register()
    monkeypatch.setenv("http_proxy", server.url)
    Registrar("S1", "http://fleet.invalid").register()
    assert [path for path, _, _ in server.requests] == ["/register", "http://fleet.invalid/register"]


def test_register_secrets_not_shown(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    """Neither proof nor secret is in a log line, a repr or an error."""
    caplog.set_level("DEBUG")
    registrar = Registrar("S1", server.url, proof=PROOF)
    shown = repr(registrar) + repr(vars(registrar)) + repr(registrar.register())
    server.answer(400, {"detail": "no"}, PROBLEM)
    with pytest.raises(DeviceError) as caught:
        registrar.register()
    shown += "".join(traceback.format_exception(caught.value)) + caplog.text
    assert PROOF not in shown
    assert SECRET not in shown


@pytest.mark.parametrize(("url", "warned"), [("http://fleet.invalid", True), ("https://fleet.invalid", False)])
def test_init_in_clear(url: str, warned: bool, caplog: pytest.LogCaptureFixture) -> None:  # noqa: FBT001 - a table
    """Plain http to another machine is told: the secret would travel in clear."""
    Registrar("S1", url)
    assert ("device.registration_in_clear" in caplog.text) == warned


@pytest.mark.parametrize("serial", ["", " S1", "S1\n", "a\tb", "x" * 129, "\x00"])
def test_init_serial(serial: str) -> None:
    """A serial that no server takes is refused before it is sent."""
    with pytest.raises(ValueError, match="a serial must be"):
        Registrar(serial, "http://127.0.0.1")


@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/register"),
        ("http://127.0.0.1:8080/", "http://127.0.0.1:8080/register"),
        (" https://fleet.example.com/register ", "https://fleet.example.com/register"),
        ("https://fleet.example.com/register/", "https://fleet.example.com/register"),
        ("https://example.com/fleet", "https://example.com/fleet/register"),
        ("HTTP://[::1]:80", "http://[::1]:80/register"),
    ],
)
def test_registration_endpoint(url: str, endpoint: str) -> None:
    """The base URL and the full one are the same."""
    assert registration_endpoint(url) == endpoint


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8080",
        "ftp://h",
        "file:///etc/passwd",
        "http://",
        "http:///register",
        "http://h:99999",
        "http://h:0",
        "http://h h",
        "http://[::1",
        "http://user:hunter2@h",
        "http://h/?a=b",
        "http://h/#x",
        "javascript:alert(1)",
    ],
)
def test_registration_endpoint_wrong(url: str) -> None:
    """Anything but a plain http or https address is refused, without repeating it."""
    with pytest.raises(ValueError, match=r"URL") as caught:
        registration_endpoint(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (None, None),
        ("0", 0),
        (" 120 ", 120),
        ("3601", 3600),
        ("9" * 10, 3600),
        ("9" * 11, None),
        ("-1", None),
        ("1.5", None),
        ("٣", None),
        ("soon", None),
        ("", None),
        ("Fri, 31 Dec 1999 23:59:59 GMT", 0),
        ("Fri, 31 Dec 2199 23:59:59 GMT", 3600),
    ],
)
def test_parse_retry_after(value: str | None, seconds: float | None) -> None:
    """Both forms of RFC 9110, 10.2.3 are understood, and bounded."""
    assert parse_retry_after(value) == seconds


def test_parse_retry_after_date() -> None:
    """A date is seconds from now."""
    seconds = parse_retry_after(format_datetime(datetime.now(UTC) + timedelta(seconds=100), usegmt=True))
    assert seconds is not None
    assert 97 <= seconds <= 100


@given(st.text())
def test_parse_retry_after_anything(value: str) -> None:
    """Whatever the header says, it is a time within an hour or none."""
    seconds = parse_retry_after(value)
    assert seconds is None or 0 <= seconds <= 3600
