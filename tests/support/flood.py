"""A flood from a process of its own, so that it takes no time from whoever measures what it does to others."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from tests.support.command_line import REPOSITORY, clean_environment
from tests.support.packets import PINGREQ, publish, subscribe, unsubscribe
from tests.support.streams import TcpStream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.fleet import Credentials

__all__ = ["FLOODS", "flooding"]

MAX_SECONDS = 30
CHUNK_BYTES = 100_000
LENGTH_BYTES = 8


def _own(device: Credentials, payload: bytes, *, qos: int = 0, retain: bool = False) -> bytes:
    return b"".join(
        publish(device.topic(f"state/{number}"), payload, qos=qos, number=number + 1, retain=retain)
        for number in range(100)
    )


def _filters(device: Credentials) -> list[str]:
    """Return as many filters as a device may have, again and again."""
    return [device.topic(f"a/+/{number}/#") for number in range(100)] * 9


FLOODS: dict[str, Callable[[Credentials], bytes]] = {
    "pings": lambda _: PINGREQ,
    "messages_qos_0": lambda device: _own(device, bytes(64)),
    "messages_qos_1": lambda device: _own(device, bytes(64), qos=1),
    "messages_to_itself": lambda device: subscribe(1, device.topic("#"), qos=1) + _own(device, bytes(64), qos=1) * 20,
    "long_messages": lambda device: publish(device.topic("state"), bytes(200_000), qos=1),
    "foreign_messages": lambda _: publish("devices/x/state", bytes(64)) * 50,
    "retained_messages": lambda device: _own(device, bytes(200), qos=1, retain=True),
    "new_topics": lambda device: b"".join(publish(device.topic(f"{n}".ljust(900, "x")), b"") for n in range(5_000)),
    "filters": lambda device: subscribe(1, *_filters(device)) + unsubscribe(2, *_filters(device)),
    "retained_asked_for": lambda device: (
        _own(device, bytes(200), retain=True) + subscribe(1, *([device.topic("#")] * 100)) * 20
    ),
}


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
    with TcpStream(port, connect) as stream:
        answer = stream.receive()
        if (answer[:1], answer[3:4]) != (b"\x20", b"\0"):
            raise SystemExit(1)
        raw = stream.raw
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
