"""What each application key has, counted: the same as a walk over everything finds, whatever happens."""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from fleetkey.broker.codec import Reason, SubscriptionOptions
from tests.unit.broker.rig import Parts, Sink, principal

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS = 300
KEYS = ("key-1", "key-2")
DEVICE = "0" * 23 + "1"
CLIENTS = [(key, f"{key}-{number}") for key in KEYS for number in range(4)] + [(DEVICE, DEVICE)]
FILTERS = [f"f/{number}" for number in range(5)]


def _walked(parts: Parts) -> tuple[Counter[str], Counter[str]]:
    """Return how many sessions and filters each key has, found the slow way."""
    sessions, filters = Counter[str](), Counter[str]()
    for session in parts.sessions:
        if session.owner in KEYS:
            sessions[session.owner] += 1
            filters[session.owner] += len(session.subscriptions)
    return sessions, +filters


def _counted(parts: Parts) -> tuple[Counter[str], Counter[str]]:
    shares = parts.applications._shares
    return (
        +Counter({owner: share.sessions for owner, share in shares.items()}),
        +Counter({owner: share.filters for owner, share in shares.items()}),
    )


@pytest.mark.parametrize("seed", range(8))
async def test_counts(new_parts: Callable[..., Parts], seed: int) -> None:
    """Opened, taken over, left, dropped twice, subscribed again, restored: no session and no filter is lost."""
    rng, parts = random.Random(seed), new_parts()
    sinks: dict[str, Sink] = {}
    for _ in range(STEPS):
        owner, client_id = rng.choice(CLIENTS)
        session = parts.sessions.get(client_id)
        match rng.randrange(6):
            case 0 | 1:
                who = principal(owner, is_device=owner == DEVICE)
                sinks[client_id], _ = parts.open(who, client_id=client_id, clean=rng.random() < 0.5)
            case 2 if session is not None and session.connection is not None:
                sinks[client_id].close(Reason.CONNECTION_LOST)
            case 3 if session is not None:
                if session.connection is not None:
                    sinks[client_id].close(Reason.DELETED)
                parts.sessions.drop(session)
            case 4 if session is not None:
                parts.sessions.subscribe(session, rng.choice(FILTERS), SubscriptionOptions(rng.randrange(3)))
            case 5 if session is not None:
                parts.sessions.remove_subscription(session, rng.choice(FILTERS))
        assert _counted(parts) == _walked(parts)
    kept = Counter(session.owner for session in parts.sessions if session.is_kept and session.owner in KEYS)
    await parts.settle()
    await parts.close()
    again = new_parts()
    again.sessions.restore(again.store.load().sessions)
    assert _counted(again) == _walked(again)
    assert _counted(again)[0] == kept
    for session in list(again.sessions):
        again.sessions.drop(session)
    assert len(again.applications) == 0


def test_connections(parts: Parts) -> None:
    """Each counts until its socket is closed, however often that is said; a device's and a stranger's don't."""
    shares, key = parts.applications, principal("key-1")
    connections = [object() for _ in range(3)]
    for connection in connections:
        shares.connected(connection, key)
    shares.connected("a device's", principal(DEVICE, is_device=True))
    assert shares._shares["key-1"].connections == 3
    for connection in (*connections, *connections, "a device's", "a stranger's"):
        shares.disconnected(connection)
    assert len(shares) == 0


async def test_admits(new_parts: Callable[..., Parts]) -> None:
    """A session that is taken over is neither a further connection nor a further session."""
    parts = new_parts(max_connections_per_application=1, max_sessions_per_application=2)
    shares, key = parts.applications, principal("key-1")
    sink, opened = parts.open(key, client_id="one")
    shares.connected(sink, key)
    assert not shares.bound_reached(key, opened.session)
    assert shares.bound_reached(key, None)
    assert not shares.bound_reached(principal("key-2"), None)
    assert not shares.bound_reached(principal(DEVICE, is_device=True), None)
    sink.close(Reason.CONNECTION_LOST)
    assert shares.bound_reached(key, opened.session)
    shares.disconnected(sink)
    assert not shares.bound_reached(key, opened.session)
    parts.open(key, client_id="two")[0].close(Reason.CONNECTION_LOST)
    assert shares.bound_reached(key, None)
    assert not shares.bound_reached(key, opened.session)
    assert parts.counters.bounds == {"max_connections_per_application": 2, "max_sessions_per_application": 1}
