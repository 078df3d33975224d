"""The bundled broker as a `BrokerEngine`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from amqtt.errors import BrokerError

from fleetkey.broker.amqtt.configuration import broker_config
from fleetkey.broker.amqtt.host import FleetkeyBroker
from fleetkey.broker.engine import EngineCounters, EngineError, OwnedMessages, SessionInfo, TappedMessage
from fleetkey.broker.limits import Limits
from fleetkey.broker.listeners import ListenerError, ListenerName
from fleetkey.broker.tap import tapped

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
    from pathlib import Path

    from fleetkey.access import Authenticator, RefusalRecorder
    from fleetkey.broker.accounts import Accounts
    from fleetkey.broker.codec import Reason
    from fleetkey.broker.presence import PresenceRecorder
    from fleetkey.config import MqttSettings
    from fleetkey.operations import Descriptors
    from fleetkey.registry import SteadyClock

__all__ = ["BundledEngine"]

Item = TypeVar("Item")

ITEMS_PER_TURN = 4_096
"""Sessions or retained messages counted per turn of the event loop."""


class BundledEngine:
    """Runs in this process, so it answers immediately."""

    def __init__(
        self,
        settings: MqttSettings,
        authenticator: Authenticator,
        store_path: Path,
        *,
        presence: PresenceRecorder | None = None,
        clock: SteadyClock | None = None,
        descriptors: Descriptors | None = None,
        accounts: Accounts | None = None,
        recorder: RefusalRecorder | None = None,
    ) -> None:
        """Open `broker.db`.

        Raises:
            EngineError: it can't be used.
        """
        try:
            self._broker = FleetkeyBroker(
                broker_config(settings, authenticator),
                authenticator,
                Limits.from_settings(settings),
                store_path,
                presence=presence,
                clock=clock,
                descriptors=descriptors,
                accounts=accounts,
                recorder=recorder,
            )
        except BrokerError as error:
            raise EngineError(str(error)) from error
        self._core = self._broker.core

    async def start(self) -> None:
        """Load the stored state and start listening. Raises `ListenerError` and `EngineError`."""
        try:
            await self._broker.start()
        except BrokerError as error:
            if isinstance(error.__cause__, ListenerError):
                raise error.__cause__ from error
            raise EngineError(str(error)) from error

    async def stop(self) -> None:
        """Close every connection, commit pending writes, and stop."""
        await self._broker.shutdown()

    async def listeners(self) -> Mapping[ListenerName, int]:
        """Return the ports that are bound."""
        ports = {name: self._broker.port_of(name) for name in ListenerName}
        return {name: port for name, port in ports.items() if port is not None}

    async def can_store(self) -> bool:
        """Return whether the last commit of `broker.db` succeeded."""
        return self._broker.can_store

    async def exhausted(self) -> Sequence[str]:
        """Return what the broker has no more of: `connections` at `max_connections`, `memory`, `disk`."""
        core = self._core
        found = ["connections"] if core.connections.is_full else []
        return found + [
            budget.resource for budget in (core.accounts.memory, core.accounts.disk) if not budget.admits_newcomers
        ]

    async def counters(self) -> EngineCounters:
        """Return the counters."""
        core, counted = self._core, self._core.counters
        return EngineCounters(
            connections=len(core.connections),
            sessions=len(core.sessions),
            retained=len(core.retained),
            messages_received=counted.messages_received,
            messages_delivered=counted.messages_delivered,
            connects=counted.connections,
            refusals=dict(counted.refusals),
            disconnections=dict(counted.disconnections),
            bounds=dict(counted.bounds),
            held_back_seconds=dict(counted.held_back_seconds),
        )

    async def owners(self) -> set[str]:
        """Return the owners of all sessions and retained messages."""
        owners = {session.owner async for session in _in_turns(list(self._core.sessions))}
        owners.update({kept.owner async for kept in _in_turns(list(self._core.retained.all().values()))})
        return owners - {""}

    async def connected(self) -> set[str]:
        """Return the owners that are connected."""
        return {
            session.owner async for session in _in_turns(list(self._core.sessions)) if session.connection is not None
        } - {""}

    async def sessions_of(self, owner: str) -> list[SessionInfo]:
        """Return an owner's sessions."""
        return [
            SessionInfo(
                client_id=session.client_id,
                owner=session.owner,
                is_connected=session.connection is not None,
                address=session.connection.address if session.connection is not None else "",
                filters=tuple(session.subscriptions),
            )
            for session in self._core.sessions.of_owner(owner)
        ]

    async def messages_of(self, owner: str) -> OwnedMessages:
        """Return the queued messages of an owner's sessions, and its retained messages."""
        queued = queued_bytes = retained = retained_bytes = 0
        async for session in _in_turns(self._core.sessions.of_owner(owner)):
            queued += session.queued_messages
            queued_bytes += session.queued_bytes
        async for message in _in_turns(self._core.retained.of_owner(owner)):
            retained += 1
            retained_bytes += len(message.payload)
        return OwnedMessages(queued=queued, queued_bytes=queued_bytes, retained=retained, retained_bytes=retained_bytes)

    async def disconnect(self, owner: str, reason: Reason, *, sends_will: bool) -> int:
        """Close an owner's connections; return how many there were."""
        return self._core.owners.disconnect(owner, reason, sends_will=sends_will)

    async def forget(self, owner: str) -> None:
        """Remove all data of an owner."""
        self._core.owners.forget(owner)

    def tap(self, filters: Iterable[str]) -> AsyncIterator[TappedMessage]:
        """Yield the messages published on topics, until the iterator is closed."""
        return tapped(self._core.sessions, filters)

    @property
    def tls_contexts(self) -> Sequence[ssl.SSLContext]:
        """The TLS contexts of the listeners, once they are started."""
        return self._broker.tls_contexts


async def _in_turns(items: Sequence[Item]) -> AsyncIterator[Item]:
    """Yield items, and let the event loop serve others in between."""
    for start in range(0, len(items), ITEMS_PER_TURN):
        for item in items[start : start + ITEMS_PER_TURN]:
            yield item
        await asyncio.sleep(0)
