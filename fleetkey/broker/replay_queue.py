"""The retained messages due to new subscriptions, in a session's queue (MQTT 3.1.1, 3.3.1-6)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.broker.session import RetainedReplay

if TYPE_CHECKING:
    from fleetkey.broker.codec import SubscriptionOptions
    from fleetkey.broker.session import Session

__all__ = ["ENTRIES_PER_UNIT", "add_replay", "remove_replay"]

ENTRIES_PER_UNIT = 32
"""Queue entries skipped per unit of work (`broker.work`)."""


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
    replay.options, replay.matches = options, None
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
