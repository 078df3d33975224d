"""MQTT 5: what the server writes, held against another implementation, and what each client wants of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetkey.broker.codec import MQTT_5, Kind, PeerLimits, PropertyLimits, Reason, SubscriptionOptions, Terms
from fleetkey.broker.codec.reason_codes import CODES, SCOPE_TEXTS, TEXTS
from fleetkey.broker.codec.v5 import Codec5, codec_for
from tests.support import packets as wire
from tests.support.properties import Name, as_properties, prop
from tests.support.versions import LEVEL_5
from tests.unit.broker.codec.property_values import TEXT, Pairs, encoded, pairs_for

if TYPE_CHECKING:
    from tests.support.packets import Packet

PACKET_IDS = st.integers(1, 65_535)
EXPIRIES = st.none() | st.integers(0, 2**32 - 1)
IDENTIFIERS = st.lists(st.integers(1, 268_435_455), max_size=3)
OWN = {Name.MESSAGE_EXPIRY, Name.TOPIC_ALIAS}
TOPIC = "devices/1/state"
REFUSALS = [
    (Kind.PUBACK, Reason.NOT_AUTHORIZED),
    (Kind.PUBREC, Reason.NOT_AUTHORIZED),
    (Kind.PUBACK, Reason.NOT_STORED),
]
LONGEST_TEXT = 127
"""Bytes of a reason string that leaves a CONNACK's code where every reader of a refusal looks for it."""


def _read(packet: bytes) -> Packet:
    """Take a packet apart; its length must be right."""
    start = 1
    while packet[start] & 0x80:
        start += 1
    got = wire.Packet(packet[0] >> 4, packet[0] & 0x0F, packet[start + 1 :])
    assert wire.packet(got.kind, got.flags, got.body) == packet
    return got


def _publish(codec: Codec5, topic: str = TOPIC, payload: bytes = b"x") -> bytes:
    return codec.publish(topic.encode(), payload)


@given(
    topic=TEXT,
    payload=st.binary(max_size=30),
    qos=st.integers(0, 2),
    number=PACKET_IDS,
    retain=st.booleans(),
    dup=st.booleans(),
    pairs=pairs_for("publish"),
    expiry=EXPIRIES,
    identifiers=IDENTIFIERS,
)
def test_publish(
    topic: str,
    payload: bytes,
    qos: int,
    number: int,
    pairs: Pairs,
    expiry: int | None,
    identifiers: list[int],
    *,
    retain: bool,
    dup: bool,
) -> None:
    """A message's own properties are passed on in their order, between what is left of its time and the identifiers."""
    number, dup = (number, dup) if qos else (0, False)
    passed_on = encoded([pair for pair in pairs if pair[0] not in OWN])
    first = b"" if expiry is None else prop(Name.MESSAGE_EXPIRY, expiry)
    last = b"".join(prop(Name.SUBSCRIPTION_IDENTIFIER, each) for each in identifiers)
    assert MQTT_5.publish(
        topic.encode(),
        payload,
        qos=qos,
        packet_id=number,
        is_retained=retain,
        is_duplicate=dup,
        properties=passed_on,
        expiry_seconds=expiry,
        identifiers=tuple(identifiers),
    ) == wire.publish(
        topic,
        payload,
        qos=qos,
        number=number,
        retain=retain,
        dup=dup,
        level=LEVEL_5,
        properties=first + passed_on + last,
    )


@pytest.mark.parametrize("size", [0, 120, 121, 122, 123, 16_376, 16_377, 16_378, 70_000])
@pytest.mark.parametrize("qos", [0, 1])
def test_publish_length(qos: int, size: int) -> None:
    """The lengths of the packet, and of its properties, are right where they take one byte more."""
    assert MQTT_5.publish(b"t", bytes(size), qos=qos, packet_id=qos) == wire.publish(
        "t", bytes(size), qos=qos, level=LEVEL_5
    )
    own = prop(Name.CONTENT_TYPE, "x" * min(size, 16_400))
    assert MQTT_5.publish(b"t", b"", qos=qos, packet_id=qos, properties=own) == wire.publish(
        "t", b"", qos=qos, level=LEVEL_5, properties=own
    )


@pytest.mark.parametrize("kind", [Kind.PUBACK, Kind.PUBREC, Kind.PUBREL, Kind.PUBCOMP])
@given(number=PACKET_IDS)
def test_acknowledgement(kind: Kind, number: int) -> None:
    """One of success is nothing but its packet identifier; one of failure has its reason."""
    assert MQTT_5.acknowledgement(kind, number) == wire.acknowledgement(wire.Kind(kind), number)
    assert MQTT_5.acknowledgement(kind, number, Reason.TOPIC_NAME_INVALID) == wire.acknowledgement(
        wire.Kind(kind), number, 0x90
    )


@pytest.mark.parametrize(("kind", "reason"), REFUSALS)
def test_refusal(kind: Kind, reason: Reason) -> None:
    """The reason code, and a reason string that helps."""
    got = _read(MQTT_5.acknowledgement(kind, 7, reason))
    assert (got.kind, wire.number_of(got), wire.reason_of(got)) == (kind, 7, CODES[reason])
    text = SCOPE_TEXTS[kind] if reason is Reason.NOT_AUTHORIZED else TEXTS[reason]
    assert wire.properties_of(got) == [(Name.REASON_STRING, text)]


@pytest.mark.parametrize("reason", [reason for reason in Reason if CODES.get(reason)])
def test_refusing_connack(reason: Reason) -> None:
    """The code is where it always is, and who isn't let in hears nothing of a session (3.2.2-6)."""
    got = _read(packet := MQTT_5.connack(reason, is_session_present=True, terms=Terms(topic_alias_maximum=3)))
    assert got.body[:2] == bytes([0, CODES[reason]])
    assert packet[3] == CODES[reason]
    assert wire.properties_of(got) == ([(Name.REASON_STRING, TEXTS[reason])] if reason in TEXTS else [])
    assert len(packet) <= LONGEST_TEXT


def test_connack() -> None:
    """What the server has to say, and nothing that is the default anyway."""
    assert MQTT_5.connack(Reason.SUCCESS) == b"\x20\3\0\0\0"
    assert MQTT_5.connack(Reason.SUCCESS, terms=Terms()) == b"\x20\3\0\0\0"
    terms = Terms(
        session_expiry_seconds=0,
        receive_maximum=20,
        max_packet_bytes=70_000,
        topic_alias_maximum=16,
        assigned_client_id="auto-1",
        keep_alive_seconds=60,
        response_information="devices/1/#",
    )
    got = _read(MQTT_5.connack(Reason.SUCCESS, is_session_present=True, terms=terms))
    assert got.body[:2] == b"\1\0"
    assert dict(wire.properties_of(got)) == {
        Name.SESSION_EXPIRY: 0,
        Name.RECEIVE_MAXIMUM: 20,
        Name.MAXIMUM_PACKET_SIZE: 70_000,
        Name.TOPIC_ALIAS_MAXIMUM: 16,
        Name.ASSIGNED_CLIENT_ID: "auto-1",
        Name.SERVER_KEEP_ALIVE: 60,
        Name.RESPONSE_INFORMATION: "devices/1/#",
    }


ANSWERS = st.sampled_from([0, 1, 2, Reason.NOT_AUTHORIZED, Reason.QUOTA_EXCEEDED, Reason.NOT_STORED])


@given(PACKET_IDS, st.lists(ANSWERS, min_size=1, max_size=200))
def test_suback(number: int, answers: list[int | Reason]) -> None:
    """A code for each filter, in order; the text is that of the first one that was refused."""
    got = _read(
        MQTT_5.suback(number, [each if isinstance(each, Reason) else SubscriptionOptions(each) for each in answers])
    )
    codes = {Reason.NOT_AUTHORIZED: 0x87, Reason.QUOTA_EXCEEDED: 0x97, Reason.NOT_STORED: 0x83}
    expected = bytes(codes[each] if isinstance(each, Reason) else each for each in answers)
    assert (got.kind, wire.number_of(got), got.body[-len(answers) :]) == (Kind.SUBACK, number, expected)
    refused = [each for each in answers if isinstance(each, Reason)]
    texts = TEXTS | {Reason.NOT_AUTHORIZED: SCOPE_TEXTS[Kind.SUBACK]}
    assert wire.properties_of(got) == [(Name.REASON_STRING, texts[each]) for each in refused[:1]]


@given(PACKET_IDS, st.lists(st.booleans(), min_size=1, max_size=200))
def test_unsuback(number: int, answers: list[bool]) -> None:
    """A code for each filter, in order: whether there was such a subscription."""
    codes = bytes(0 if was_there else 0x11 for was_there in answers)
    assert MQTT_5.unsuback(number, answers) == wire.packet(Kind.UNSUBACK, 0, number.to_bytes(2, "big") + b"\0" + codes)


@pytest.mark.parametrize("reason", list(Reason))
def test_disconnect(reason: Reason) -> None:
    """Its code and text; nothing if the client has ended the connection itself, or was refused at CONNECT."""
    packet = MQTT_5.disconnect(reason)
    if not CODES.get(reason):
        assert packet == b""
        return
    got = _read(packet)
    assert (got.kind, wire.reason_of(got)) == (Kind.DISCONNECT, CODES[reason])
    assert wire.properties_of(got) == ([(Name.REASON_STRING, TEXTS[reason])] if reason in TEXTS else [])


def test_shared_codec() -> None:
    """Clients that want nothing special have one codec together, so that a message is encoded once for all of them."""
    assert codec_for(PeerLimits(receive_maximum=3, wants_response_information=True), MQTT_5) is MQTT_5
    for peer in (
        PeerLimits(topic_alias_maximum=1),
        PeerLimits(max_packet_bytes=100),
        PeerLimits(wants_problem_information=False),
    ):
        codec = codec_for(peer, MQTT_5)
        assert codec is not MQTT_5
        assert codec.wire is MQTT_5


@pytest.mark.parametrize("kind", [Kind.PUBACK, Kind.PUBREC])
def test_without_problem_information(kind: Kind) -> None:
    """Whoever doesn't want reason strings gets the code alone, but with CONNACK and DISCONNECT (3.1.2-29)."""
    codec = codec_for(PeerLimits(wants_problem_information=False), MQTT_5)
    assert codec.acknowledgement(kind, 1, Reason.NOT_AUTHORIZED) == wire.acknowledgement(wire.Kind(kind), 1, 0x87)
    assert codec.suback(1, [Reason.NOT_AUTHORIZED]) == wire.packet(Kind.SUBACK, 0, b"\0\1\0\x87")
    assert codec.disconnect(Reason.REVOKED) == MQTT_5.disconnect(Reason.REVOKED)


@pytest.mark.parametrize("kind", [Kind.PUBACK, Kind.PUBREC])
def test_packet_size_of_answers(kind: Kind) -> None:
    """What is too long for its receiver only with a reason string goes without one (3.1.2-25)."""
    whole = len(MQTT_5.acknowledgement(kind, 1, Reason.NOT_AUTHORIZED))
    enough, little = (codec_for(PeerLimits(max_packet_bytes=size), MQTT_5) for size in (whole, whole - 1))
    assert enough.acknowledgement(kind, 1, Reason.NOT_AUTHORIZED) == MQTT_5.acknowledgement(
        kind, 1, Reason.NOT_AUTHORIZED
    )
    assert little.acknowledgement(kind, 1, Reason.NOT_AUTHORIZED) == wire.acknowledgement(wire.Kind(kind), 1, 0x87)


def test_packet_size_of_longer_answers() -> None:
    """The same for SUBACK, DISCONNECT and CONNACK; response information is left out as well."""
    codec = codec_for(PeerLimits(max_packet_bytes=20), MQTT_5)
    assert codec.suback(1, [Reason.QUOTA_EXCEEDED]) == wire.packet(Kind.SUBACK, 0, b"\0\1\0\x97")
    assert codec.disconnect(Reason.REVOKED) == wire.packet(Kind.DISCONNECT, 0, b"\x98")
    assert codec.connack(Reason.SERVER_BUSY) == wire.packet(Kind.CONNACK, 0, b"\0\x89\0")
    terms = Terms(topic_alias_maximum=16, response_information="devices/1/#")
    assert codec.connack(Reason.SUCCESS, terms=terms) == wire.packet(
        Kind.CONNACK, 0, b"\0\0" + as_properties(prop(Name.TOPIC_ALIAS_MAXIMUM, 16))
    )


@pytest.mark.parametrize("aliases", [0, 16])
@pytest.mark.parametrize("topic", [TOPIC, "t"])
def test_packet_size_of_messages(topic: str, aliases: int) -> None:
    """A message that is longer by a byte isn't sent; one that isn't is, also where an alias would make it longer."""
    size = len(_publish(MQTT_5, topic))
    enough, little = (
        codec_for(PeerLimits(max_packet_bytes=most, topic_alias_maximum=aliases), MQTT_5) for most in (size, size - 1)
    )
    assert _publish(enough, topic) == _publish(MQTT_5, topic)
    assert _publish(little, topic) == b""


def test_aliases() -> None:
    """The first message of a topic introduces an alias, the next have it in place of the topic (3.3.2.3.4)."""
    codec = codec_for(PeerLimits(topic_alias_maximum=16), MQTT_5)
    other = codec_for(PeerLimits(topic_alias_maximum=16), MQTT_5)
    first, second = prop(Name.TOPIC_ALIAS, 1), prop(Name.TOPIC_ALIAS, 2)
    assert _publish(codec) == wire.publish(TOPIC, level=LEVEL_5, properties=first)
    assert _publish(codec) == wire.publish("", level=LEVEL_5, properties=first)
    assert _publish(codec, "another") == wire.publish("another", level=LEVEL_5, properties=second)
    assert _publish(codec) == wire.publish("", level=LEVEL_5, properties=first)
    # They are of this connection alone.
    assert _publish(other, "another") == wire.publish("another", level=LEVEL_5, properties=first)


@pytest.mark.parametrize(("asked", "allowed", "most"), [(65_535, 16, 16), (3, 16, 3), (5, 2, 2), (5, 0, 0)])
def test_most_aliases(asked: int, allowed: int, most: int) -> None:
    """As many as the client takes, and as the server allows; further topics are sent as they are."""
    codec = codec_for(PeerLimits(topic_alias_maximum=asked), Codec5(PropertyLimits(max_topic_aliases=allowed)))
    for _ in range(2):
        sent = [wire.publication_of(_read(_publish(codec, f"topic/{number}")), LEVEL_5) for number in range(20)]
    assert [each.topic for each in sent] == [""] * most + [f"topic/{number}" for number in range(most, 20)]
    assert [dict(each.properties).get(Name.TOPIC_ALIAS) for each in sent[:most]] == list(range(1, most + 1))
    assert all(not each.properties for each in sent[most:])


def test_aliases_of_short_topics() -> None:
    """No alias is spent on a topic that is no longer than it."""
    codec = codec_for(PeerLimits(topic_alias_maximum=1), MQTT_5)
    for _ in range(2):
        assert _publish(codec, "abc") == wire.publish("abc", level=LEVEL_5)
    assert _publish(codec, "abcd") == wire.publish("abcd", level=LEVEL_5, properties=prop(Name.TOPIC_ALIAS, 1))


def test_alias_of_a_message_that_is_too_long() -> None:
    """What isn't sent introduces nothing."""
    codec = codec_for(PeerLimits(topic_alias_maximum=1, max_packet_bytes=50), MQTT_5)
    assert _publish(codec, payload=bytes(50)) == b""
    assert _publish(codec) == wire.publish(TOPIC, level=LEVEL_5, properties=prop(Name.TOPIC_ALIAS, 1))
    assert _publish(codec, payload=bytes(50)) == b""
    assert _publish(codec) == wire.publish("", level=LEVEL_5, properties=prop(Name.TOPIC_ALIAS, 1))
