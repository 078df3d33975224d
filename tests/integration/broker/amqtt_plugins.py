"""Plugins that the tests have amqtt load by name."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from amqtt.broker import BrokerContext
from amqtt.contexts import Action, BaseContext
from amqtt.plugins.base import BaseAuthPlugin, BasePlugin, BaseTopicPlugin

if TYPE_CHECKING:
    from amqtt.session import Session

__all__ = ["BANNED", "BROKEN", "SLOW", "HourOfTheDay", "PacketCounter", "Recorder", "TopicCensor"]

BANNED, SLOW, BROKEN = "banned", "slow", "broken"


class Recorder(BasePlugin[BrokerContext]):
    """Notes every event, and shows the context to the test."""

    events: list[tuple[str, dict[str, Any]]]
    context_seen: BrokerContext

    def __init__(self, context: BrokerContext) -> None:
        super().__init__(context)
        Recorder.events, Recorder.context_seen = [], context

    async def _note(self, name: str, arguments: dict[str, Any]) -> None:
        Recorder.events.append((name, arguments))

    async def on_broker_client_connected(self, **arguments: Any) -> None:
        """A client is in."""
        await self._note("connected", arguments)

    async def on_broker_client_disconnected(self, **arguments: Any) -> None:
        """A client is gone."""
        await self._note("disconnected", arguments)

    async def on_broker_client_subscribed(self, **arguments: Any) -> None:
        """A subscription was granted."""
        await self._note("subscribed", arguments)

    async def on_broker_client_unsubscribed(self, **arguments: Any) -> None:
        """A subscription has ended."""
        await self._note("unsubscribed", arguments)

    async def on_broker_message_received(self, **arguments: Any) -> None:
        """A message came in."""
        await self._note("received", arguments)

    async def on_broker_message_broadcast(self, **arguments: Any) -> None:
        """A message goes out."""
        await self._note("broadcast", arguments)

    async def on_broker_retained_message(self, **arguments: Any) -> None:
        """A message was retained."""
        await self._note("retained", arguments)

    async def on_mqtt_packet_received(self, **arguments: Any) -> None:
        """A packet came in."""
        await self._note("packet_received", arguments)

    async def on_mqtt_packet_sent(self, **arguments: Any) -> None:
        """A packet went out."""
        await self._note("packet_sent", arguments)


class PacketCounter(BasePlugin[BrokerContext]):
    """Counts the packets that come in."""

    packets = 0

    async def on_mqtt_packet_received(self, **_: Any) -> None:
        """A packet came in."""
        PacketCounter.packets += 1


class TopicCensor(BaseTopicPlugin):
    """Refuses some topics; for one it waits, for one it fails."""

    async def topic_filtering(
        self, *, session: Session | None = None, topic: str | None = None, action: Action | None = None
    ) -> bool | None:
        """Decide by the topic's end."""
        assert session is not None
        assert topic is not None
        if topic.endswith(SLOW):
            await asyncio.sleep(0)
        if topic.endswith(BROKEN):
            raise RuntimeError
        return not (topic.endswith(BANNED) or (action is Action.RECEIVE and topic.endswith("unheard")))


class HourOfTheDay(BaseAuthPlugin):
    """Lets nobody in whose user name it has been told."""

    shut_out: str | None = None

    def __init__(self, context: BaseContext) -> None:
        super().__init__(context)
        HourOfTheDay.shut_out = None

    async def authenticate(self, *, session: Session) -> bool | None:
        """Decide, after a turn of the loop."""
        await asyncio.sleep(0)
        return session.username != HourOfTheDay.shut_out
