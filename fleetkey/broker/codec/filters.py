"""The topic filters of a SUBSCRIBE or UNSUBSCRIBE, the same in both versions (MQTT 3.1.1 and 5.0, 3.8.3 and 3.10.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.broker.codec.errors import MalformedPacketError, TooManyFiltersError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fleetkey.broker.codec.reader import Reader

__all__ = ["next_filter", "read_filters"]


def read_filters(reader: Reader, most: int, none: type[MalformedPacketError] = MalformedPacketError) -> Iterator[str]:
    """Read filters one at a time; there is at least one (3.10.3-2).

    Args:
        reader: the rest of an UNSUBSCRIBE.
        most: how many there may be.
        none: raised if there is none.

    Raises:
        TooManyFiltersError: there are more.
    """
    while True:
        yield next_filter(reader, most, none)
        most -= 1
        if reader.is_at_end:
            return


def next_filter(reader: Reader, most: int, none: type[MalformedPacketError] = MalformedPacketError) -> str:
    """Read a filter, of which there may be so many more; see `read_filters`."""
    if reader.is_at_end:
        msg = "no topic filter"
        raise none(msg)
    if not most:
        msg = "more topic filters than one packet may have"
        raise TooManyFiltersError(msg, bound="max_subscriptions_per_application")
    return reader.text()
