"""`python -m benchmarks.http_load PORT CONNECTIONS`: registers the serials on its standard input, and prints JSON.

A process of its own, and a light one, so that it leaves the server its core: requests are made before the clock
starts, each of the kept-alive connections has one in the air at a time, and of an answer only status and length are
looked at.
"""

from __future__ import annotations

import json
import re
import selectors
import socket
import statistics
import sys
import time
from collections import Counter, deque
from typing import Any

__all__ = ["load"]

CONTENT_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
STATUS = slice(9, 12)
STALLED_SECONDS = 30


class _Connection:
    """A socket, and the answer that is arriving on it."""

    __slots__ = ("answer", "sent_at", "socket")

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.answer = b""
        self.sent_at = 0.0

    def send(self, request: bytes) -> None:
        self.answer = b""
        self.sent_at = time.perf_counter()
        self.socket.sendall(request)

    def receive(self) -> bool:
        """Take in what arrived; whether the answer is whole."""
        part = self.socket.recv(65_536)
        if not part:
            msg = "the server closed a connection"
            raise ConnectionError(msg)
        self.answer += part
        head, separator, body = self.answer.partition(b"\r\n\r\n")
        if not separator:
            return False
        length = CONTENT_LENGTH.search(head)
        return length is not None and len(body) >= int(length[1])


def _request(serial: str) -> bytes:
    body = json.dumps({"serial": serial}).encode()
    return (
        b"POST /register HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    )


def load(port: int, count: int, requests: deque[bytes]) -> dict[str, Any]:
    """Send the requests over that many connections, and report seconds, statuses and percentiles."""
    statuses: Counter[str] = Counter()
    took: list[float] = []
    selector = selectors.DefaultSelector()
    connections = [_Connection(port) for _ in range(count)]
    start = time.perf_counter()
    for connection in connections:
        selector.register(connection.socket, selectors.EVENT_READ, connection)
        connection.send(requests.popleft())
    in_the_air = count
    while in_the_air:
        events = selector.select(STALLED_SECONDS)
        if not events:
            msg = f"no answer for {STALLED_SECONDS} s"
            raise TimeoutError(msg)
        for event, _ in events:
            connection = event.data
            if not connection.receive():
                continue
            took.append(time.perf_counter() - connection.sent_at)
            statuses[connection.answer[STATUS].decode()] += 1
            if requests:
                connection.send(requests.popleft())
            else:
                in_the_air -= 1
    seconds = time.perf_counter() - start
    for connection in connections:
        connection.socket.close()
    percentiles = statistics.quantiles(took, n=100)
    return {
        "seconds": seconds,
        "statuses": statuses,
        "p50_ms": percentiles[49] * 1e3,
        "p99_ms": percentiles[98] * 1e3,
    }


def _main() -> None:
    port, count = int(sys.argv[1]), int(sys.argv[2])
    print(json.dumps(load(port, count, deque(_request(line.strip()) for line in sys.stdin))))


if __name__ == "__main__":
    _main()
