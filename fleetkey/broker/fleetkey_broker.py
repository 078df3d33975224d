"""An amqtt broker with Fleetkey's core between the socket and the plugins."""

from __future__ import annotations

import functools
import sqlite3
from typing import TYPE_CHECKING, Any

import structlog
from amqtt.broker import Broker, RetainedApplicationMessage, Server
from amqtt.contexts import ListenerType
from amqtt.errors import BrokerError

from fleetkey.auth_plugin import FleetkeyAuthPlugin
from fleetkey.broker.admission import Admission
from fleetkey.broker.configuration import ListenerError, ListenerName
from fleetkey.broker.connection import Connection
from fleetkey.broker.events import Events
from fleetkey.broker.hub import LINGER_SECONDS, Hub
from fleetkey.broker.listening import listen
from fleetkey.broker.persistence import BrokerStore
from fleetkey.broker.session import Message, Session
from fleetkey.broker.topic_plugins import TopicPlugins
from fleetkey.broker.views import SessionViews, retained_view
from fleetkey.broker.websocket import serve_websockets
from fleetkey.registry import SteadyClock, is_device_id

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    from amqtt.contexts import BrokerConfig
    from amqtt.session import Session as AmqttSession

    from fleetkey.access import Authenticator, Principal
    from fleetkey.broker.counters import Counters
    from fleetkey.broker.limits import Limits
    from fleetkey.broker.presence import PresenceRecorder
    from fleetkey.operations import Descriptors

__all__ = ["FleetkeyBroker"]

log = structlog.get_logger(__name__)


class FleetkeyBroker(Broker):
    """amqtt's configuration, plugins, events and context; connections, sessions and messages are Fleetkey's own.

    Its configuration must name `FleetkeyAuthPlugin`; see `broker_config`. Other auth and topic plugins are asked too.
    """

    def __init__(
        self,
        config: BrokerConfig,
        authenticator: Authenticator,
        limits: Limits,
        store_path: Path,
        *,
        presence: PresenceRecorder | None = None,
        clock: SteadyClock | None = None,
        descriptors: Descriptors | None = None,
    ) -> None:
        """Load the plugins and open `broker.db`; `presence` is told who comes and goes, `clock` says what has lasted.

        `descriptors` keeps some of the process's for others than clients; without it, clients get them all.

        Raises:
            BrokerError: the configuration or the store can't be used.
        """
        super().__init__(config)
        try:
            store = BrokerStore(store_path)
        except (sqlite3.Error, OSError) as error:
            msg = f"can't open {store_path}: {error}"
            raise BrokerError(msg) from error
        self._store_path = store_path
        self.tls_contexts: list[ssl.SSLContext] = []
        """Those of the listeners that speak TLS, once they listen: so that certificates can be changed."""
        self._views = SessionViews()
        admission = Admission(authenticator, self.plugins_manager, self._views)
        events = Events(self.plugins_manager, self._views)
        # amqtt keeps its topic plugins to itself; ours is the principal's scope, which is asked first.
        foreign = [p for p in self.plugins_manager._topic_plugins if not isinstance(p, FleetkeyAuthPlugin)]  # noqa: SLF001
        topic_plugins = TopicPlugins(foreign, self._views)
        self._hub = Hub(limits, store, admission, events, topic_plugins, clock or SteadyClock(), descriptors)
        self._hub.presence = presence
        admission.hub, events.loop = self._hub, self._hub.loop
        authenticator.on_revoked(self._on_revoked)
        authenticator.on_rescoped(self._hub.scopes_changed)
        authenticator.on_ended(self.forget_owner)

    @property
    def counters(self) -> Counters:
        """What was counted since the start."""
        return self._hub.counters

    @property
    def connection_count(self) -> int:
        """How many connections there are, admitted or not yet."""
        return len(self._hub.population.connections)

    @property
    def session_count(self) -> int:
        """How many sessions there are, connected or not."""
        return len(self._hub.sessions)

    @property
    def retained_count(self) -> int:
        """How many retained messages there are."""
        return len(self._hub.retained)

    @property
    def can_store(self) -> bool:
        """Whether what has to be stored could be, the last time: on a full disk it can't."""
        return not self._hub.store.is_failing

    def port_of(self, listener: str) -> int | None:
        """Return the port that a listener is bound to; None if there is no such listener."""
        server = self._servers.get(listener)
        sockets = getattr(server.instance, "sockets", None) if server else None
        return int(next(iter(sockets)).getsockname()[1]) if sockets else None

    async def start(self) -> None:
        """Load what was stored and open the listeners.

        Raises:
            BrokerError: the store can't be read, or a listener can't be bound; then its cause is a `ListenerError`.
        """
        try:
            self._hub.start()
        except sqlite3.Error as error:
            await self._hub.store.close()
            msg = f"can't read {self._store_path}: {error}"
            raise BrokerError(msg) from error
        if self._hub.presence is not None:
            await self._hub.presence.start()
        try:
            await super().start()
        except BrokerError:
            # amqtt shuts down only what has started as a whole; the listeners before the one that failed are open.
            self._hub.stop()
            await self._hub.admission.close()
            for server in self._servers.values():
                await server.close_instance()
            await self._close_stores()
            raise

    async def shutdown(self) -> None:
        """Close every connection, commit what is noted, and stop."""
        self._hub.stop()
        await self._hub.admission.close()
        await super().shutdown()
        await self._close_stores()

    async def _close_stores(self) -> None:
        if self._hub.presence is not None:
            await self._hub.presence.close()
        await self._hub.store.close()

    def forget_owner(self, owner: str) -> None:
        """Leave nothing of a deleted device or a retired application key: sessions, queues, retained messages."""
        for session in self._hub.sessions_of(owner):
            if session.connection is not None:
                session.connection.abort("deleted")
            self._hub.drop_session(session)
        for topic in self._hub.retained.drop_of(owner):
            self._hub.store.drop_retained(topic)

    def owners(self) -> set[str]:
        """Return whose sessions and retained messages there are: device ids and application keys."""
        owners = {session.owner for session in self._hub.sessions.values()}
        return (owners | {kept.owner for kept in self._hub.retained.all().values()}) - {""}

    @property
    def sessions(self) -> dict[str, Any]:
        """Every session as a plugin may see it; made anew at each call."""
        return self._views.all(self._hub)

    @property
    def subscriptions(self) -> dict[str, Any]:
        """Every subscription; made anew at each call."""
        return self._views.subscriptions(self._hub)

    @property
    def retained_messages(self) -> dict[str, RetainedApplicationMessage]:
        """Every retained message; made anew at each call."""
        return {topic: retained_view(kept) for topic, kept in self._hub.retained.all().items()}

    async def internal_message_broadcast(self, topic: str, data: bytes, qos: int | None = None) -> None:
        """Publish for the broker or a plugin, also to `$SYS`."""
        self._hub.publish(None, Message(topic, topic.encode(), bytes(data), qos or 0))

    async def retain_message(
        self,
        source_session: AmqttSession | None,
        topic_name: str | None,
        data: bytes | bytearray | None,
        qos: int | None = None,
    ) -> None:
        """Retain a message for the broker or a plugin."""
        if topic_name:
            self._hub.retain(Message(topic_name, topic_name.encode(), bytes(data or b""), qos or 0), "")

    def create_offline_session(self, client_id: str) -> tuple[Any, AmqttSession]:
        """Make a session that waits for its owner: the device of that id, and nobody else."""
        session = Session(client_id, None, client_id if is_device_id(client_id) else "", is_clean=False)
        self._hub.sessions[client_id] = session
        self._hub.store.add_session(session)
        return None, self._views.for_session(session)

    async def add_subscription(self, subscription: tuple[str, int], session: AmqttSession) -> int:
        """Add a subscription for a plugin; what is delivered is still decided for the receiver."""
        topic_filter, qos = subscription
        found = self._hub.sessions.get(session.client_id or "")
        if found is None:
            return 0x80
        self._hub.add_subscription(found, topic_filter, qos)
        self._hub.delivery.owe(found, topic_filter, qos)
        self._hub.delivery.pump(found)
        return qos

    async def _start_listeners(self) -> None:
        for name, listener in self.listeners_config.items():
            if not listener.bind:
                continue
            address, port = self._split_bindaddr_port(listener.bind, 1883)
            host = address.strip("[]") if address else None
            context = self._create_ssl_context(listener) if listener.ssl else None
            if context is not None:
                self.tls_contexts.append(context)
            try:
                if listener.type == ListenerType.WS:
                    instance: Any = await serve_websockets(self._hub, name, host, port, context)
                else:
                    instance = await listen(
                        self._hub,
                        functools.partial(Connection, self._hub, name),  # type: ignore[arg-type] # a protocol by its methods
                        host,
                        port,
                        context,
                        shutdown_seconds=LINGER_SECONDS,
                    )
            except OSError as error:
                raise ListenerError(ListenerName(name), error) from error
            self._servers[name] = Server(name, instance)

    def _on_revoked(self, principal: Principal) -> None:
        """Close the connections of a principal that stopped being valid, without their wills."""
        ids = [principal.device_id] if principal.device_id is not None else list(self._hub.sessions)
        for client_id in ids:
            session = self._hub.sessions.get(client_id)
            if session is not None and session.principal is principal and session.connection is not None:
                self._hub.admission.revoke(session.connection)
