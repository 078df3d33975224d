"""The device's neighbours for these tests: a plain amqtt broker in a thread and a registration server."""

from __future__ import annotations

import asyncio
import json
import secrets
import socket
import ssl
import subprocess
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

from amqtt.broker import Broker
from amqtt.contexts import Action
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from amqtt.session import Session

KEYS: dict[str, dict[str, str]] = {}
ATTEMPTS: dict[str, list[str]] = {}
FORBIDDEN = "forbidden/#"


class TableAuth(BaseAuthPlugin):
    """Lets in who is in the table."""

    async def authenticate(self, *, session: Session) -> bool:
        """Compare with the table, and note the attempt."""
        ATTEMPTS[self.config.table].append(session.username or "")
        return KEYS[self.config.table].get(session.username or "") == session.password

    @dataclass
    class Config:
        """Which table."""

        table: str = ""


class OneForbidden(BaseTopicPlugin):
    """Refuses one topic filter."""

    async def topic_filtering(
        self, *, session: Session | None = None, topic: str | None = None, action: Action | None = None
    ) -> bool:
        """Say yes to everything else."""
        return topic != FORBIDDEN

    @dataclass
    class Config:
        """Nothing to set."""


class TidyBroker(Broker):
    """Remembers its connections, so that a test leaves none open."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__(config)
        self.writers: list[asyncio.StreamWriter] = []

    async def stream_connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, listener_name: str
    ) -> None:
        """Serve one connection."""
        self.writers.append(writer)
        await super().stream_connected(reader, writer, listener_name)


class BrokerThread:
    """A broker that can be stopped and started again on its port."""

    def __init__(self, certificate: Path | None = None) -> None:
        self._certificate = certificate
        self.table = secrets.token_hex(4)
        self.keys: dict[str, str] = KEYS.setdefault(self.table, {})
        self.attempts: list[str] = ATTEMPTS.setdefault(self.table, [])
        self.port = 0  # until the system has chosen; then the same again, so that a device finds it
        self._loop: asyncio.AbstractEventLoop | None = None
        self._broker: TidyBroker | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start, and return when it listens."""
        loop = asyncio.new_event_loop()
        self._loop = loop
        self._thread = threading.Thread(target=loop.run_forever, daemon=True)
        self._thread.start()
        self._broker = asyncio.run_coroutine_threadsafe(self._serve(), loop).result(10)

    def stop(self) -> None:
        """Stop, closing every connection; calling it again does nothing."""
        if self._loop is None or self._broker is None or self._thread is None:
            return
        loop, self._loop = self._loop, None
        asyncio.run_coroutine_threadsafe(self._shut_down(self._broker), loop).result(15)
        loop.call_soon_threadsafe(loop.stop)
        self._thread.join(10)
        loop.close()

    def say(self, topic: str, payload: bytes) -> None:
        """Publish as the broker itself."""
        assert self._broker is not None
        assert self._loop is not None
        asyncio.run_coroutine_threadsafe(self._broker.internal_message_broadcast(topic, payload), self._loop).result(5)

    async def _serve(self) -> TidyBroker:
        listener: dict[str, Any] = {"type": "tcp", "bind": f"127.0.0.1:{self.port}"}
        if self._certificate is not None:
            listener |= {"ssl": True, "certfile": str(self._certificate), "keyfile": str(self._certificate)}
        config: dict[str, Any] = {
            "listeners": {"default": listener},
            "plugins": {f"{__name__}.TableAuth": {"table": self.table}, f"{__name__}.OneForbidden": {}},
        }
        broker = TidyBroker(config)
        await broker.start()
        listening = broker._servers["default"].instance
        self.port = next(iter(listening.sockets)).getsockname()[1]
        return broker

    @staticmethod
    async def _shut_down(broker: TidyBroker) -> None:
        await broker.shutdown()
        left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        for writer in broker.writers:
            writer.transport.abort()
        # One turn of the loop for each transport's farewell, and one for its stream's.
        await asyncio.sleep(0.01)


class RegistrationServer:
    """Issues credentials that the broker knows, or answers what `refuse_with` says."""

    def __init__(self, broker: BrokerThread, certificate: Path | None = None) -> None:
        self.broker = broker
        self._is_tls = certificate is not None
        self.device_id = secrets.token_hex(12)
        self.knows_its_keys = True
        self.refuse_with: tuple[int, dict[str, str]] | None = None
        self.hangs = threading.Event()
        self.requests: list[float] = []
        handler = type("Handler", (_Handler,), {"rig": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        if certificate is not None:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.url = f"{'https' if self._is_tls else 'http'}://127.0.0.1:{self._server.server_address[1]}"

    def issue(self, serial: str) -> dict[str, object]:
        """Return a new registration answer."""
        key, secret, own = secrets.token_hex(16), secrets.token_hex(32), f"devices/{self.device_id}/#"
        if self.knows_its_keys:
            self.broker.keys[key] = secret
        mqtt = {"host": "127.0.0.1", "port": self.broker.port, "tls": self._is_tls, "clientId": self.device_id}
        settings = mqtt | {"publish": [own], "subscribe": [own]}
        document: dict[str, object] = {"deviceId": self.device_id, "key": key, "secret": secret, "mqtt": settings}
        return document | {"serial": serial} if serial else document

    def close(self) -> None:
        """Stop answering."""
        self.hangs.clear()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Handler(BaseHTTPRequestHandler):
    rig: RegistrationServer

    def do_POST(self) -> None:
        """Answer one registration."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.rig.requests.append(time.monotonic())
        while self.rig.hangs.is_set():
            time.sleep(0.02)
        status, headers = self.rig.refuse_with or (200, {})
        document = self.rig.issue("") if status == 200 else {"title": "No", "detail": "not now"}
        body = json.dumps(document).encode()
        self.send_response(status)
        kind = "application/json" if status < 400 else "application/problem+json"
        for name, value in ({"Content-Type": kind, "Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


class RefusingBroker:
    """Answers every CONNECT with one return code, or with silence, and counts them."""

    def __init__(self, return_code: int | None) -> None:
        self.return_code = return_code
        self.connects: list[float] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(5)
                connection.recv(4096)
                self.connects.append(time.monotonic())
                if self.return_code is None:
                    connection.recv(4096)
                else:
                    connection.sendall(bytes([0x20, 2, 0, self.return_code]))

    def close(self) -> None:
        """Stop."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(6)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def make_certificate(path: Path, host: str) -> None:
    """Write a key and a certificate for it that is its own authority, in one PEM file."""
    key = path.with_suffix(".key")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=test", "-addext", f"subjectAltName={host}", "-days", "2"]
    subprocess.run([*command, "-keyout", str(key), "-out", str(path)], check=True, capture_output=True, timeout=20)
    path.write_text(key.read_text() + path.read_text())


def free_port() -> int:
    """Return a port of the system's choice that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def eventually(condition: Callable[[], bool], timeout_seconds: float = 5.0) -> bool:
    """Wait until something is so."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def running_broker() -> Iterator[BrokerThread]:
    """Yield a broker that runs (the body of a fixture)."""
    broker = BrokerThread()
    broker.start()
    try:
        yield broker
    finally:
        broker.stop()


def running_registration(broker: BrokerThread) -> Iterator[RegistrationServer]:
    """Yield a registration server for a broker (the body of a fixture)."""
    with RegistrationServer(broker) as server:
        yield server
