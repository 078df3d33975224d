"""Properties of MQTT 5 as Hypothesis makes them: which a client's packet may have, with values that are right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

from tests.support.properties import FOUR_BYTES, TEXTS, TWO_BYTES, Name, prop

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

__all__ = ["ALLOWED", "TEXT", "Pairs", "encoded", "pairs_for"]

Pairs = list[tuple[Name, "int | str | bytes | tuple[str, str]"]]

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
NOT_ZERO = {Name.RECEIVE_MAXIMUM, Name.MAXIMUM_PACKET_SIZE, Name.TOPIC_ALIAS, Name.SUBSCRIPTION_IDENTIFIER}
OF_MESSAGES = {
    *(Name.PAYLOAD_FORMAT, Name.MESSAGE_EXPIRY, Name.CONTENT_TYPE, Name.RESPONSE_TOPIC, Name.CORRELATION_DATA),
    Name.USER_PROPERTY,
}
ALLOWED: dict[str, set[Name]] = {
    "connect": {
        *(Name.SESSION_EXPIRY, Name.RECEIVE_MAXIMUM, Name.MAXIMUM_PACKET_SIZE, Name.TOPIC_ALIAS_MAXIMUM),
        *(Name.REQUEST_RESPONSE, Name.REQUEST_PROBLEM, Name.USER_PROPERTY),
        *(Name.AUTHENTICATION_METHOD, Name.AUTHENTICATION_DATA),
    },
    "will": OF_MESSAGES | {Name.WILL_DELAY},
    "publish": OF_MESSAGES | {Name.TOPIC_ALIAS},
    "acknowledgement": {Name.REASON_STRING, Name.USER_PROPERTY},
    "subscribe": {Name.SUBSCRIPTION_IDENTIFIER, Name.USER_PROPERTY},
    "unsubscribe": {Name.USER_PROPERTY},
    "disconnect": {Name.SESSION_EXPIRY, Name.REASON_STRING, Name.USER_PROPERTY, Name.SERVER_REFERENCE},
}
"""By packet, as table 2-4 has it for those that clients send."""


def _values(name: Name) -> SearchStrategy[int | str | bytes | tuple[str, str]]:
    least = 1 if name in NOT_ZERO else 0
    if name is Name.USER_PROPERTY:
        return st.tuples(TEXT, TEXT)
    if name is Name.RESPONSE_TOPIC:
        return TEXT.map(lambda topic: topic.replace("+", "-").replace("#", "-"))
    if name in TEXTS:
        return TEXT
    if name is Name.SUBSCRIPTION_IDENTIFIER:
        return st.integers(least, 268_435_455)
    most = 0xFFFF if name in TWO_BYTES else 0xFFFF_FFFF if name in FOUR_BYTES else 1
    return (
        st.binary(max_size=20)
        if name in {Name.CORRELATION_DATA, Name.AUTHENTICATION_DATA}
        else st.integers(least, most)
    )


def pairs_for(packet: str) -> SearchStrategy[Pairs]:
    """Return properties for a packet in any order, each once but for user properties."""
    once = [st.tuples(st.just(name), _values(name)) for name in sorted(ALLOWED[packet] - {Name.USER_PROPERTY})]
    user = st.tuples(st.just(Name.USER_PROPERTY), _values(Name.USER_PROPERTY))
    some = st.lists(st.one_of(*once), unique_by=lambda pair: pair[0]) if once else st.just([])
    return st.tuples(some, st.lists(user, max_size=4)).map(lambda both: both[0] + both[1]).flatmap(st.permutations)


def encoded(pairs: Pairs) -> bytes:
    """Return properties without their length."""
    return b"".join(prop(name, value) for name, value in pairs)
