"""What the rest of Fleetkey needs of whoever carries the messages: the bundled broker, or one outside this process."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Iterable, Mapping, Sequence

    from fleetkey.broker.codec import Reason
    from fleetkey.broker.listeners import ListenerName

__all__ = ["BrokerEngine", "EngineCounters", "EngineError", "OwnedMessages", "SessionInfo", "TappedMessage"]


class EngineError(Exception):
    """The engine couldn't do it, or didn't within its deadline; the message is for the operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionInfo:
    """One session, as of now."""

    client_id: str
    owner: str
    is_connected: bool
    address: str
    """Where it is connected from; empty if it isn't."""
    filters: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnedMessages:
    """What is kept for an owner, as of now."""

    queued: int
    """Messages that wait in its sessions."""
    queued_bytes: int
    retained: int
    """Retained messages that it published."""
    retained_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TappedMessage:
    """A message on a topic that is listened to."""

    topic: str
    payload: bytes = field(repr=False)
    missed: int
    """Messages before it that came faster than they were taken."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineCounters:
    """Numbers for the metrics: the first three as of now, the others since the start."""

    connections: int
    sessions: int
    retained: int
    messages_received: int
    messages_delivered: int
    connects: int
    refusals: Mapping[int, int]
    """By CONNACK return code."""
    disconnections: Mapping[str, int]
    """By reason."""
    bounds: Mapping[str, int]
    """By setting."""


class BrokerEngine(Protocol):
    """Every method that is asynchronous raises `EngineError`, after the engine's deadline at the latest."""

    async def start(self) -> None:
        """Take clients. Raises `ListenerError` for an address that can't be bound, too."""
        ...

    async def stop(self) -> None:
        """Close every connection, keep what has to be kept, and stop."""
        ...

    async def listeners(self) -> Mapping[ListenerName, int]:
        """Return the ports that clients may come to."""
        ...

    async def can_store(self) -> bool:
        """Whether what has to be stored can be: on a full disk it can't."""
        ...

    async def counters(self) -> EngineCounters:
        """Return what is counted."""
        ...

    async def owners(self) -> set[str]:
        """Return of whom there is anything: device ids and application keys."""
        ...

    async def connected(self) -> set[str]:
        """Return the owners that are connected."""
        ...

    async def sessions_of(self, owner: str) -> list[SessionInfo]:
        """Return an owner's sessions."""
        ...

    async def messages_of(self, owner: str) -> OwnedMessages:
        """Return what is kept for an owner."""
        ...

    async def disconnect(self, owner: str, reason: Reason, *, sends_will: bool) -> int:
        """Close an owner's connections; return how many there were."""
        ...

    async def forget(self, owner: str) -> None:
        """Leave nothing of an owner: sessions, queues, retained messages."""
        ...

    def tap(self, filters: Iterable[str]) -> AsyncIterator[TappedMessage]:
        """Listen to what is published on topics, such as one device's, until the iterator is closed."""
        ...

    @property
    def tls_contexts(self) -> Sequence[ssl.SSLContext]:
        """Those of the listeners in this process that speak TLS, so that certificates can be changed."""
        ...
