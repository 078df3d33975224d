"""amqtt's broker, with admission, session ownership, retained messages and revocation decided by principal."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog
from amqtt.broker import Broker
from amqtt.contexts import Action as AmqttAction
from amqtt.errors import MQTTError

from fleetkey.auth_plugin import principal_of, refusal_of
from fleetkey.broker.handshake import abort, read_connect, refuse
from fleetkey.registry import ChangeKind

if TYPE_CHECKING:
    from amqtt.adapters import ReaderAdapter, WriterAdapter
    from amqtt.contexts import BrokerConfig, ListenerConfig
    from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
    from amqtt.session import Session

    from fleetkey.access import Authenticator, Principal

__all__ = ["FleetkeyBroker"]

log = structlog.get_logger(__name__)

NOT_AUTHORIZED = 5
IDENTIFIER_REJECTED = 2
SWEEP_SECONDS = 0.5


class FleetkeyBroker(Broker):
    """An amqtt broker in which nothing is looked at or touched before a client has proven who it is.

    Its configuration must name `FleetkeyAuthPlugin`, which is the only way to become a principal; see `broker_config`.
    """

    def __init__(
        self,
        config: BrokerConfig,
        authenticator: Authenticator,
        *,
        connect_timeout_seconds: float,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, loop=loop)
        self._connect_timeout_seconds = connect_timeout_seconds
        self._sweeper: asyncio.Task[None] | None = None
        self._expulsions: dict[str, asyncio.Task[None]] = {}
        authenticator.on_revoked(self._on_revoked)

    async def start(self) -> None:
        """Open the listeners. Raises `BrokerError` when one can't be bound."""
        await super().start()
        self._sweeper = asyncio.create_task(self._sweep(), name="fleetkey-sweep")

    async def shutdown(self) -> None:
        """Close every connection and stop."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        await super().shutdown()

    def port_of(self, listener: str) -> int | None:
        """Return the port that a listener is bound to; None if there is no such listener."""
        server = self._servers.get(listener)
        sockets = getattr(server.instance, "sockets", None) if server else None
        return int(sockets[0].getsockname()[1]) if sockets else None

    async def _initialize_client_session(
        self, reader: ReaderAdapter, writer: WriterAdapter, remote_address: str, remote_port: int
    ) -> tuple[BrokerProtocolHandler, Session]:
        """Read a CONNECT and decide it before any session is looked up."""
        handler, session = await read_connect(
            reader, writer, self.plugins_manager, timeout_seconds=self._connect_timeout_seconds
        )
        is_admitted = await super()._authenticate(session, self.listeners_config["default"])
        principal = principal_of(session)
        if not is_admitted or principal is None or principal.is_revoked:
            refusal = refusal_of(session)
            await refuse(writer, refusal.return_code if refusal else NOT_AUTHORIZED)
            msg = f"refused {remote_address}:{remote_port}"
            raise MQTTError(msg)
        if self._is_owned_by_another(session, principal):
            log.info("login_refused", reason="session_of_another", address=remote_address, code=IDENTIFIER_REJECTED)
            await refuse(writer, IDENTIFIER_REJECTED)
            msg = f"refused {remote_address}:{remote_port}"
            raise MQTTError(msg)
        return handler, await self._resume_or_begin(session)

    def _is_owned_by_another(self, session: Session, principal: Principal) -> bool:
        existing = self._sessions.get(session.client_id or "", (None, None))[0]
        if existing is None:
            return False
        owner = principal_of(existing)
        return owner is None or owner.owner != principal.owner

    async def _resume_or_begin(self, incoming: Session) -> Session:
        """Find the principal's own session for this client id, or begin one (MQTT 3.1.1, 3.1.2.4)."""
        client_id = incoming.client_id or ""
        existing = self._sessions.get(client_id, (None, None))[0]
        if existing is not None and incoming.clean_session:
            await self._delete_session(client_id)
            existing = None
        if existing is None:
            incoming.parent = 0
            return incoming
        for name in ("will_flag", "will_message", "will_topic", "will_qos", "will_retain", "keep_alive", "attributes"):
            setattr(existing, name, getattr(incoming, name))
        existing.clean_session = False
        existing.remote_address, existing.remote_port = incoming.remote_address, incoming.remote_port
        existing.username = incoming.username
        existing.parent = 1
        return existing

    async def _authenticate(self, session: Session, _: ListenerConfig) -> bool:
        """Confirm what was decided when the CONNECT was read; a key that was revoked since is out."""
        principal = principal_of(session)
        return principal is not None and not principal.is_revoked

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        """Send the retained messages of a subscription that the session has, as far as its scope reaches."""
        topic_filter, qos = subscription
        if not any(subscriber is session for subscriber, _ in self._subscriptions.get(topic_filter, ())):
            return
        handler = self._get_handler(session)
        for topic, retained in list(self._retained_messages.items()):
            if (
                handler is not None
                and self._matches(topic, topic_filter)
                and await self._topic_filtering(session, topic, AmqttAction.RECEIVE)
            ):
                granted = qos if retained.qos is None else min(qos, retained.qos)
                await handler.mqtt_publish(retained.topic, retained.data, granted, retain=True)

    async def _publish_session_retained_messages(self, session: Session) -> None:
        """Send what was queued while the session was away, as far as its scope reaches now."""
        handler = self._get_handler(session)
        while handler is not None and not session.retained_messages.empty():
            queued = session.retained_messages.get_nowait()
            if await self._topic_filtering(session, queued.topic, AmqttAction.RECEIVE):
                await handler.mqtt_publish(queued.topic, queued.data, queued.qos, retain=False)

    def _on_revoked(self, principal: Principal) -> None:
        for session, handler in list(self._sessions.values()):
            if principal_of(session) is principal:
                self._begin_expulsion(session, handler)

    async def _sweep(self) -> None:
        """Close what was admitted while its key was being revoked."""
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            for session, handler in list(self._sessions.values()):
                principal = principal_of(session)
                if (principal is None or principal.is_revoked) and session.transitions.state == "connected":
                    self._begin_expulsion(session, handler)

    def _begin_expulsion(self, session: Session, handler: BrokerProtocolHandler) -> None:
        client_id = session.client_id or ""
        if client_id not in self._expulsions:
            task = asyncio.create_task(self._expel(session, handler), name="fleetkey-expel")
            self._expulsions[client_id] = task
            task.add_done_callback(lambda _: self._expulsions.pop(client_id, None))

    async def _expel(self, session: Session, handler: BrokerProtocolHandler) -> None:
        """Close a connection without its will, and forget a session that nobody may resume any more."""
        principal = principal_of(session)
        session.will_flag = False
        await abort(handler)
        await self._stop_handler(handler)
        is_resumable = principal is not None and principal.revoked_by is ChangeKind.KEY_RETIRED and principal.device_id
        if not is_resumable and self._sessions.get(session.client_id or "", (None, None))[0] is session:
            await self._delete_session(session.client_id or "")
