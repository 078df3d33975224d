"""The retained messages due to new subscriptions, in a session's queue (MQTT 3.1.1, 3.3.1-6)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from fleetkey.broker.session import RetainedReplay

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from fleetkey.broker.codec import SubscriptionOptions
    from fleetkey.broker.message import OutboundMessage
    from fleetkey.broker.session import Session

__all__ = ["ENTRIES_PER_UNIT", "add_replay", "is_replay_wanted", "merged", "remove_replay"]

ENTRIES_PER_UNIT = 32
"""Queue entries skipped per unit of work (`broker.work`)."""

RETAINED_IF_NEW, NO_RETAINED = 1, 2
"""When retained messages are sent, if not at each SUBSCRIBE."""


def is_replay_wanted(options: SubscriptionOptions, *, is_new: bool) -> bool:
    """Return whether a SUBSCRIBE is followed by retained messages (MQTT 5.0, 3.8.3.1)."""
    return options.retain_handling != NO_RETAINED and (is_new or options.retain_handling != RETAINED_IF_NEW)


def merged(
    waiting: Iterable[OutboundMessage], replays: Iterable[RetainedReplay]
) -> Iterator[OutboundMessage | RetainedReplay]:
    """Yield the unsent messages of a restored session in order, with each unfinished replay in its old place."""
    ahead = deque(sorted(replays, key=lambda replay: replay.newest))
    for outgoing in waiting:
        # What was published after the subscription was made waits behind its retained messages, which are older.
        while ahead and ahead[0].newest < outgoing.message.row:
            yield ahead.popleft()
        yield outgoing
    yield from ahead


def add_replay(session: Session, topic_filter: str, options: SubscriptionOptions, newest: int) -> int:
    """Queue the retained messages up to the one numbered `newest`; return the units of work done.

    If those of the same filter still wait, they are sent once, not twice.
    """
    replay = session.replays.get(topic_filter)
    if replay is None:
        replay = session.replays[topic_filter] = RetainedReplay(topic_filter, options, newest)
        session.append(replay)
        return 1
    cost = 1
    # From the oldest one on, also if some of it was due to an earlier SUBSCRIBE alone.
    replay.options, replay.matches, replay.oldest = options, None, 0
    if replay.again is not None:
        cost += _take_out(session, replay.again)
    if newest > replay.newest:
        # After what was published since, and before what will be.
        replay.again = RetainedReplay(topic_filter, options, newest)
        replay.again.oldest = replay.newest
        session.append(replay.again)
    return cost


def remove_replay(session: Session, topic_filter: str) -> int:
    """Remove what still waits of a filter; return the units of work done, 0 if there is nothing."""
    replay, cost = session.replays.pop(topic_filter, None), 0
    while replay is not None:
        cost += _take_out(session, replay)
        replay = replay.again
    return cost


def _take_out(session: Session, replay: RetainedReplay) -> int:
    session.queue.remove(replay)
    return 1 + len(session.queue) // ENTRIES_PER_UNIT
