"""amqtt's plugin events, as a `BrokerObserver`: fired only if a plugin listens to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from amqtt.adapters import BufferReader
from amqtt.events import BrokerEvents, MQTTEvents
from amqtt.mqtt import packet_class
from amqtt.mqtt.packet import CONNECT, MQTTFixedHeader
from amqtt.session import IncomingApplicationMessage

from fleetkey.broker.amqtt.older_packets import as_mqtt_3_1_1
from fleetkey.broker.amqtt.private import heard_events_of
from fleetkey.broker.amqtt.views import retained_view

if TYPE_CHECKING:
    import asyncio

    from amqtt.broker import BrokerContext
    from amqtt.events import Events as AmqttEvents
    from amqtt.plugins.manager import PluginManager

    from fleetkey.broker.amqtt.views import SessionViews
    from fleetkey.broker.message import Message
    from fleetkey.broker.retained import RetainedMessage
    from fleetkey.broker.session import Session

__all__ = ["PluginEvents"]


class PluginEvents:
    """Notifies amqtt's plugins of events."""

    def __init__(
        self, plugins: PluginManager[BrokerContext], views: SessionViews, loop: asyncio.AbstractEventLoop
    ) -> None:
        self._plugins = plugins
        self._views = views
        self._heard = heard = heard_events_of(plugins)
        self.hears_messages = bool(heard & {BrokerEvents.MESSAGE_RECEIVED, BrokerEvents.MESSAGE_BROADCAST})
        self.hears_packets_in = MQTTEvents.PACKET_RECEIVED in heard
        self.hears_packets_out = MQTTEvents.PACKET_SENT in heard
        self._tasks: set[asyncio.Future[Any]] = set()
        self._loop = loop

    def connected(self, session: Session) -> None:
        """A session has a connection."""
        if BrokerEvents.CLIENT_CONNECTED in self._heard:
            view = self._views.for_session(session)
            self._fire(BrokerEvents.CLIENT_CONNECTED, client_id=session.client_id, client_session=view)

    def disconnected(self, session: Session, address: str) -> None:
        """A session's connection is gone."""
        if BrokerEvents.CLIENT_DISCONNECTED in self._heard:
            view = self._views.for_session(session)
            view.remote_address = address
            self._fire(BrokerEvents.CLIENT_DISCONNECTED, client_id=session.client_id, client_session=view)

    def subscribed(self, session: Session, topic_filter: str, qos: int) -> None:
        """A subscription was granted."""
        if BrokerEvents.CLIENT_SUBSCRIBED in self._heard:
            self._fire(BrokerEvents.CLIENT_SUBSCRIBED, client_id=session.client_id, topic=topic_filter, qos=qos)

    def unsubscribed(self, session: Session, topic_filter: str) -> None:
        """A subscription was removed."""
        if BrokerEvents.CLIENT_UNSUBSCRIBED in self._heard:
            self._fire(BrokerEvents.CLIENT_UNSUBSCRIBED, client_id=session.client_id, topic=topic_filter)

    def published(self, client_id: str | None, message: Message) -> None:
        """A client's message was accepted."""
        view = IncomingApplicationMessage(None, message.topic, message.qos, message.payload, retain=False)
        for event in (BrokerEvents.MESSAGE_RECEIVED, BrokerEvents.MESSAGE_BROADCAST):
            if event in self._heard:
                self._fire(event, client_id=client_id, message=view)

    def retained(self, kept: RetainedMessage) -> None:
        """A message was retained."""
        if BrokerEvents.RETAINED_MESSAGE in self._heard:
            self._fire(BrokerEvents.RETAINED_MESSAGE, client_id=None, retained_message=retained_view(kept))

    def packet_received(self, data: bytes, session: Session | None, version: str) -> None:
        """A packet came in; call only if `hears_packets_in`."""
        self._tell_of_packet(MQTTEvents.PACKET_RECEIVED, data, session, version)

    def packet_sent(self, data: bytes, session: Session | None, version: str) -> None:
        """A packet went out; call only if `hears_packets_out`."""
        self._tell_of_packet(MQTTEvents.PACKET_SENT, data, session, version)

    def _tell_of_packet(self, event: AmqttEvents, data: bytes, session: Session | None, version: str) -> None:
        """Fire a packet event; a packet of MQTT 5 as the one of 3.1.1 that means the same, if there is one."""
        as_older = as_mqtt_3_1_1(data, version)
        if as_older is None:
            return
        view = self._views.for_session(session) if session is not None else None
        self._spawn(self._packet(event, as_older, view))

    async def _packet(self, event: AmqttEvents, data: bytes, view: Any) -> None:
        reader = BufferReader(data)
        header = await MQTTFixedHeader.from_stream(reader)
        if header is None:
            return
        packet: Any = await packet_class(header).from_stream(reader, fixed_header=header)
        if header.packet_type == CONNECT:
            # Plugins may log packets, so none may contain a secret.
            packet.payload.password = None
        await self._plugins.fire_event(event, packet=packet, session=view)

    def _fire(self, event: AmqttEvents, **arguments: Any) -> None:
        self._spawn(self._plugins.fire_event(event, **arguments))

    def _spawn(self, coroutine: Any) -> None:
        task = self._loop.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
