"""`python -m benchmarks.http_reads PORT CONNECTIONS`: gets paths and prints JSON, as `http_load` does.

Standard input has the token on its first line, and a path, in JSON, on each of the others.
"""

from __future__ import annotations

import json
import sys
from collections import deque

from benchmarks.http_load import load

__all__: list[str] = []


def _main() -> None:
    port, count = int(sys.argv[1]), int(sys.argv[2])
    token, *lines = sys.stdin.read().splitlines()
    requests = deque(
        f"GET {json.loads(line)['path']} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
        for line in lines
    )
    print(json.dumps(load(port, count, requests)))


if __name__ == "__main__":
    _main()
