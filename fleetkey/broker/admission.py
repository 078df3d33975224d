"""From a CONNECT to a principal with a session. Until then nothing that exists is read or changed."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING

import structlog

from fleetkey.access import ConnectAttempt, Granted, Refusal, Refused
from fleetkey.auth_plugin import FleetkeyAuthPlugin
from fleetkey.broker import packets
from fleetkey.broker.stream import State

if TYPE_CHECKING:
    from amqtt.broker import BrokerContext
    from amqtt.plugins.manager import PluginManager

    from fleetkey.access import Authenticator, Principal
    from fleetkey.broker.connection import Connection
    from fleetkey.broker.hub import Hub
    from fleetkey.broker.packets import Connect
    from fleetkey.broker.views import SessionViews

__all__ = ["Admission"]

log = structlog.get_logger(__name__)

IDENTIFIER_REJECTED = 2
SERVER_UNAVAILABLE = 3
NOT_AUTHORIZED = 5


class Admission:
    """Asks the authenticator, and every other auth plugin as well; all of them must agree."""

    def __init__(
        self, authenticator: Authenticator, plugins: PluginManager[BrokerContext], views: SessionViews
    ) -> None:
        self._authenticator = authenticator
        self._plugins = plugins
        self._views = views
        # amqtt keeps the auth plugins to itself; ours is asked directly, without a session object.
        self._others = [
            plugin
            for plugin in plugins._auth_plugins  # noqa: SLF001
            if not isinstance(plugin, FleetkeyAuthPlugin)
        ]
        self._tasks: set[asyncio.Task[None]] = set()
        self.hub: Hub

    def decide(self, connection: Connection, connect: Connect) -> None:
        """Decide at once if the secret was verified lately; otherwise later, reading nothing meanwhile."""
        attempt = ConnectAttempt(
            client_id=connect.client_id,
            username=connect.username,
            password=connect.password,
            address=connection.address,
            will_topic=connect.will.topic if connect.will else None,
        )
        connection.connect = None
        # Wrong whoever it is: before anything is asked or noted about who it is.
        if self._is_will_too_long(connect):
            self._refuse(connection, NOT_AUTHORIZED)
            return
        remembered = self._authenticator.remembered(attempt) if not self._others else None
        if remembered is not None:
            self._admit(connection, connect, remembered.principal)
            return
        connection.suspend()
        task = self.hub.loop.create_task(self._decide_later(connection, connect, attempt))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Give up what is being decided."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _decide_later(self, connection: Connection, connect: Connect, attempt: ConnectAttempt) -> None:
        try:
            outcome = await self._authenticator.authenticate(attempt)
            if isinstance(outcome, Granted) and not await self._others_agree(connection, connect, outcome):
                outcome = Refused(Refusal.WRONG_SECRET)
        except Exception:
            # Whatever went wrong, the client gets an answer and stays out.
            log.exception("authentication_failed")
            outcome = Refused(Refusal.STORE_UNAVAILABLE)
        if connection.state is not State.DECIDING:
            return
        if isinstance(outcome, Granted):
            self._admit(connection, connect, outcome.principal)
        else:
            self._refuse(connection, outcome.return_code)

    async def _others_agree(self, connection: Connection, connect: Connect, granted: Granted) -> bool:
        if not self._others:
            return True
        view = self._views.for_attempt(connection, connect, granted)
        answers = await asyncio.gather(*(plugin.authenticate(session=view) for plugin in self._others))
        view.password = None
        return all(answer is None or answer for answer in answers)

    def _admit(self, connection: Connection, connect: Connect, principal: Principal) -> None:
        client_id = connect.client_id
        if principal.is_revoked:
            self._refuse(connection, NOT_AUTHORIZED)
            return
        if not client_id:
            if not connect.is_clean:
                # 3.1.3-8: a session that is to be found again needs a name.
                self._refuse(connection, IDENTIFIER_REJECTED)
                return
            client_id = f"auto-{secrets.token_hex(12)}"
        existing = self.hub.sessions.get(client_id)
        if existing is not None and existing.owner != principal.owner:
            log.info("login_refused", reason="session_of_another", address=connection.address, code=IDENTIFIER_REJECTED)
            self._refuse(connection, IDENTIFIER_REJECTED)
            return
        is_present, must_wait = self.hub.open_session(connection, connect, principal, client_id)
        if not must_wait:
            self._welcome(connection, connect, is_present=is_present)
            return
        # 3.1.2-6: a clean session ends the older one for good, so the store forgets that one first.
        connection.suspend()

        def committed(is_stored: bool) -> None:  # noqa: FBT001 - the store's callback
            if connection.state is not State.DECIDING:
                return
            if is_stored:
                self._welcome(connection, connect, is_present=is_present)
            else:
                self._refuse(connection, SERVER_UNAVAILABLE)

        self.hub.store.after_commit(committed)

    def revoke(self, connection: Connection) -> None:
        """End a connection whose principal stopped being valid; one that wasn't answered yet is refused."""
        if connection.state is State.DECIDING:
            self._refuse(connection, NOT_AUTHORIZED)
        else:
            connection.abort("revoked")

    def _is_will_too_long(self, connect: Connect) -> bool:
        if connect.will is None:
            return False
        limits, topic = self.hub.limits, connect.will.topic
        return len(topic.encode()) > limits.max_topic_bytes or topic.count("/") >= limits.max_topic_levels

    def _welcome(self, connection: Connection, connect: Connect, *, is_present: bool) -> None:
        connection.state, connection.will = State.OPEN, connect.will
        connection.send(packets.connack(0, is_session_present=is_present))
        self.hub.opened(connection, is_resumed=is_present)
        connection.proceed()

    def _refuse(self, connection: Connection, return_code: int) -> None:
        self.hub.counters.refusals[return_code] += 1
        connection.send(packets.connack(return_code))
        connection.close("refused", is_graceful=True)
