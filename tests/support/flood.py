"""A flood from a process of its own, so that it takes no time from whoever measures what it does to others."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from tests.support.command_line import REPOSITORY, clean_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["flooding"]

MAX_SECONDS = 30
CHUNK_BYTES = 100_000
LENGTH_BYTES = 8


@contextmanager
def flooding(port: int, connect: bytes, flood: bytes) -> Iterator[None]:
    """Let a process log in and send `flood` again and again, reading whatever comes, until the block ends."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.support.flood", str(port)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=clean_environment(),
        cwd=REPOSITORY,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(len(connect).to_bytes(LENGTH_BYTES, "big") + connect + flood)
            process.stdin.close()
            assert process.stdout.readline() == b"flooding\n"
            yield
            assert process.poll() is None, "the flood has ended by itself"
        finally:
            process.kill()


def _flood(port: int, connect: bytes, flood: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as raw:
        raw.sendall(connect)
        if raw.recv(4) != b"\x20\2\0\0":
            raise SystemExit(1)
        view = memoryview(flood * max(1, CHUNK_BYTES // len(flood)))
        position, ends = raw.send(view), time.monotonic() + MAX_SECONDS
        print("flooding", flush=True)
        raw.settimeout(0.05)
        while time.monotonic() < ends:
            with suppress(BlockingIOError, TimeoutError):
                position = (position + raw.send(view[position:])) % len(view)
                if not raw.recv(1 << 20, socket.MSG_DONTWAIT):
                    raise SystemExit(1)


if __name__ == "__main__":
    everything = sys.stdin.buffer.read()
    length = int.from_bytes(everything[:LENGTH_BYTES], "big")
    _flood(int(sys.argv[1]), everything[LENGTH_BYTES : LENGTH_BYTES + length], everything[LENGTH_BYTES + length :])
