"""What can be done to the broker over WebSocket, before the log-in and after it."""

from __future__ import annotations

import struct

from benchmarks.abuse.mqtt_packets import log_in
from benchmarks.abuse.plan import Attack, Plan, Scene

__all__ = ["WEBSOCKET_ATTACKS"]

UPGRADE = (
    b"GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"
)
CONTINUATION, BINARY, PING, FINAL = 0x00, 0x02, 0x09, 0x80
MASKED, LENGTH_OF_TWO_BYTES = 0x80, 126
FRAMES = 10_000
CONNECTIONS, PARALLEL = 4, 50


def _frame(first: int, content: bytes = b"") -> bytes:
    """Return a frame (RFC 6455, 5.2); the mask is zero, which masks nothing."""
    if len(content) < LENGTH_OF_TWO_BYTES:
        header = bytes([first, MASKED | len(content)])
    else:
        header = struct.pack("!BBH", first, MASKED | LENGTH_OF_TWO_BYTES, len(content))
    return header + bytes(4) + content


def _upgrades(scene: Scene) -> list[Plan]:
    return [
        Plan(
            port=scene.ws_port,
            connections=PARALLEL,
            noun="upgrades",
            steps=lambda _slot, _number: (UPGRADE,),
            leaves=True,
        )
    ]


def _fragments(scene: Scene, *, is_device: bool) -> list[Plan]:
    def steps(slot: int, _: int) -> tuple[bytes, ...]:
        return (UPGRADE, _frame(FINAL | BINARY, log_in(scene.devices[slot]))) if is_device else (UPGRADE,)

    return [
        Plan(
            port=scene.ws_port,
            connections=CONNECTIONS,
            noun="frames",
            steps=steps,
            lead=lambda _: _frame(BINARY),
            flood=lambda _: _frame(CONTINUATION) * FRAMES,
            per_flood=FRAMES,
        )
    ]


def _pings(scene: Scene) -> list[Plan]:
    return [
        Plan(
            port=scene.ws_port,
            connections=CONNECTIONS,
            noun="frames",
            steps=lambda slot, _: (UPGRADE, _frame(FINAL | BINARY, log_in(scene.devices[slot]))),
            flood=lambda _: _frame(FINAL | PING, bytes(100)) * FRAMES,
            per_flood=FRAMES,
            is_reading=False,
        )
    ]


WEBSOCKET_ATTACKS = (
    Attack(
        name="ws-upgrades",
        summary="Upgrades that are left as soon as they are answered, each from another address",
        plans=_upgrades,
    ),
    Attack(
        name="ws-fragments",
        summary="4 strangers send fragments without content",
        plans=lambda scene: _fragments(scene, is_device=False),
    ),
    Attack(
        name="ws-fragments-devices",
        summary="4 devices send fragments without content",
        plans=lambda scene: _fragments(scene, is_device=True),
    ),
    Attack(
        name="ws-pings",
        summary="4 devices send pings of 100 bytes and read no answer",
        plans=_pings,
    ),
)
