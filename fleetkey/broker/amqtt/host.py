"""amqtt as the host: its configuration, plugins, events and context around Fleetkey's own core."""

from __future__ import annotations

import asyncio
import functools
import sqlite3
from typing import TYPE_CHECKING, Any

import structlog
from amqtt.broker import Broker, RetainedApplicationMessage, Server
from amqtt.contexts import ListenerType
from amqtt.errors import BrokerError

from fleetkey.access import is_topic_filter
from fleetkey.auth_plugin import FleetkeyAuthPlugin
from fleetkey.broker.amqtt.auth_plugins import AuthPlugins
from fleetkey.broker.amqtt.events import PluginEvents
from fleetkey.broker.amqtt.private import auth_plugins_of, topic_plugins_of
from fleetkey.broker.amqtt.topic_plugins import TopicPlugins
from fleetkey.broker.amqtt.views import SessionViews, retained_view
from fleetkey.broker.codec import SubscriptionOptions
from fleetkey.broker.core import BrokerCore
from fleetkey.broker.listeners import ListenerError, ListenerName
from fleetkey.broker.message import Message
from fleetkey.broker.store import BrokerStore
from fleetkey.broker.transport.listening import listen
from fleetkey.operations import Descriptors
from fleetkey.registry import SteadyClock, StoreError, is_device_id
from fleetkey.tls import Handshakes

if TYPE_CHECKING:
    import ssl
    from pathlib import Path

    from amqtt.contexts import BrokerConfig
    from amqtt.session import Session as AmqttSession

    from fleetkey.access import Authenticator, RefusalRecorder
    from fleetkey.broker.accounts import Accounts
    from fleetkey.broker.limits import Limits
    from fleetkey.broker.presence import PresenceRecorder

__all__ = ["FleetkeyBroker"]

log = structlog.get_logger(__name__)

SUBSCRIPTION_REFUSED = 0x80


class FleetkeyBroker(Broker):
    """amqtt's broker, with connections, sessions and messages handled by Fleetkey.

    Its configuration must include `FleetkeyAuthPlugin`; see `broker_config`. Other auth and topic plugins also apply.
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
        accounts: Accounts | None = None,
        recorder: RefusalRecorder | None = None,
    ) -> None:
        """Load the plugins and open `broker.db`.

        `presence` is notified of connects and disconnects, and `clock` times the expiry of sessions. `descriptors`
        reserves some of the process's file descriptors for purposes other than clients; without it, none are reserved.
        `accounts` has the budgets; without it, those of the default settings apply. `recorder` records refusals.

        Raises:
            BrokerError: the configuration or the store can't be used.
        """
        super().__init__(config)
        clock = clock or SteadyClock()
        try:
            store = BrokerStore(store_path, clock)
        except (sqlite3.Error, OSError) as error:
            msg = f"can't open {store_path}: {error}"
            raise BrokerError(msg) from error
        descriptors = descriptors or Descriptors()
        self._listen = functools.partial(
            listen,
            descriptors=descriptors,
            handshakes=Handshakes(
                "mqtt",
                descriptors,
                most=min(limits.max_pending_connections, limits.max_connections),
                most_per_address=limits.max_pending_per_address,
            ),
            handshake_seconds=limits.connect_timeout_seconds,
        )
        self._store = store
        self._store_path = store_path
        self.tls_contexts: list[ssl.SSLContext] = []
        """The TLS contexts of the listeners, once they are started, so that certificates can be replaced."""
        manager, self._views = self.plugins_manager, SessionViews()
        # Not our own: the principal's scope and the authenticator are asked first, without a session object.
        topic_plugins = [plugin for plugin in topic_plugins_of(manager) if not isinstance(plugin, FleetkeyAuthPlugin)]
        auth_plugins = [plugin for plugin in auth_plugins_of(manager) if not isinstance(plugin, FleetkeyAuthPlugin)]
        self.core = BrokerCore(
            limits,
            store,
            authenticator,
            PluginEvents(manager, self._views, asyncio.get_running_loop()),
            TopicPlugins(topic_plugins, self._views),
            AuthPlugins(auth_plugins, self._views),
            presence=presence,
            clock=clock,
            descriptors=descriptors,
            accounts=accounts,
            recorder=recorder,
        )

    @property
    def can_store(self) -> bool:
        """Whether the last commit succeeded, which fails on a full disk, for example."""
        return not self._store.is_failing

    def port_of(self, listener: str) -> int | None:
        """Return the port that a listener is bound to; None if there is no such listener."""
        server = self._servers.get(listener)
        sockets = getattr(server.instance, "sockets", None) if server else None
        return int(next(iter(sockets)).getsockname()[1]) if sockets else None

    async def start(self) -> None:
        """Load the stored state and open the listeners.

        Raises:
            BrokerError: a store can't be read or written, or a listener can't be bound, in which case the cause is a
                `ListenerError`.
        """
        try:
            await self.core.start()
        except (sqlite3.Error, StoreError) as error:
            self.core.scheduler.stop()
            await self._store.close()
            # The registry's errors already name the file.
            msg = str(error) if isinstance(error, StoreError) else f"can't read {self._store_path}: {error}"
            raise BrokerError(msg) from error
        try:
            await super().start()
        except BrokerError:
            # amqtt's shutdown requires a complete start, but listeners opened before the failed one are still open.
            await self.core.stop()
            for server in self._servers.values():
                await server.close_instance()
            await self.core.close()
            raise

    async def shutdown(self) -> None:
        """Close every connection after sending what is pending, commit pending writes, and stop."""
        for server in self._servers.values():
            # Otherwise, clients that reconnect at once would be accepted again.
            server.instance.close()
        await self.core.stop()
        await super().shutdown()
        await self.core.close()

    @property
    def sessions(self) -> dict[str, Any]:
        """Every session as plugins see it; a new snapshot at each call."""
        return self._views.all(self.core.sessions)

    @property
    def subscriptions(self) -> dict[str, Any]:
        """Every subscription; a new snapshot at each call."""
        return self._views.subscriptions(self.core.subscriptions)

    @property
    def retained_messages(self) -> dict[str, RetainedApplicationMessage]:
        """Every retained message; a new snapshot at each call."""
        return {topic: retained_view(kept) for topic, kept in self.core.retained.all().items()}

    async def internal_message_broadcast(self, topic: str, data: bytes, qos: int | None = None) -> None:
        """Publish a message for the broker or a plugin, including to `$SYS`; return once it is sent to everyone."""
        sent = asyncio.Event()
        self.core.router.publish(Message(topic, topic.encode(), bytes(data), qos or 0), done=lambda _: sent.set())
        await sent.wait()

    async def retain_message(
        self,
        source_session: AmqttSession | None,
        topic_name: str | None,
        data: bytes | bytearray | None,
        qos: int | None = None,
    ) -> None:
        """Retain a message for the broker or a plugin."""
        if topic_name:
            self.core.publisher.retain(Message(topic_name, topic_name.encode(), bytes(data or b""), qos or 0))

    def create_offline_session(self, client_id: str) -> tuple[Any, AmqttSession]:
        """Create a session for a client that isn't connected: only the device with that id may use it."""
        session = self.core.sessions.add(client_id, client_id if is_device_id(client_id) else "", is_kept=True)
        return None, self._views.for_session(session)

    async def add_subscription(self, subscription: tuple[str, int], session: AmqttSession) -> int:
        """Add a subscription for a plugin; each delivery is still authorized for the receiver."""
        topic_filter, qos = subscription
        found = self.core.sessions.get(session.client_id or "")
        if found is None or not is_topic_filter(topic_filter) or (found.is_kept and self._store.is_failing):
            return SUBSCRIPTION_REFUSED
        self.core.sessions.subscribe(found, topic_filter, SubscriptionOptions(qos))
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
                factory = functools.partial(self.core.connection, name, is_websocket=listener.type == ListenerType.WS)
                refused = functools.partial(self.core.refusals.handshake, name)
                instance = await self._listen(factory, host, port, context, refused=refused)
            except OSError as error:
                raise ListenerError(ListenerName(name), error) from error
            self._servers[name] = Server(name, instance)  # type: ignore[arg-type] # or equivalent to one
