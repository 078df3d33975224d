"""Somebody who is told by webhooks: an HTTP server on loopback that remembers what it got."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

__all__ = ["Receiver", "Request"]


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came."""

    headers: dict[str, str]
    body: bytes
    status: int

    @property
    def event(self) -> dict[str, Any]:
        """The body."""
        found: dict[str, Any] = json.loads(self.body)
        return found


@dataclass
class _Behaviour:
    statuses: list[int] = field(default_factory=list)
    always: int = 204
    is_stuck: bool = False


class Receiver:
    """Answers with `statuses` in turn, then with `always`; `is_stuck` answers nothing until it is let go."""

    def __init__(self, port: int = 0) -> None:
        self.requests: list[Request] = []
        self.behaviour = _Behaviour()
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self._let_go = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                receiver._take(self)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._let_go.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def port(self) -> int:
        """Where it is."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Where to post."""
        return f"http://127.0.0.1:{self.port}/hook"

    @property
    def taken(self) -> list[dict[str, Any]]:
        """The events that were answered with success."""
        return [request.event for request in self.requests if request.status < 300]

    def let_go(self) -> None:
        """Answer what was stuck, and everything from now on."""
        self.behaviour.is_stuck = False
        self._let_go.set()

    def _take(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers["Content-Length"]))
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
            status = self.behaviour.statuses.pop(0) if self.behaviour.statuses else self.behaviour.always
        if self.behaviour.is_stuck:
            self._let_go.wait(30)
        headers = {name.lower(): value for name, value in handler.headers.items()}
        with self._lock:
            self._at_once -= 1
            self.requests.append(Request(headers, body, status))
        try:
            handler.send_response(status)
            handler.send_header("Content-Length", "0")
            handler.end_headers()
        except OSError:
            return
