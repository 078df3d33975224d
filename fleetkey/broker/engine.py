"""What the rest of Fleetkey needs from an engine: the bundled broker, or one outside this process."""

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
    """The engine failed, or missed its deadline; the message is for the operator."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionInfo:
    """The current state of a session."""

    client_id: str
    owner: str
    is_connected: bool
    address: str
    """The address it is connected from; empty if it is not connected."""
    filters: Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnedMessages:
    """What is currently stored for an owner."""

    queued: int
    """Messages queued in its sessions."""
    queued_bytes: int
    retained: int
    """Retained messages that it published."""
    retained_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TappedMessage:
    """A message on a topic of a tap."""

    topic: str
    payload: bytes = field(repr=False)
    missed: int
    """How many messages before it were dropped because they arrived too fast."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineCounters:
    """Numbers for the metrics: the first three are current, the others since the start."""

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
    held_back_seconds: Mapping[str, float]
    """How long devices over their rate weren't read from, by setting."""


class BrokerEngine(Protocol):
    """Every asynchronous method may raise `EngineError`, at the latest after the engine's deadline."""

    async def start(self) -> None:
        """Start accepting clients. May also raise `ListenerError`, for an address that can't be bound."""
        ...

    async def stop(self) -> None:
        """Close every connection, store what must be kept, and stop."""
        ...

    async def listeners(self) -> Mapping[ListenerName, int]:
        """Return the ports that clients can connect to."""
        ...

    async def can_store(self) -> bool:
        """Return whether messages can be stored, which fails on a full disk, for example."""
        ...

    async def exhausted(self) -> Sequence[str]:
        """Return what is used up, so that new clients are refused: any of `connections`, `memory`, `disk`."""
        ...

    async def counters(self) -> EngineCounters:
        """Return the counters."""
        ...

    async def owners(self) -> set[str]:
        """Return the owners of everything that is stored: device ids and application keys."""
        ...

    async def connected(self) -> set[str]:
        """Return the owners that are connected."""
        ...

    async def sessions_of(self, owner: str) -> list[SessionInfo]:
        """Return an owner's sessions."""
        ...

    async def messages_of(self, owner: str) -> OwnedMessages:
        """Return what is stored for an owner."""
        ...

    async def disconnect(self, owner: str, reason: Reason, *, sends_will: bool) -> int:
        """Close an owner's connections; return how many there were."""
        ...

    async def forget(self, owner: str) -> None:
        """Remove everything of an owner: sessions, queues, retained messages."""
        ...

    def tap(self, filters: Iterable[str]) -> AsyncIterator[TappedMessage]:
        """Yield the messages published on topics, such as one device's, until the iterator is closed."""
        ...

    @property
    def tls_contexts(self) -> Sequence[ssl.SSLContext]:
        """The TLS contexts of listeners in this process, so that certificates can be replaced."""
        ...
