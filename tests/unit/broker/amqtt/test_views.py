"""What amqtt's plugins see of a session, and how long what they note about it is kept."""

from __future__ import annotations

import gc

from fleetkey.broker.amqtt.views import SessionViews
from fleetkey.broker.codec import Reason
from tests.unit.broker.rig import Parts


async def test_for_session(parts: Parts) -> None:
    """A snapshot, in which a plugin finds what it noted before."""
    views = SessionViews()
    sink, session = parts.join("a")
    view = views.for_session(session)
    assert (view.client_id, view.username, view.remote_address) == ("a", "a", sink.address)
    assert view.transitions.state == "connected"
    assert view.transitions.is_connected()
    assert not view.clean_session
    view.attributes["seen"] = 1
    sink.close(Reason.CONNECTION_LOST)
    later = views.for_session(session)
    assert later.attributes == {"seen": 1}
    assert later.transitions.state == "disconnected"
    assert later.remote_address is None


async def test_forgotten_with_session(parts: Parts) -> None:
    """However a session ends, nothing is kept of it: expired or dropped while it was away, or asked about after."""
    views = SessionViews()
    for number in range(20):
        sink, session = parts.join(f"s{number}", clean=number % 2 == 0)
        views.for_session(session).attributes["seen"] = 1
        sink.close(Reason.CONNECTION_LOST)
        parts.sessions.drop(session)
        # The will is decided after its session has ended.
        views.for_session(session)
    del sink, session
    parts.loop.settle()
    gc.collect()
    assert len(views._attributes) == 0
