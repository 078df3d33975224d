"""Reserving descriptors: how many transports are admitted for each whose number is looked up."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import pytest

from fleetkey.operations import Descriptors
from fleetkey.operations.descriptors import ADMITTED_PER_CHECK

if TYPE_CHECKING:
    import asyncio

ROOM = 100


class _Transport:
    """A transport with a descriptor of this number; counts how often that is looked up."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.lookups = 0

    def get_extra_info(self, name: str) -> Any:
        assert name == "socket"
        self.lookups += 1
        return self

    def fileno(self) -> int:
        return self.number


def _admits(descriptors: Descriptors, transport: _Transport) -> bool:
    return descriptors.admits_transport(cast("asyncio.BaseTransport", transport))


@pytest.fixture
def descriptors(monkeypatch: pytest.MonkeyPatch) -> Descriptors:
    """Let clients have `ROOM` descriptors."""
    found = Descriptors()
    monkeypatch.setattr(found, "_follow_limit", lambda: None)
    found._ceiling = ROOM
    return found


def test_seldom_looked_up(descriptors: Descriptors) -> None:
    """Far from the reserve, the number of one transport in so many is looked up."""
    transport = _Transport(10)
    assert all(_admits(descriptors, transport) for _ in range(2 * ADMITTED_PER_CHECK))
    assert transport.lookups == 2


def test_near_the_reserve(descriptors: Descriptors) -> None:
    """Near it, that of each is, and none in it is admitted."""
    near, beyond = _Transport(ROOM - ADMITTED_PER_CHECK), _Transport(ROOM)
    assert all(_admits(descriptors, near) for _ in range(5))
    assert near.lookups == 5
    assert not any(_admits(descriptors, beyond) for _ in range(5))


def test_closed_already(descriptors: Descriptors) -> None:
    """A transport that is closed says nothing about how many descriptors are left."""
    assert _admits(descriptors, _Transport(-1))
    assert not _admits(descriptors, _Transport(ROOM))
