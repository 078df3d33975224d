"""What clients of either version ask for beyond MQTT 3.1.1: in CONNECT, with a subscription, with a message."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from tests.support.properties import Name, prop
from tests.support.versions import LEVEL_3_1_1, LEVEL_5

__all__ = ["BARE", "FOREVER", "LONG", "OLDER", "Asks", "Dress", "Properties", "Wish", "split_shared"]

Properties = tuple[tuple[int, int | str | bytes | tuple[str, str]], ...]
"""Of a message, in their order."""
FOREVER = 0xFFFF_FFFF
LONG = 100_000
"""Seconds, of which none of the tests takes so many."""
SHARED = "$share/"


@dataclass(frozen=True, slots=True)
class Asks:
    """What a CONNECT asks for, besides a clean start and a will; 0 = it doesn't say."""

    level: int = LEVEL_5
    expiry: int = 0
    """For how many seconds its session is kept; in MQTT 3.1.1 `is_clean` says that."""
    receive_maximum: int = 0
    max_packet_bytes: int = 0
    most_aliases: int = 0

    def is_kept(self, *, clean: bool) -> bool:
        """Whether the session outlives its connection."""
        return self.expiry > 0 if self.level == LEVEL_5 else not clean

    @property
    def properties(self) -> bytes:
        """The properties of CONNECT; `expiry` is among them even if it is 0."""
        rest = {
            Name.RECEIVE_MAXIMUM: self.receive_maximum,
            Name.MAXIMUM_PACKET_SIZE: self.max_packet_bytes,
            Name.TOPIC_ALIAS_MAXIMUM: self.most_aliases,
        }
        return prop(Name.SESSION_EXPIRY, self.expiry) + b"".join(
            prop(name, value) for name, value in rest.items() if value
        )


OLDER = Asks(LEVEL_3_1_1)


class Dress(NamedTuple):
    """What a message has besides its topic, QoS and flags; all but its size is of MQTT 5."""

    alias: int = 0
    """The topic alias that it is sent with; 0 = none."""
    properties: Properties = ()
    """Those that go with it to its receivers."""
    expiry: int = 0
    """For how many seconds it may be delivered; 0 = it doesn't say."""
    is_big: bool = False
    """Whether it is longer than some receivers take."""

    def encoded(self, *, alias: bool = True) -> bytes:
        """Return the properties of a PUBLISH."""
        own = prop(Name.MESSAGE_EXPIRY, self.expiry) if self.expiry else b""
        if self.alias and alias:
            own += prop(Name.TOPIC_ALIAS, self.alias)
        return own + b"".join(prop(name, value) for name, value in self.properties)


BARE = Dress()


class Wish(NamedTuple):
    """How a subscription was asked for: the byte of its options (3.8.3.1), and its identifier; 0 = none."""

    options: int
    identifier: int = 0

    @property
    def qos(self) -> int:
        """The maximum QoS."""
        return self.options & 3

    @property
    def no_local(self) -> bool:
        """Whether the client's own messages stay away."""
        return bool(self.options & 4)

    @property
    def retain_as_published(self) -> bool:
        """Whether the flag is passed on."""
        return bool(self.options & 8)

    def brings_retained(self, *, is_new: bool) -> bool:
        """Whether retained messages follow."""
        return self.options >> 4 == 0 or (self.options >> 4 == 1 and is_new)


def split_shared(topic_filter: str) -> tuple[bool, str]:
    """Return whether a granted filter is shared, and the filter itself."""
    if topic_filter.startswith(SHARED):
        return True, topic_filter.removeprefix(SHARED).partition("/")[2]
    return False, topic_filter
