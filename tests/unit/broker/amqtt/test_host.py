"""What a plugin may do through amqtt's context, carried out by the broker's own parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from amqtt.broker import Broker, BrokerContext

from fleetkey.broker import FleetkeyBroker
from fleetkey.broker.codec import SubscriptionOptions
from tests.unit.broker.amqtt.engine_rig import DEVICE

if TYPE_CHECKING:
    from tests.unit.broker.amqtt.engine_rig import EngineRig

REFUSED = 0x80


@pytest.fixture
def context(rig: EngineRig) -> BrokerContext:
    """Return what a plugin is given."""
    return BrokerContext(rig.host)


async def test_broadcast(rig: EngineRig, context: BrokerContext) -> None:
    """A plugin's message goes to whoever subscribed."""
    sink, _ = rig.join(DEVICE, "x")
    await context.broadcast_message("x", b"said", 1)
    assert sink.payloads() == [b"said"]


async def test_retain(rig: EngineRig, context: BrokerContext) -> None:
    """A plugin's retained message is kept, and an empty one clears it."""
    await context.retain_message("x", b"kept")
    assert context.retained_messages["x"].data == b"kept"
    await context.retain_message("x", b"")
    assert context.retained_messages == {}


async def test_add_subscription(rig: EngineRig, context: BrokerContext) -> None:
    """For a client that is here, and for a device that has yet to come."""
    sink, session = rig.join(DEVICE)
    await context.add_subscription(DEVICE, "x", 1)
    assert session.subscriptions == {"x": SubscriptionOptions(1)}
    await context.broadcast_message("x", b"said", 1)
    assert sink.payloads() == [b"said"]
    later = "2" * 24
    await context.add_subscription(later, "y", 1)
    await context.broadcast_message("y", b"waits", 1)
    sink, _ = rig.join(later)
    rig.core.sessions.resume(rig.core.sessions.of_owner(later)[0])
    assert sink.payloads() == [b"waits"]
    assert {name: [qos for _, qos in holders] for name, holders in context.subscriptions.items()} == {
        "x": [1],
        "y": [1],
    }


async def test_add_subscription_of_stranger(rig: EngineRig, context: BrokerContext) -> None:
    """A session that is made under any other name is nobody's."""
    await context.add_subscription("somebody", "x", 1)
    session = rig.core.sessions.get("somebody")
    assert session is not None
    assert session.owner == ""


@pytest.mark.parametrize("topic_filter", ["", "a/#/b", "a+", "#a", "a\0"])
async def test_add_subscription_ill_formed(rig: EngineRig, topic_filter: str) -> None:
    """What is no topic filter is refused, as amqtt does."""
    _, session = rig.join(DEVICE)
    view = rig.host.sessions[DEVICE][0]
    assert await rig.host.add_subscription((topic_filter, 1), view) == REFUSED
    assert session.subscriptions == {}


async def test_sessions(rig: EngineRig, context: BrokerContext) -> None:
    """A plugin sees every session as amqtt describes it."""
    rig.join(DEVICE, "x")
    (view,) = context.sessions
    assert view.client_id == DEVICE
    assert context.get_session(DEVICE) is not None
    assert context.get_session("nobody") is None


async def test_names_of_the_host(rig: EngineRig) -> None:
    """What the host puts in place of amqtt's own is known; nothing else of it is hidden by a name of ours."""
    ours = {name for name in vars(FleetkeyBroker) if not (name.startswith("__") and name != "__init__")}
    assert ours & set(dir(Broker)) == {
        "__init__",
        "_start_listeners",
        "add_subscription",
        "create_offline_session",
        "internal_message_broadcast",
        "retain_message",
        "retained_messages",
        "sessions",
        "shutdown",
        "start",
        "subscriptions",
    }
    for name in ("sessions", "subscriptions", "retained_messages"):
        assert isinstance(vars(Broker)[name], property)
    amqtts = vars(Broker(rig.host.config)).keys() | set(dir(Broker))
    assert vars(rig.host).keys() - amqtts == {"_listen", "_store", "_store_path", "_views", "core", "tls_contexts"}
    # And what it uses of amqtt's is there.
    assert {"_servers", "listeners_config", "plugins_manager", "transitions"} <= amqtts
