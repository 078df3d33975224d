"""What one device can make the server keep, within all its bounds or when the disk is full."""

from __future__ import annotations

from benchmarks.abuse.mqtt_packets import log_in
from benchmarks.abuse.plan import Attack, Plan, Scene, Step, Targets
from tests.support.packets import publish, subscribe

__all__ = ["STORING_ATTACKS"]

LARGE, MIDDLE = bytes(250_000), bytes(4_000)
RETAINED, IN_FLIGHT, QUEUED, UNREAD = 100, 32, 16, 400
"""Messages: `[mqtt] max_retained`, `max_inflight`, and what exceeds `max_queued_bytes` and `write_buffer_bytes`."""
ACK_BYTES = 4
SLOW_RECEIVE_BYTES = 4_096


def _within_bounds(scene: Scene) -> list[Plan]:
    device = scene.devices[0]
    retained = b"".join(
        publish(device.topic(f"kept/{number}"), LARGE, qos=1, number=number, retain=True)
        for number in range(1, RETAINED + 1)
    )
    return [
        Plan(
            port=scene.mqtt_port,
            connections=1,
            noun="connections",
            steps=lambda _slot, _number: (
                log_in(device, clean=False),
                Step(retained, ACK_BYTES * RETAINED),
                subscribe(1, (device.topic("in/#"), 1)),
            ),
            # The window first, since from a client that has too much output waiting nothing is read.
            lead=lambda _: (
                publish(device.topic("in/window"), MIDDLE, qos=1) * IN_FLIGHT
                + publish(device.topic("in/queue"), LARGE, qos=1) * QUEUED
                + publish(device.topic("in/output"), MIDDLE) * UNREAD
            ),
            is_reading=False,
            receive_buffer=SLOW_RECEIVE_BYTES,
        )
    ]


def _rewritten(scene: Scene) -> list[Plan]:
    device = scene.devices[0]
    return [
        Plan(
            port=scene.mqtt_port,
            connections=1,
            noun="messages",
            steps=lambda _slot, _number: (log_in(device),),
            flood=lambda _: publish(device.topic("kept"), LARGE, retain=True),
        )
    ]


STORING_ATTACKS = (
    Attack(
        name="one-device",
        summary="A device fills its retained topics, its queue and its window with what is as large as may be,"
        " and reads nothing",
        plans=_within_bounds,
    ),
    Attack(
        name="disk-full",
        summary="A device rewrites one retained message of 250 KB while the disk is full",
        plans=_rewritten,
        fills_disk=True,
        # Large payloads fill the wire, so the victim's time is for information.
        targets=Targets(latency=()),
    ),
)
