"""UTF-8 strings (1.5.3), wherever a packet has one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.packets import Will, connect, publish, subscribe, unsubscribe
from tests.support.versions import EACH_VERSION

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.wire_clients import Clients


ILL_FORMED = {
    "surrogate": b"\xed\xa0\x80",
    "last_surrogate": b"\xed\xbf\xbf",
    "surrogate_pair": b"\xed\xa0\xbd\xed\xb8\x80",
    "overlong": b"\xc0\xaf",
    "overlong_nul": b"\xc0\x80",
    "cut_off": b"\xe2\x82",
    "continuation": b"\x80",
    "above_10ffff": b"\xf4\x90\x80\x80",
    "ff": b"\xff",
}
MALFORMED = 0x81
MARK = "\ufeff"
NUL = {"nul": b"\x00", "nul_within": b"a\x00b", "nul_at_end": b"a/b\x00"}
BROKEN = {**ILL_FORMED, **NUL}
SENT: dict[str, Callable[[bytes], bytes]] = {
    "publish": publish,
    "subscribe": lambda text: subscribe(1, (text, 0)),
    "second_filter_of_subscribe": lambda text: subscribe(1, ("a", 0), (text, 0)),
    "unsubscribe": lambda text: unsubscribe(1, text),
    "second_filter_of_unsubscribe": lambda text: unsubscribe(1, "a", text),
}


@EACH_VERSION
@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("packet", SENT.values(), ids=SENT)
def test_broken_string_of_a_client(mqtt: Clients, packet: Callable[[bytes], bytes], broken: bytes) -> None:
    """Ill-formed UTF-8, or NUL, in a topic or filter closes the connection and reaches nobody.

    1.5.3-1, 1.5.3-2, 3.3.2-1, 3.8.3-1, 3.10.3-1, 4.7.3-2.

    MQTT 5: 1.5.4-1, 1.5.4-2, 3.3.2-1, 3.8.3-1, 3.10.3-1, 4.7.3-2.
    """
    witness = mqtt.witness()
    for text in broken, b"x/" + broken, broken + b"/x":
        wire = mqtt.connect()
        wire.send(packet(text))
        assert wire.is_closed_for(MALFORMED)
    assert witness.publications() == []


@EACH_VERSION
@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN)
@pytest.mark.parametrize("field", ["client_id", "will_topic", "user_name"])
def test_broken_string_in_connect(mqtt: Clients, field: str, broken: bytes) -> None:
    """Ill-formed UTF-8, or NUL, in a string of CONNECT closes the connection without a CONNACK.

    1.5.3-1, 1.5.3-2, 3.1.3-4, 3.1.3-10, 3.1.3-11, 4.7.3-2.

    MQTT 5: 1.5.4-1, 1.5.4-2, 3.1.3-4, 3.1.3-11, 3.1.3-12, 4.7.3-2.
    """
    text = b"x" + broken
    client_id, topic, key = mqtt.name(), mqtt.topic("will"), mqtt.key.key
    hello = connect(
        text if field == "client_id" else client_id,
        text if field == "user_name" else key,
        mqtt.key.secret,
        will=Will(text if field == "will_topic" else topic),
    )
    assert mqtt.open().log_in(hello) is None


@pytest.mark.parametrize(
    "payload", [b"\xff\xfe", b"\x00", b"\xed\xa0\x80", b""], ids=["ff", "nul", "surrogate", "empty"]
)
def test_payload_is_no_string(mqtt: Clients, payload: bytes) -> None:
    """A payload, also a will's, is any bytes."""
    witness = mqtt.subscriber(mqtt.topic("#"))
    mqtt.send(mqtt.topic("live"), payload)
    mqtt.connect(will=Will(mqtt.topic("will"), payload)).drop()
    assert [witness.publication().payload for _ in range(2)] == [payload, payload]


@EACH_VERSION
@pytest.mark.parametrize(
    "level", ["\ufeff", "\ufeffx", "x\ufeff", "x\ufeffy"], ids=["alone", "first", "last", "within"]
)
def test_zero_width_no_break_space(mqtt: Clients, level: str) -> None:
    """EF BB BF is U+FEFF wherever it is, and nothing strips it off (1.5.3-3).

    MQTT 5: 1.5.4-3.
    """
    topic, stripped = f"{level}/{mqtt.root}", "/".join([level.replace(MARK, ""), mqtt.root])
    with_mark, without = mqtt.subscriber(topic), mqtt.subscriber(stripped)
    mqtt.send(topic, b"1")
    assert [(got.topic, got.payload) for got in with_mark.publications()] == [(topic, b"1")]
    assert without.publications() == []


@EACH_VERSION
def test_zero_width_no_break_space_in_a_client_id(mqtt: Clients) -> None:
    """A client id that begins with U+FEFF is another one than the same without it (1.5.3-3).

    MQTT 5: 1.5.4-3.
    """
    name = mqtt.name()
    mqtt.connect(f"\ufeff{name}", clean=False).disconnect()
    assert not mqtt.connect(name, clean=False).is_session_present
    assert mqtt.connect(f"\ufeff{name}", clean=False).is_session_present


def test_well_formed_strings(mqtt: Clients) -> None:
    """Everything else of Unicode is taken as it is: the first and last code points of every length (1.5.3)."""
    for character in "\u0001\u007f\u0080\u07ff\u0800\ud7ff\ue000\uffff\U00010000\U0010ffff":
        topic = mqtt.topic(character)
        subscriber = mqtt.subscriber(topic)
        subscriber.publish(topic)
        assert [got.topic for got in subscriber.publications()] == [topic]
