"""What hacked devices, and an application key, can do to the broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.abuse.mqtt_packets import MALFORMED, PER_FLOOD, filter_storm, log_in, messages, tiny_filters
from benchmarks.abuse.plan import Attack, Plan, Scene, Targets
from tests.support.packets import DISCONNECT, PINGREQ, Will, connect, publish, subscribe

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.abuse.plan import Client

__all__ = ["DEVICE_ATTACKS"]

FLOODERS = 4
SMALL, LARGE, UNREAD = bytes(64), bytes(250_000), bytes(4_000)
LARGE_PER_FLOOD = 4
RETURNING = 100
SLOW_READERS, SLOW_RECEIVE_BYTES = 20, 4_096
PINGS = 20_000
NEW_TOPICS = 5_000
MALFORMED_DEVICES = 20


def _flood(
    scene: Scene,
    noun: str,
    flood: Callable[[Client], bytes],
    *,
    lead: Callable[[Client], bytes] = lambda _: b"",
    per_flood: int = 1,
    first: int = 0,
    devices: int = FLOODERS,
) -> list[Plan]:
    """Let devices log in, and send their flood again and again."""
    return [
        Plan(
            port=scene.mqtt_port,
            connections=devices,
            noun=noun,
            steps=lambda slot, _: (log_in(scene.devices[first + slot]),),
            lead=lambda slot: lead(scene.devices[first + slot]),
            flood=lambda slot: flood(scene.devices[first + slot]),
            per_flood=per_flood,
        )
    ]


def _messages_attack(qos: int, *, is_large: bool) -> Attack:
    payload, count = (LARGE, LARGE_PER_FLOOD) if is_large else (SMALL, PER_FLOOD)

    def plans(scene: Scene) -> list[Plan]:
        return _flood(
            scene,
            "messages",
            lambda device: messages(device, payload, qos=qos, count=count),
            lead=lambda device: subscribe(1, (device.topic("#"), qos)),
            per_flood=count,
        )

    return Attack(
        name=f"qos{qos}-large" if is_large else f"qos{qos}",
        summary=f"4 devices publish {len(payload):,} bytes to themselves at QoS {qos}",
        plans=plans,
        # Large payloads fill the wire, so the victim's time is for information.
        targets=Targets(latency=()) if is_large else Targets(),
    )


def _tiny_filters(scene: Scene) -> list[Plan]:
    asked, dropped = tiny_filters()
    return [
        *_flood(scene, "SUBSCRIBEs", lambda _: asked),
        *_flood(scene, "UNSUBSCRIBEs", lambda _: dropped, first=FLOODERS),
    ]


def _retained(scene: Scene) -> list[Plan]:
    def flood(device: Client) -> bytes:
        return b"".join(messages(device, payload * 200, qos=1, retain=True) for payload in (b"a", b"b"))

    return _flood(scene, "messages", flood, per_flood=2 * PER_FLOOD)


def _retained_topics(scene: Scene) -> list[Plan]:
    def flood(device: Client) -> bytes:
        return b"".join(publish(device.topic(f"{number}/new"), SMALL, retain=True) for number in range(NEW_TOPICS))

    return _flood(scene, "messages", flood, per_flood=NEW_TOPICS)


def _retained_reads(scene: Scene) -> list[Plan]:
    return _flood(
        scene,
        "SUBSCRIBEs",
        lambda device: subscribe(1, (device.topic("#"), 1)) * 10,
        lead=lambda device: messages(device, bytes(200), retain=True),
        per_flood=10,
    )


def _returning(scene: Scene, *, clean: bool) -> list[Plan]:
    def steps(slot: int, _: int) -> tuple[bytes, ...]:
        device = scene.devices[slot]
        filters = ((device.topic("#"), 1),)
        return (log_in(device, clean=clean),) if clean else (log_in(device, clean=clean), subscribe(1, *filters))

    return [
        Plan(
            port=scene.mqtt_port,
            connections=RETURNING,
            noun="connections",
            steps=steps,
            lead=lambda _: DISCONNECT if clean else b"",
            leaves=True,
        )
    ]


def _takeovers(scene: Scene) -> list[Plan]:
    entrance = log_in(scene.devices[0])
    return [
        Plan(
            port=scene.mqtt_port,
            connections=10,
            noun="connections",
            steps=lambda _slot, _number: (entrance,),
            leaves=True,
        )
    ]


def _wills(scene: Scene) -> list[Plan]:
    def steps(slot: int, _: int) -> tuple[bytes, ...]:
        device = scene.devices[slot]
        will = Will(device.topic("will"), bytes(1_000), qos=1, retain=True)
        return (connect(device.client_id, device.key, device.secret, will=will, keep_alive_seconds=0),)

    return [Plan(port=scene.mqtt_port, connections=RETURNING, noun="connections", steps=steps, leaves=True)]


def _malformed(scene: Scene) -> list[Plan]:
    return [
        Plan(
            port=scene.mqtt_port,
            connections=MALFORMED_DEVICES,
            noun="packets",
            steps=lambda slot, number: (log_in(scene.devices[slot]), MALFORMED[number % len(MALFORMED)]),
            leaves=True,
        )
    ]


def _slow_devices(scene: Scene) -> list[Plan]:
    return [
        Plan(
            port=scene.mqtt_port,
            connections=SLOW_READERS,
            noun="messages",
            steps=lambda slot, _: (log_in(scene.devices[slot]), subscribe(1, (scene.devices[slot].topic("#"), 1))),
            flood=lambda slot: messages(scene.devices[slot], UNREAD, qos=1, count=10),
            per_flood=10,
            is_reading=False,
            receive_buffer=SLOW_RECEIVE_BYTES,
        )
    ]


def _slow_application(scene: Scene) -> list[Plan]:
    senders = _flood(
        scene, "messages", lambda device: messages(device, bytes(1_000), qos=1), per_flood=PER_FLOOD, devices=2
    )
    receiver = Plan(
        port=scene.mqtt_port,
        connections=1,
        noun="",
        steps=lambda _slot, _number: (log_in(scene.back_end), subscribe(1, ("devices/+/#", 1))),
        is_reading=False,
        receive_buffer=SLOW_RECEIVE_BYTES,
    )
    return [*senders, receiver]


DEVICE_ATTACKS = (
    Attack(
        name="tiny-filters",
        summary="4 devices send SUBSCRIBE, and 4 UNSUBSCRIBE, with as many filters of one byte as a packet holds",
        plans=_tiny_filters,
    ),
    Attack(
        name="filters",
        summary="4 devices subscribe to 100 filters and unsubscribe again without end",
        plans=lambda scene: _flood(scene, "packets", filter_storm, per_flood=2),
    ),
    Attack(
        name="retained",
        summary="4 devices replace 100 retained messages each without end",
        plans=_retained,
    ),
    Attack(
        name="retained-topics",
        summary="4 devices leave retained messages on 5,000 topics each",
        plans=_retained_topics,
    ),
    Attack(
        name="retained-reads",
        summary="4 devices subscribe again and again to what has 100 retained messages",
        plans=_retained_reads,
    ),
    *(_messages_attack(qos, is_large=is_large) for is_large in (False, True) for qos in range(3)),
    Attack(
        name="foreign-topics",
        summary="4 devices publish to another one's topics",
        plans=lambda scene: _flood(
            scene, "messages", lambda _: publish("devices/x/state", SMALL) * PER_FLOOD, per_flood=PER_FLOOD
        ),
    ),
    Attack(
        name="pings",
        summary="4 devices send nothing but PINGREQ",
        plans=lambda scene: _flood(scene, "packets", lambda _: PINGREQ * PINGS, per_flood=PINGS),
    ),
    Attack(
        name="slow-devices",
        summary="20 devices publish 4 KB to themselves at QoS 1 and read nothing",
        plans=_slow_devices,
    ),
    Attack(
        name="slow-application",
        summary="An application subscribes to every device and reads nothing, while 2 devices publish 1 KB at QoS 1",
        plans=_slow_application,
    ),
    Attack(
        name="reconnects",
        summary="100 devices connect and disconnect without end",
        plans=lambda scene: _returning(scene, clean=True),
    ),
    Attack(
        name="persistent-reconnects",
        summary="100 devices with persistent sessions connect, subscribe and vanish without end",
        plans=lambda scene: _returning(scene, clean=False),
    ),
    Attack(
        name="takeovers",
        summary="10 connections take over one device's session from each other",
        plans=_takeovers,
    ),
    Attack(
        name="wills",
        summary="100 devices connect and vanish without end, and each leaves a retained will of 1 KB",
        plans=_wills,
    ),
    Attack(
        name="malformed-devices",
        summary="20 devices log in, send a malformed packet and come back",
        plans=_malformed,
    ),
)
