"""Retained messages: which are kept at the bound, and what a walk over them costs."""

from __future__ import annotations

import random
from itertools import islice

import pytest

from fleetkey.broker.accounts import Accounts
from fleetkey.broker.retained import RetainedMessage, RetainedMessages
from tests.unit.broker.rig import message

MOST = 3


def _message(topic: str, owner: str, payload: bytes = b"x") -> RetainedMessage:
    return RetainedMessage(message=message(topic, payload, owner=owner))


def _full(owner: str) -> RetainedMessages:
    retained = RetainedMessages(Accounts(), max_per_owner=MOST)
    for number in range(MOST):
        assert retained.keep(_message(f"{owner}/{number}", owner))
    return retained


@pytest.mark.parametrize("older_owner", ["device", "", "application"])
def test_keep_replacement_at_bound(older_owner: str) -> None:
    """A replacement is kept whoever's the older one was, however many its owner has."""
    retained = _full("application")
    topic = "application/0" if older_owner == "application" else "door"
    assert retained.keep(_message(topic, older_owner, b"open"))
    assert retained.keep(_message(topic, "application", b"closed"))
    kept = retained.get(topic)
    assert kept is not None
    assert kept.payload == b"closed"


def test_keep_new_topic_at_bound() -> None:
    """A topic that has none yet is where the bound holds."""
    retained = _full("application")
    assert not retained.keep(_message("new", "application"))
    assert retained.get("new") is None


def test_keep_replacements_make_no_room() -> None:
    """Owners that replace each other's messages have no more between them than their bounds."""
    retained = RetainedMessages(Accounts(), max_per_owner=MOST)
    numbers = random.Random(1)
    for _ in range(2_000):
        owner, topic = numbers.choice(["a", "b"]), f"{numbers.randrange(50)}"
        if numbers.random() < 0.2:
            retained.drop(topic)
        else:
            retained.keep(_message(topic, owner))
        assert len(retained) <= 2 * MOST


def test_restore_over_bound() -> None:
    """After a restart everything that was kept is there, also what counted against another; then the bound holds."""
    retained = _full("application")
    retained.restore(_message("door", "application", b"closed"))
    assert retained.get("door") is not None
    assert not retained.keep(_message("new", "application"))
    assert retained.keep(_message("door", "application", b"open"))


def test_restore_counts_by_publisher() -> None:
    """Whose place a message took isn't kept: after a restart it counts against its publisher, and the place is free."""
    before = _full("device")
    for number in range(MOST):
        before.keep(_message(f"application/{number}", "application"))
    assert before.keep(_message("device/0", "application"))
    assert not before.keep(_message("new", "device"))
    after = RetainedMessages(Accounts(), max_per_owner=MOST)
    for kept in before.all().values():
        after.restore(_message(kept.topic, kept.owner))
    assert after.keep(_message("new", "device"))
    assert not after.keep(_message("newer", "application"))


def test_forget_publisher() -> None:
    """What an owner published goes with it, also what counts against another."""
    retained = _full("application")
    retained.keep(_message("door", "device"))
    retained.keep(_message("door", "application"))
    removed = {kept.topic for kept in retained.forget("application") if kept is not None}
    assert removed == {"application/0", "application/1", "application/2", "door"}
    assert len(retained) == 0
    # And the place that it took is free again.
    for number in range(MOST):
        assert retained.keep(_message(f"device/{number}", "device"))


def test_forgotten_at_once() -> None:
    """What is being removed is nowhere to be found, and makes no room for others."""
    retained = _full("application")
    retained.keep(_message("seen", "device"))
    walk = retained.walk("#")
    removed = retained.forget("application")
    assert [message.topic for message in walk if message is not None] == ["seen"]
    assert retained.get("application/0") is None
    assert retained.of_owner("application") == []
    for number in range(1, MOST):
        assert retained.keep(_message(f"device/{number}", "device"))
    assert not retained.keep(_message("application/0", "device"))
    assert len(list(removed)) == MOST
    assert len(retained) == MOST


def test_forgotten_again() -> None:
    """What an owner leaves while its older messages are still being removed is hidden and removed as well."""
    retained = _full("application")
    removed = retained.forget("application")
    next(removed)
    retained.keep(_message("late", "application"), is_bounded=False)
    assert retained.get("late") is not None
    assert list(retained.forget("application")) == []
    assert retained.get("late") is None
    assert "late" in [kept.topic for kept in removed if kept is not None]
    assert len(retained) == 0
    assert retained.keep(_message("late", "application"))
    assert retained.get("late") is not None


def test_walk_wide_level() -> None:
    """A step of a walk looks at one level, however many there are beside it."""
    retained = RetainedMessages(Accounts(), max_per_owner=1)
    for number in range(1_000):
        retained.keep(_message(f"devices/{number}/state", ""))
    found = [message for message in islice(retained.walk("devices/+/state"), 11) if message is not None]
    assert len(found) == 10
    assert sum(message is not None for message in retained.walk("devices/#")) == 1_000


@pytest.mark.parametrize("topic_filter", ["devices/+/other", "devices/+/state/more", "devices/+/+/more", "+/+/other"])
def test_walk_wide_level_without_match(topic_filter: str) -> None:
    """Nor does a step go through a wide level because nothing there matches."""
    retained = RetainedMessages(Accounts(), max_per_owner=1)
    for number in range(1_000):
        retained.keep(_message(f"devices/{number}/state", ""))
    found = list(retained.walk(topic_filter))
    assert len(found) >= 1_000
    assert not any(found)


def test_walk_while_changing() -> None:
    """What comes and goes meanwhile breaks no walk."""
    retained = RetainedMessages(Accounts(), max_per_owner=1)
    for number in range(100):
        retained.keep(_message(f"devices/{number}/state", ""))
    walk = retained.walk("#")
    for number in range(100):
        next(walk)
        retained.drop(f"devices/{number}/state")
        retained.keep(_message(f"others/{number}/state", ""))
    assert all(message is None or message.topic for message in walk)
