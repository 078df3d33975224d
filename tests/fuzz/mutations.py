"""Valid packets, and ways to spoil them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.packets import (
    DISCONNECT,
    PINGREQ,
    Kind,
    Will,
    acknowledgement,
    connect,
    publish,
    subscribe,
    unsubscribe,
)

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from tests.support.fleet import Credentials

__all__ = ["connects", "mutate", "packets"]

MAX_BYTES = 16_000
ACKNOWLEDGEMENTS = (Kind.PUBACK, Kind.PUBREC, Kind.PUBREL, Kind.PUBCOMP)
TEMPTING_BYTES = (0x00, 0x01, 0x02, 0x7F, 0x80, 0xFF, ord("#"), ord("+"), ord("/"), ord("$"))


def connects(who: Credentials, victim: Credentials, own: str) -> list[bytes]:
    """Return CONNECTs: most of them good, the others for somebody else. `own` begins the attacker's topics."""
    right: dict[str, Any] = {"username": who.key, "password": who.secret}
    return [
        connect(who.client_id, **right),
        connect(who.client_id, clean=False, **right),
        connect(who.client_id, will=Will(f"{own}gone", b"gone", retain=True), **right),
        connect(victim.client_id, **right),
        connect(victim.client_id, username=victim.key, password=who.secret, clean=False),
        connect(who.client_id, protocol="MQIsdp", level=3, **right),
        connect(who.client_id, level=5, **right),
    ]


def packets(own: str, foreign: str, second_connect: bytes) -> list[bytes]:
    """Return packets of every kind that a client sends after its CONNECT; some reach for the victim's topics."""
    return [
        *(
            publish(f"{own}state", b"payload", qos=qos, number=qos + 1, retain=retain)
            for qos in (0, 1, 2)
            for retain in (False, True)
        ),
        *(publish(f"{foreign}state", b"forged", qos=qos, number=qos + 1, retain=True) for qos in (0, 1, 2)),
        publish(f"{own}state", b"", retain=True),
        publish(f"{own}state", bytes(5_000), qos=1, number=9),
        publish(f"{own}{'/'.join('abcdefgh')}", b"deep", qos=1, number=300),
        *(acknowledgement(kind, number) for kind in ACKNOWLEDGEMENTS for number in (1, 2, 65_535)),
        subscribe(1, f"{own}state", qos=2),
        subscribe(2, f"{own}#", f"{own}+/a", f"{foreign}state", "#", qos=1),
        subscribe(3, f"{foreign}#", "$SYS/#", "$share/g/#", "devices/+/#", qos=0),
        unsubscribe(4, f"{own}state", f"{own}#"),
        PINGREQ,
        PINGREQ * 3,
        DISCONNECT,
        second_connect,
    ]


def _flip_a_bit(data: bytearray, chance: random.Random) -> None:
    data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _tempt(data: bytearray, chance: random.Random) -> None:
    data[chance.randrange(len(data))] = chance.choice(TEMPTING_BYTES)


def _spoil_the_start(data: bytearray, chance: random.Random) -> None:
    data[chance.randrange(min(5, len(data)))] = chance.randrange(256)


def _insert(data: bytearray, chance: random.Random) -> None:
    position = chance.randrange(len(data) + 1)
    data[position:position] = chance.randbytes(chance.randrange(1, 9))


def _delete(data: bytearray, chance: random.Random) -> None:
    position = chance.randrange(len(data))
    del data[position : position + chance.randrange(1, 9)]


def _cut(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(len(data)) :]


def _repeat(data: bytearray, chance: random.Random) -> None:
    position = chance.randrange(len(data))
    data += data[position : position + chance.randrange(1, 64)] * chance.randrange(1, 9)


def _lie_about_length(data: bytearray, chance: random.Random) -> None:
    data[1:2] = chance.choice((b"\0", b"\1", b"\x7f", b"\xff\x7f", b"\x80\x80\1", b"\xff\xff\xff\x7f", b"\xff" * 5))


def _lie_about_a_string(data: bytearray, chance: random.Random) -> None:
    position = chance.randrange(len(data))
    data[position : position + 2] = chance.choice((b"\0\0", b"\0\1", b"\xff\xff", b"\x7f\xff"))


MUTATIONS: tuple[Callable[[bytearray, random.Random], None], ...] = (
    _flip_a_bit,
    _flip_a_bit,
    _tempt,
    _spoil_the_start,
    _insert,
    _delete,
    _cut,
    _repeat,
    _lie_about_length,
    _lie_about_a_string,
)


def mutate(packet: bytes, chance: random.Random) -> bytes:
    """Spoil a packet once or several times."""
    data = bytearray(packet)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5))):
        if not data:
            break
        chance.choice(MUTATIONS)(data, chance)
    return bytes(data[:MAX_BYTES])
