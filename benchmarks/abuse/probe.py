"""`python -m benchmarks.abuse.probe PORT REQUEST ANSWER`: asks a server again and again until its standard input ends.

REQUEST is what it sends, and ANSWER what the answer has to begin with, both in hexadecimal. Each request has a
connection of its own. It is due by the clock, so what waits for the request before counts as well; what fails counts as
`TIMEOUT_SECONDS`. At the end it prints, in JSON, what the load generator prints as well. It imports little, so that it
starts while nobody waits for it.
"""

from __future__ import annotations

import json
import select
import socket
import sys
import time

__all__: list[str] = []

INTERVAL_SECONDS = 0.02
TIMEOUT_SECONDS = 2.0


def _is_answered(port: int, request: bytes, expected: bytes) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), TIMEOUT_SECONDS) as raw:
            raw.sendall(request)
            return raw.recv(4096).startswith(expected)
    except OSError:
        return False


def _main() -> None:
    port, request, expected = int(sys.argv[1]), *map(bytes.fromhex, sys.argv[2:])
    print("begun", flush=True)
    took: list[float] = []
    failed, due, start = 0, time.perf_counter(), time.perf_counter()
    while True:
        pause = due - time.perf_counter()
        if select.select([sys.stdin], [], [], max(0.0, pause))[0]:
            break
        began = time.perf_counter() if pause > 0 else due
        is_answered = _is_answered(port, request, expected)
        failed += not is_answered
        took.append(time.perf_counter() - began if is_answered else TIMEOUT_SECONDS)
        due += INTERVAL_SECONDS
    seconds = time.perf_counter() - start
    milliseconds = [1e3 * one for one in sorted(took)] or [0.0]
    last = len(milliseconds) - 1
    report = {
        "done": len(took) - failed,
        "failed": failed,
        "seconds": seconds,
        "p50_ms": milliseconds[last // 2],
        "p99_ms": milliseconds[int(0.99 * last)],
        "max_ms": milliseconds[last],
    }
    print(json.dumps(report))


if __name__ == "__main__":
    _main()
