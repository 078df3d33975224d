"""What isn't MQTT closes its connection, reaches nobody, and disturbs nobody else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.support.fleet import Credentials
from tests.support.packets import (
    DISCONNECT,
    PINGREQ,
    Kind,
    acknowledgement,
    connect,
    no_properties,
    packet,
    publish,
    subscribe,
    text,
)
from tests.support.reasons import Says
from tests.support.streams import WebSocketStream
from tests.support.versions import LEVEL_5, current_level
from tests.support.wire import BOTH_TRANSPORTS, Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fleet import Fleet


BROKEN = (Says.MALFORMED, Says.PROTOCOL_ERROR, Says.BAD_TOPIC, Says.BAD_FILTER)
"""What is said about a packet that isn't as it should be."""
BROKEN_TEXT = {
    "nul": b"\0",
    "not_utf8": b"\xff",
    "cut_character": b"\xe2\x82",
    "surrogate": b"\xed\xa0\x80",
    "overlong": b"\xc0\xaf",
    "beyond_unicode": b"\xf4\x90\x80\x80",
}


def _own(who: Credentials, rest: str = "") -> bytes:
    return who.topic(rest).encode()


def malformed(who: Credentials) -> dict[str, bytes]:
    """Return a packet of every malformed kind, by name."""
    own = _own(who)
    return {
        **_fixed_headers(),
        **_publishes(own),
        **_lists_of_filters(own),
        "second_connect": connect(who.client_id, username=who.key, password=who.secret),
        "connect_of_nothing": b"\x10\0",
    }


def _fixed_headers() -> dict[str, bytes]:
    table = {f"type_0_flags_{flags}": bytes([flags, 0]) for flags in (0, 2)}
    table |= {f"type_15_flags_{flags}": bytes([0xF0 | flags, 0]) for flags in (0, 15)}
    for kind, body in ((2, b"\0\0"), (9, b"\0\1\0"), (11, b"\0\1"), (13, b"")):
        table[f"from_a_server_{kind}"] = packet(kind, 0, body)
    for kind, flags in (
        (Kind.PUBACK, 1),
        (Kind.PUBACK, 2),
        (Kind.PUBREC, 2),
        (Kind.PUBREL, 0),
        (Kind.PUBREL, 3),
        (Kind.PUBCOMP, 2),
        (Kind.PUBCOMP, 8),
    ):
        table[f"acknowledgement_{kind:d}_flags_{flags}"] = packet(kind, flags, b"\0\1")
    for kind in (Kind.PUBACK, Kind.PUBREC, Kind.PUBREL, Kind.PUBCOMP):
        flags = 2 if kind == Kind.PUBREL else 0
        for length in (0, 1):
            table[f"acknowledgement_{kind:d}_of_{length}_bytes"] = packet(kind, flags, bytes(length))
        # In MQTT 5, a reason code and properties may follow.
        too_long = b"\0\1\0\1" if current_level() == LEVEL_5 else b"\0\1\0"
        table[f"acknowledgement_{kind:d}_too_long"] = packet(kind, flags, too_long)
    return table | {
        "pingreq_flags": b"\xc1\0",
        "pingreq_body": b"\xc0\1x",
        "disconnect_flags": b"\xe2\0",
        "disconnect_body": b"\xe0\2\0\1",
        "length_of_five_bytes": b"\x30\x80\x80\x80\x80\x01",
        "length_of_ones": b"\x30\xff\xff\xff\xff",
    }


def _publishes(own: bytes) -> dict[str, bytes]:
    state, rest = text(own + b"state"), no_properties() + b"malformed"
    table = {f"publish_qos_3_{flags:04b}": packet(3, flags, state + b"\0\1" + rest) for flags in (6, 7, 14, 15)}
    for flags in (8, 9):
        table[f"publish_again_at_qos_0_{flags:04b}"] = packet(3, flags, state + rest)
    for qos in (1, 2):
        table[f"publish_number_0_qos_{qos}"] = packet(3, qos << 1 | 1, state + b"\0\0" + rest)
        table[f"publish_without_number_qos_{qos}"] = packet(3, qos << 1 | 1, state + b"\1")
    for name, broken in {**BROKEN_TEXT, "plus": b"+", "hash": b"#"}.items():
        table[f"publish_{name}"] = publish(own + broken, b"malformed", retain=True)
    return table | {
        "publish_empty": packet(3, 0, b""),
        "publish_half_a_length": packet(3, 0, b"\0"),
        "publish_without_topic": packet(3, 1, text(b"") + rest),
        "publish_topic_beyond_packet": packet(3, 1, b"\xff\xff" + own),
        "publish_topic_one_beyond": packet(3, 1, (len(own) + 1).to_bytes(2, "big") + own),
        "publish_everything": publish(b"#", b"malformed", retain=True),
    }


def _lists_of_filters(own: bytes) -> dict[str, bytes]:
    table = {f"subscribe_qos_{qos:#x}": subscribe(1, own, qos=qos) for qos in (3, 0x30, 0x40, 0x80, 0xFF)}
    number = b"\0\1" + no_properties()
    for name, kind, rest in (("subscribe", Kind.SUBSCRIBE, b"\0"), ("unsubscribe", Kind.UNSUBSCRIBE, b"")):
        for flags in (0, 1, 3, 15):
            table[f"{name}_flags_{flags}"] = packet(kind, flags, number + text(own) + rest)
        bodies = {
            "empty": b"",
            "half_a_number": b"\0",
            "without_filters": number,
            "half_a_length": number + b"\0",
            "number_0": b"\0\0" + number[2:] + text(own) + rest,
            "filter_beyond_packet": number + b"\xff\xff" + own,
            "second_filter_cut": number + (text(own) + rest) * 2 + b"\0",
            "filter_empty": number + text(b"") + rest,
        }
        for what, broken in {**BROKEN_TEXT, "hash_inside": b"#/x", "hash_in_a_level": b"x#", "plus": b"x+"}.items():
            bodies[f"filter_{what}"] = number + text(own + broken) + rest
        table |= {f"{name}_{what}": packet(kind, 2, body) for what, body in bodies.items()}
    return table | {"subscribe_without_qos": packet(Kind.SUBSCRIBE, 2, number + text(own))}


NAMES = tuple(malformed(Credentials(client_id="", key="", secret="")))


@dataclass(frozen=True, slots=True)
class Scene:
    """A victim and an observer, who would hear of it, and the attacker's credentials."""

    victim: Wire
    observer: Wire
    attacker: Credentials

    def is_quiet(self) -> bool:
        """Whether both are still served and have heard nothing."""
        return self.victim.publications() == [] and self.observer.publications() == []


@pytest.fixture
def scene(stage: Scene) -> Scene:
    """Forget what was heard in the test before."""
    stage.is_quiet()
    return stage


@pytest.fixture(scope="module")
def stage(fleet: Fleet) -> Iterator[Scene]:
    """Let victim and observer listen."""
    device, attacker = fleet.device(), fleet.device()
    with Wire.to(fleet) as victim, Wire.to(fleet) as observer:
        victim.enter(device, keep_alive_seconds=0).subscribe(device.topic("#"), qos=2)
        everything = fleet.application(publish=("#",), subscribe=("#",))
        observer.enter(everything, keep_alive_seconds=0).subscribe("#", qos=2)
        yield Scene(victim, observer, attacker)
        # Nothing was kept either.
        observer.publications()
        observer.subscribe("#")
        assert observer.publications() == []


@BOTH_TRANSPORTS
@pytest.mark.parametrize("kind", NAMES)
def test_malformed_packet(fleet: Fleet, scene: Scene, kind: str, *, websocket: bool) -> None:
    """Closed at once; what the same client sends behind it doesn't count; others are served and hear nothing."""
    who = scene.attacker
    with Wire.to(fleet, websocket=websocket) as wire:
        wire.enter(who).subscribe(who.topic("#"), qos=2)
        wire.send(malformed(who)[kind] + publish(_own(who), b"behind") + DISCONNECT)
        assert wire.is_closed_for(*BROKEN)
    assert scene.is_quiet()


@BOTH_TRANSPORTS
def test_packet_cut_off(fleet: Fleet, scene: Scene, *, websocket: bool) -> None:
    """A packet that ends with its connection, wherever it is cut, was never sent."""
    who = scene.attacker
    whole = publish(_own(who), b"malformed", qos=1, retain=True)
    for end in range(1, len(whole), 7):
        with Wire.to(fleet, websocket=websocket) as wire:
            wire.enter(who).send(whole[:end])
            wire.stream.end()
            assert wire.is_closed_by_broker()
    assert scene.is_quiet()


@BOTH_TRANSPORTS
@pytest.mark.parametrize("spare", [1, 2])
def test_length_spelt_with_more_bytes_than_it_needs(fleet: Fleet, scene: Scene, spare: int, *, websocket: bool) -> None:
    """Closed, or taken for what it says; but nobody is sent a packet that is spelt like that (2.2.3)."""
    who = scene.attacker
    body = text(_own(who)) + no_properties() + b"long-winded"
    assert len(body) < 0x80
    spelt = b"\x30" + bytes([0x80 | len(body)]) + b"\x80" * (spare - 1) + b"\0" + body
    with Wire.to(fleet) as listener, Wire.to(fleet, websocket=websocket) as wire:
        listener.enter(fleet.application(device_ids=(who.client_id,))).subscribe(who.topic("#"))
        wire.enter(who).send(spelt)
        wire.close()
        with Wire.to(fleet) as again:
            again.enter(who).disconnect()
        listener.send(PINGREQ)
        came = b""
        while not came.endswith(b"\xd0\0"):
            came += listener.stream.receive()
        assert came in {b"\xd0\0", packet(3, 0, body) + b"\xd0\0"}
    assert scene.victim.publications() == []


FRAMES = {"text": (0x81, PINGREQ), "reserved_opcode": (0x83, PINGREQ), "reserved_bits": (0xF2, PINGREQ)}


@pytest.mark.parametrize("is_in", [False, True], ids=["before_connect", "after_connect"])
@pytest.mark.parametrize("kind", FRAMES)
def test_malformed_frame(fleet: Fleet, scene: Scene, kind: str, *, is_in: bool) -> None:
    """What isn't a binary frame closes a WebSocket connection (6.0.0-1)."""
    with Wire.to(fleet, websocket=True) as wire:
        if is_in:
            wire.enter(scene.attacker)
        assert isinstance(wire.stream, WebSocketStream)
        wire.stream.send_frame(*FRAMES[kind])
        assert wire.is_closed_for(*BROKEN) if is_in else wire.read() is None
    assert scene.is_quiet()


@pytest.mark.parametrize("kind", ["packets_in_one_frame", "packet_in_many_frames", "empty_frames"])
def test_frames_mean_nothing(fleet: Fleet, scene: Scene, kind: str) -> None:
    """Packets may be cut into frames in any way (6.0.0-2)."""
    who = scene.attacker
    whole = subscribe(1, _own(who)) + b"".join(publish(_own(who), b"%d" % number) for number in range(50))
    pieces = {
        "packets_in_one_frame": [whole],
        "packet_in_many_frames": [bytes([byte]) for byte in whole],
        "empty_frames": [b"", whole[:10], b"", b"", whole[10:], b""],
    }[kind]
    with Wire.to(fleet, websocket=True) as wire:
        wire.enter(who)
        for piece in pieces:
            wire.send(piece)
        assert [int(message.payload) for message in wire.hear(50)] == list(range(50))
    assert scene.victim.publications() == []


def test_acknowledgements_of_nothing(fleet: Fleet, scene: Scene) -> None:
    """Acknowledging what was never sent harms nobody, and the client itself is answered as the standard says."""
    who = scene.attacker
    with Wire.to(fleet) as wire:
        wire.enter(who)
        for number in (1, 7, 65_535):
            wire.send(acknowledgement(Kind.PUBACK, number))
            wire.send(acknowledgement(Kind.PUBCOMP, number))
            wire.ask(acknowledgement(Kind.PUBREC, number), Kind.PUBREL)
            wire.ask(acknowledgement(Kind.PUBREL, number), Kind.PUBCOMP)
        assert wire.publications() == []
    assert scene.is_quiet()
