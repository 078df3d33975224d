"""What the attackers over MQTT send, made before it is sent."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from tests.support.packets import Kind, acknowledgement, connect, packet, publish, subscribe, unsubscribe

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.abuse.plan import Client

__all__ = ["MALFORMED", "PER_FLOOD", "bad_log_ins", "filter_storm", "log_in", "messages", "tiny_filters"]

PER_FLOOD = 100
"""Messages, or filters, of one flood."""
TINY_BYTES = 250_000
"""Nearly `[mqtt] max_packet_bytes`."""

MALFORMED: Sequence[bytes] = (
    b"\x00\x00",
    b"\xf0\x00",
    b"\x10\xff\xff\xff\xff\xff",
    b"\x10\x00",
    packet(Kind.CONNECT, 3, b"\0\4MQTT\4\2\0\0\0\0"),
    packet(Kind.CONNECT, 0, b"\0\4MQTT\4\xff\0\0\0\0"),
    packet(Kind.CONNECT, 0, b"\0\4MQTT\4\2\0\0\xff\xff"),
    packet(Kind.PUBLISH, 6, b"\0\1a\0\1"),
    packet(Kind.PUBLISH, 2, b"\0\1a\0\0"),
    packet(Kind.PUBLISH, 0, b"\0\3\xff\xfe\xfd"),
    packet(Kind.PUBLISH, 0, b"\xff\xffa"),
    packet(Kind.SUBSCRIBE, 0, b"\0\1\0\1a\0"),
    packet(Kind.SUBSCRIBE, 2, b"\0\1\0\1a\3"),
    packet(Kind.SUBSCRIBE, 2, b"\0\1"),
    packet(Kind.UNSUBSCRIBE, 2, b"\0\1\0\5a"),
    packet(Kind.PUBREL, 0, b"\0\1"),
    packet(Kind.PUBACK, 0, b"\0"),
)
"""Each of these ends a connection, whether it is the first packet or not."""


def log_in(who: Client, *, clean: bool = True) -> bytes:
    """Return a CONNECT that the broker accepts, without keep-alive."""
    return connect(who.client_id, who.key, who.secret, clean=clean, keep_alive_seconds=0)


def bad_log_ins(known: Sequence[Client], count: int = 200) -> list[bytes]:
    """Return CONNECTs with wrong secrets, half of them with keys that exist."""
    wrong = [connect(who.client_id, who.key, secrets.token_hex(32)) for who in known[: count // 2]]
    unknown = [
        connect(secrets.token_hex(12), secrets.token_hex(16), secrets.token_hex(32)) for _ in range(count - len(wrong))
    ]
    return wrong + unknown


def messages(who: Client, payload: bytes, *, qos: int = 0, retain: bool = False, count: int = PER_FLOOD) -> bytes:
    """Return messages to a device's own topics, one to each; at QoS 2 each is released right behind."""
    packets = []
    for number in range(1, count + 1):
        packets.append(publish(who.topic(f"state/{number}"), payload, qos=qos, number=number, retain=retain))
        if qos == 2:
            packets.append(acknowledgement(Kind.PUBREL, number))
    return b"".join(packets)


def filter_storm(who: Client) -> bytes:
    """Return a SUBSCRIBE of as many filters as a device may have, and the UNSUBSCRIBE of all of them."""
    filters = [who.topic(f"a/+/{number}/#") for number in range(PER_FLOOD)]
    return subscribe(1, *((topic_filter, 1) for topic_filter in filters)) + unsubscribe(2, *filters)


def tiny_filters() -> tuple[bytes, bytes]:
    """Return a SUBSCRIBE and an UNSUBSCRIBE with about as many filters as a packet has room for."""
    asked, dropped = b"\0\1a\0" * (TINY_BYTES // 4), b"\0\1a" * (TINY_BYTES // 3)
    return packet(Kind.SUBSCRIBE, 2, b"\0\1" + asked), packet(Kind.UNSUBSCRIBE, 2, b"\0\2" + dropped)
