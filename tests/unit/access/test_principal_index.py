"""Principals, and their index."""

from __future__ import annotations

import gc

import pytest

from fleetkey.access import Action, Principal, TopicScope
from fleetkey.access.login.principal_index import PrincipalIndex
from fleetkey.registry import KeyKind


def _principal(key: str, device_id: str | None = "d1") -> Principal:
    kind = KeyKind.DEVICE if device_id else KeyKind.APPLICATION
    scope = TopicScope(publish=["up/#"], subscribe=["down/#"])
    return Principal(key=key, kind=kind, device_id=device_id, name=None, scope=scope)


@pytest.mark.parametrize(
    ("action", "topic", "allowed"),
    [
        (Action.PUBLISH, "up/x", True),
        (Action.PUBLISH, "down/x", False),
        (Action.SUBSCRIBE, "down/+", True),
        (Action.SUBSCRIBE, "up/+", False),
        (Action.RECEIVE, "down/x", True),
        (Action.RECEIVE, "up/x", False),
    ],
)
def test_allows(action: Action, topic: str, allowed: bool) -> None:  # noqa: FBT001 - a table
    """A principal may do what its scope allows, and nothing once it is revoked."""
    principal = _principal("k1")
    assert principal.allows(action, topic) is allowed
    principal.is_revoked = True
    assert not principal.allows(action, topic)


def test_owner() -> None:
    """All keys of a device share the ownership of its sessions; an application key owns its own."""
    assert _principal("k1").owner == _principal("k2").owner == "d1"
    assert _principal("k3", device_id=None).owner == "k3"


def test_index_finds() -> None:
    """A principal is found by key and by device, and an application among the applications."""
    index = PrincipalIndex()
    first, second, other, application = (
        _principal("k1"),
        _principal("k2"),
        _principal("k3", "d2"),
        _principal("k4", device_id=None),
    )
    for principal in (first, second, other, application):
        index.add(principal)
    assert index.by_key("k1") is first
    assert index.by_key("k9") is None
    assert set(index.of_device("d1")) == {first, second}
    assert index.of_device("d9") == []
    assert index.applications() == [application]
    assert len(index.all()) == 4


def test_index_keeps_nobody() -> None:
    """The index alone keeps no principal alive, and what it holds about devices that are gone is bounded."""
    index = PrincipalIndex()
    kept = _principal("kept", "kept")
    index.add(kept)
    for number in range(5_000):
        index.add(_principal(f"k{number}", f"d{number}"))
    gc.collect()
    assert index.all() == [kept]
    assert len(index._keys_of_device) < 1_100
    assert index.of_device("kept") == [kept]
