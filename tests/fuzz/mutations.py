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
    packet,
    publish,
    subscribe,
    unsubscribe,
)
from tests.support.properties import BINARY, TEXTS, Name, as_properties, prop, variable
from tests.support.versions import LEVEL_3_1_1, LEVEL_5, speaking

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from tests.support.fleet import Credentials

__all__ = ["ASKED", "LEVELS", "anything_of_5", "connects", "mutate", "packets"]

LEVELS = LEVEL_3_1_1, LEVEL_5
ASKED = (
    b"",
    prop(Name.SESSION_EXPIRY, 1) + prop(Name.TOPIC_ALIAS_MAXIMUM, 65_535),
    prop(Name.SESSION_EXPIRY, 0) + prop(Name.MAXIMUM_PACKET_SIZE, 40) + prop(Name.RECEIVE_MAXIMUM, 1),
    prop(Name.REQUEST_PROBLEM, 0) + prop(Name.REQUEST_RESPONSE, 1) + prop(Name.TOPIC_ALIAS_MAXIMUM, 2),
)
"""What clients of MQTT 5 ask for that are let in."""
OF_CONNECT = b"".join(
    prop(name, value)
    for name, value in (
        (Name.SESSION_EXPIRY, 1),
        (Name.RECEIVE_MAXIMUM, 5),
        (Name.MAXIMUM_PACKET_SIZE, 100_000),
        (Name.TOPIC_ALIAS_MAXIMUM, 20),
        (Name.REQUEST_RESPONSE, 1),
        (Name.REQUEST_PROBLEM, 0),
        (Name.USER_PROPERTY, ("name", "value")),
    )
)
"""Every property of CONNECT, but for authentication."""

MAX_BYTES = 16_000
REPAIRED = 0.4
CONTINUED = 0x80
"""From here on a byte of a length is followed by another one."""
ACKNOWLEDGEMENTS = (Kind.PUBACK, Kind.PUBREC, Kind.PUBREL, Kind.PUBCOMP)
TEMPTING_BYTES = (0x00, 0x01, 0x02, 0x7F, 0x80, 0xFF, ord("#"), ord("+"), ord("/"), ord("$"))


def connects(who: Credentials, victim: Credentials, own: str) -> list[bytes]:
    """Return CONNECTs: most of them good, the others for somebody else. `own` begins the attacker's topics."""
    right: dict[str, Any] = {"username": who.key, "password": who.secret}
    found = [connect(who.client_id, protocol="MQIsdp", level=3, **right), connect(who.client_id, level=6, **right)]
    for level in LEVELS:
        will = Will(f"{own}gone", b"gone", retain=True, properties=prop(Name.WILL_DELAY, 1) + of_a_message(own))
        found += [
            connect(who.client_id, level=level, **right),
            connect(who.client_id, level=level, clean=False, **right),
            connect(who.client_id, level=level, will=will, properties=OF_CONNECT, **right),
            connect(victim.client_id, level=level, **right),
            connect(victim.client_id, username=victim.key, password=who.secret, level=level, clean=False),
        ]
    asked = prop(Name.AUTHENTICATION_METHOD, "SCRAM-SHA-1") + prop(Name.AUTHENTICATION_DATA, b"n,,")
    return [*found, connect(who.client_id, level=LEVEL_5, properties=asked, **right)]


def of_a_message(own: str) -> bytes:
    """Return every property that goes with a message to its receivers, and for how long it may be delivered."""
    return b"".join(
        prop(name, value)
        for name, value in (
            (Name.PAYLOAD_FORMAT, 1),
            (Name.MESSAGE_EXPIRY, 60),
            (Name.CONTENT_TYPE, "text/plain"),
            (Name.RESPONSE_TOPIC, f"{own}reply"),
            (Name.CORRELATION_DATA, b"\0\1\2"),
            (Name.USER_PROPERTY, ("name", "value")),
            (Name.USER_PROPERTY, ("name", "other")),
        )
    )


def packets(own: str, foreign: str, who: str, level: int) -> list[bytes]:
    """Return packets of every kind that a client sends after its CONNECT; some reach for the victim's topics."""
    with speaking(level):
        common = [
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
            connect(who),
        ]
        return common + _packets_of_5(own, foreign) if level == LEVEL_5 else common


def _packets_of_5(own: str, foreign: str) -> list[bytes]:
    """Return what MQTT 5 adds: properties, reason codes, topic aliases, subscription options, shared subscriptions."""
    message, alias = of_a_message(own), prop(Name.TOPIC_ALIAS, 1)
    said = prop(Name.REASON_STRING, "why") + prop(Name.USER_PROPERTY, ("name", "value"))
    identifier = prop(Name.SUBSCRIPTION_IDENTIFIER, 300) + prop(Name.USER_PROPERTY, ("name", "value"))
    foreign_reply = prop(Name.RESPONSE_TOPIC, f"{foreign}state")
    return [
        *(publish(f"{own}state", b"payload", qos=qos, number=qos + 11, properties=message) for qos in (0, 1, 2)),
        publish(f"{own}state", b"kept", retain=True, properties=message),
        publish(f"{own}state", b"reply", qos=1, number=15, properties=foreign_reply),
        publish(f"{own}aliased", b"first", properties=alias),
        *(publish("", b"next", qos=qos, number=qos + 17, properties=message + alias) for qos in (0, 1, 2)),
        publish(f"{foreign}state", b"forged", properties=alias),
        publish(f"{own}state", b"x", properties=prop(Name.TOPIC_ALIAS, 16)),
        *(
            acknowledgement(kind, number, reason, said)
            for kind in ACKNOWLEDGEMENTS
            for number, reason in ((1, 0), (2, 0x80))
        ),
        acknowledgement(Kind.PUBREC, 3, 0x97),
        subscribe(5, (f"{own}state", 0x2E), (f"{own}#", 0x19), properties=identifier),
        subscribe(6, f"$share/g/{own}#", f"$share/h/{own}state", f"$share/g/{foreign}#", qos=1),
        subscribe(7, f"$share/{'g' * 60}/{own}+", qos=2, properties=identifier),
        unsubscribe(8, f"$share/g/{own}#", f"{own}#", properties=prop(Name.USER_PROPERTY, ("name", "value"))),
        packet(Kind.DISCONNECT, 0, b"\4" + as_properties(said + prop(Name.SESSION_EXPIRY, 1))),
        packet(Kind.DISCONNECT, 0, b"\0" + as_properties(prop(Name.SESSION_EXPIRY, 0))),
        packet(Kind.AUTH, 0, b"\x18" + as_properties(prop(Name.AUTHENTICATION_METHOD, "SCRAM-SHA-1") + said)),
        packet(Kind.AUTH, 0, b""),
    ]


def anything_of_5(own: str, chance: random.Random) -> bytes:
    """Return a packet of MQTT 5 whose lengths are right, with whatever properties, in any number."""
    names = chance.choices(list(Name), k=chance.choice((0, 1, 1, 2, 3, 70)))
    own_properties = b"".join(prop(name, _value(name, own, chance)) for name in names)
    topic = chance.choice((f"{own}state", ""))
    with speaking(LEVEL_5):
        return chance.choice(
            (
                publish(topic, qos=chance.randrange(3), number=chance.randrange(3), properties=own_properties),
                acknowledgement(chance.choice(ACKNOWLEDGEMENTS), 1, chance.randrange(256), own_properties),
                subscribe(chance.randrange(3), (f"{own}#", chance.randrange(256)), properties=own_properties),
                unsubscribe(1, f"{own}#", properties=own_properties),
                packet(
                    chance.choice((Kind.DISCONNECT, Kind.AUTH)),
                    0,
                    bytes([chance.randrange(256)]) + as_properties(own_properties),
                ),
            )
        )


def _value(name: Name, own: str, chance: random.Random) -> int | str | bytes | tuple[str, str]:
    if name == Name.USER_PROPERTY:
        return "name", "value" * chance.randrange(3)
    if name in TEXTS:
        return chance.choice(("", own, f"{own}+", "text\0"))
    if name in BINARY:
        return chance.randbytes(3)
    return chance.choice((0, 1, 17, 255))


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


def _double(data: bytearray, chance: random.Random) -> None:
    position = chance.randrange(len(data))
    data[position:position] = data[position : position + chance.randrange(1, 12)]


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
    _double,
    _cut,
    _repeat,
    _lie_about_length,
    _lie_about_a_string,
)


def mutate(packet: bytes, chance: random.Random) -> bytes:
    """Spoil a packet once or several times; its length may be right again afterwards, so that more of it is read."""
    data = bytearray(packet)
    for _ in range(chance.choice((1, 1, 1, 2, 3, 5))):
        if not data:
            break
        chance.choice(MUTATIONS)(data, chance)
    if len(data) > len(packet) // 2 and chance.random() < REPAIRED:
        start = next((at for at in range(1, len(packet)) if packet[at] < CONTINUED), 0) + 1
        data[1:start] = variable(len(data[:MAX_BYTES]) - start) if len(data) > start else b"\0"
    return bytes(data[:MAX_BYTES])
