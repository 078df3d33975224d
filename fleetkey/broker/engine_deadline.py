"""Puts deadlines on calls to an engine, so that callers never wait forever."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from fleetkey.broker.engine import EngineError

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Coroutine, Iterable, Mapping, Sequence

    from fleetkey.broker.codec import Reason
    from fleetkey.broker.engine import BrokerEngine, EngineCounters, OwnedMessages, SessionInfo, TappedMessage
    from fleetkey.broker.listeners import ListenerName

__all__ = ["DeadlineEngine"]

T = TypeVar("T")

ENGINE_SECONDS = 10.0
"""How long an engine may take for any call except start and stop."""
START_SECONDS = 600.0
"""How long it may take to start, which includes loading its whole store."""
STOP_SECONDS = 60.0
"""How long it may take to stop, which includes flushing pending writes."""


class DeadlineEngine:
    """A `BrokerEngine` that wraps another: every asynchronous method raises `EngineError` at its deadline."""

    def __init__(self, engine: BrokerEngine) -> None:
        self._engine = engine

    async def start(self) -> None:
        """Start the engine. May also raise `ListenerError`."""
        await _within(START_SECONDS, "start", self._engine.start())

    async def stop(self) -> None:
        """Stop the engine."""
        await _within(STOP_SECONDS, "stop", self._engine.stop())

    async def listeners(self) -> Mapping[ListenerName, int]:
        """Return the ports that clients can connect to."""
        return await _within(ENGINE_SECONDS, "name its listeners", self._engine.listeners())

    async def can_store(self) -> bool:
        """Return whether messages can be stored."""
        return await _within(ENGINE_SECONDS, "say whether it can store", self._engine.can_store())

    async def exhausted(self) -> Sequence[str]:
        """Return what the broker has no more of."""
        return await _within(ENGINE_SECONDS, "say what is exhausted", self._engine.exhausted())

    async def counters(self) -> EngineCounters:
        """Return the counters."""
        return await _within(ENGINE_SECONDS, "return its counters", self._engine.counters())

    async def owners(self) -> set[str]:
        """Return the owners of everything that is stored."""
        return await _within(ENGINE_SECONDS, "name the owners of its data", self._engine.owners())

    async def connected(self) -> set[str]:
        """Return the owners that are connected."""
        return await _within(ENGINE_SECONDS, "say who is connected", self._engine.connected())

    async def sessions_of(self, owner: str) -> list[SessionInfo]:
        """Return an owner's sessions."""
        return await _within(ENGINE_SECONDS, "return a client's sessions", self._engine.sessions_of(owner))

    async def messages_of(self, owner: str) -> OwnedMessages:
        """Return what is stored for an owner."""
        return await _within(ENGINE_SECONDS, "count a client's messages", self._engine.messages_of(owner))

    async def disconnect(self, owner: str, reason: Reason, *, sends_will: bool) -> int:
        """Close an owner's connections; return how many there were."""
        closing = self._engine.disconnect(owner, reason, sends_will=sends_will)
        return await _within(ENGINE_SECONDS, "disconnect a client", closing)

    async def forget(self, owner: str) -> None:
        """Remove all data of an owner."""
        await _within(ENGINE_SECONDS, "remove a client's data", self._engine.forget(owner))

    def tap(self, filters: Iterable[str]) -> AsyncIterator[TappedMessage]:
        """Yield the messages published on topics; without a deadline, as there may be none for any length of time."""
        return self._engine.tap(filters)

    @property
    def tls_contexts(self) -> Sequence[ssl.SSLContext]:
        """The TLS contexts of the engine's listeners in this process."""
        return self._engine.tls_contexts


async def _within(seconds: float, what: str, doing: Coroutine[None, None, T]) -> T:
    try:
        async with asyncio.timeout(seconds):
            return await doing
    except TimeoutError as error:
        msg = f"the broker didn't {what} within {seconds:g} s"
        raise EngineError(msg) from error
