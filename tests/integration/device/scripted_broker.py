"""A broker of few words: it answers CONNECT as a test says, and may say good-bye right after that."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Asked", "ScriptedBroker", "connack", "disconnect"]

LEVEL_5 = 5
CONNACK_3_1_1 = bytes((0x20, 2, 0))


@dataclass(frozen=True, slots=True)
class Asked:
    """A CONNECT: when it came, its protocol level, its flags, and what follows the keep-alive."""

    at: float
    level: int
    flags: int
    rest: bytes


class ScriptedBroker:
    """Gives each CONNECT one answer, and keeps the connection open if that is all that `answers` returns.

    Args:
        answers: returns the packets for a CONNECT; empty bytes among them close the connection.
    """

    def __init__(self, answers: Callable[[Asked], list[bytes]]) -> None:
        self._answers = answers
        self.asked: list[Asked] = []
        self.received: list[bytes] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self._connections.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                packet = connection.recv(4096)
                if not packet:
                    return
                level_at = packet.index(b"MQTT") + 4
                level, flags = packet[level_at], packet[level_at + 1]
                asked = Asked(time.monotonic(), level, flags, packet[level_at + 4 :])
                self.asked.append(asked)
                for answer in self._answers(asked):
                    if not answer:
                        return
                    connection.sendall(answer)
                while data := connection.recv(4096):
                    self.received.append(data)
            except OSError:
                return

    def say(self, packet: bytes) -> None:
        """Send a packet on the newest connection."""
        self._connections[-1].sendall(packet)

    def cut(self) -> None:
        """Close every connection."""
        for connection in self._connections:
            # It may be closed already.
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Stop, and close what is open."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self.cut()
        for thread in self._threads:
            thread.join(5)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def connack(code: int, *, level: int = LEVEL_5, properties: bytes = b"") -> bytes:
    """Return a CONNACK of a version."""
    if level != LEVEL_5:
        return CONNACK_3_1_1 + bytes((code,))
    return bytes((0x20, 3 + len(properties), 0, code, len(properties))) + properties


def disconnect(code: int, text: str = "") -> bytes:
    """Return a DISCONNECT of MQTT 5 with a reason string."""
    string = b"\x1f" + len(text).to_bytes(2, "big") + text.encode() if text else b""
    return bytes((0xE0, 2 + len(string), code, len(string))) + string
