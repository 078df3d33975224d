"""Everybody at once: all devices and application keys of a fleet take what they can, on a server with little memory."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from benchmarks.abuse.mqtt_packets import log_in
from benchmarks.abuse.plan import Attack, Plan, Scene, Step, Targets
from benchmarks.figure import Target
from tests.support.packets import publish, subscribe

if TYPE_CHECKING:
    from benchmarks.abuse.plan import Application

__all__ = ["EVERYONE"]

SETTINGS = """
[limits]
memory = "512MiB"
"""
SECONDS = 60.0
DEVICES, RETAINED, QUEUED_PER_RETAINED = 1_000, 100, 4
LARGE, MIDDLE = bytes(250_000), bytes(4_000)
"""Shared by all devices, so that the attacker itself stays small."""
SLOW_RECEIVE_BYTES = 4_096
PARALLEL, FILTERS = 4, 100
REOPEN_SECONDS = 0.05
CONNACK_BYTES = 4


def _plans(scene: Scene) -> list[Plan]:
    return [_devices(scene), *(_sessions(scene, key) for key in scene.applications)]


def _devices(scene: Scene) -> Plan:
    """Each fills its own queue and its retained topics, and reads nothing."""

    def flood(slot: int) -> list[bytes]:
        device, pieces = scene.devices[slot], []
        queued = _head(publish(device.topic("in/state"), MIDDLE, qos=1), MIDDLE)
        for number in range(RETAINED):
            pieces += [queued, MIDDLE] * QUEUED_PER_RETAINED
            pieces += [_head(publish(device.topic(f"kept/{number}"), LARGE, retain=True), LARGE), LARGE]
        return pieces

    return Plan(
        port=scene.mqtt_port,
        connections=DEVICES,
        noun="messages",
        steps=lambda slot, _: (
            log_in(scene.devices[slot], clean=False),
            subscribe(1, (scene.devices[slot].topic("in/#"), 1)),
        ),
        flood=flood,
        per_flood=RETAINED * (1 + QUEUED_PER_RETAINED),
        is_reading=False,
        receive_buffer=SLOW_RECEIVE_BYTES,
        reopen_seconds=REOPEN_SECONDS,
    )


def _sessions(scene: Scene, key: Application) -> Plan:
    """Leave sessions behind that queue whatever the key's device sends."""
    filters = [(key.topic("#"), 1), *((key.topic(f"{number}/+/#"), 1) for number in range(FILTERS - 1))]
    return Plan(
        port=scene.mqtt_port,
        connections=PARALLEL,
        noun="sessions",
        steps=partial(_leave_one, key, subscribe(1, *filters)),
        leaves=True,
        reopen_seconds=REOPEN_SECONDS,
    )


def _leave_one(key: Application, asked: bytes, _: int, number: int) -> tuple[Step, ...]:
    return Step(log_in(key.session(number), clean=False), CONNACK_BYTES), Step(asked)


def _head(packet: bytes, payload: bytes) -> bytes:
    return packet[: len(packet) - len(payload)]


EVERYONE = Attack(
    name="everyone",
    summary="1,000 devices and 10 application keys all take what they can, with `[limits] memory` of 512 MiB",
    plans=_plans,
    seconds=SECONDS,
    settings=SETTINGS,
    targets=Targets(latency=(Target("ours", "<", 50),), memory=(Target("ours", "<", 600),), disk=()),
)
