"""The protocols through which the broker's core uses its host, so that it depends on none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleetkey.access import Action, Granted
    from fleetkey.broker.codec import Connect
    from fleetkey.broker.message import Message
    from fleetkey.broker.retained import RetainedMessage
    from fleetkey.broker.session import Session

__all__ = ["BrokerObserver", "ConnectAuthorizer", "Flushable", "TopicAuthorizer", "WriteScheduler"]


class Flushable(Protocol):
    """Collects bytes during a turn of the event loop."""

    def flush(self) -> None:
        """Send the collected bytes."""
        ...


class WriteScheduler(Protocol):
    """Schedules when connections' bytes are sent."""

    now: float
    """The event loop's time, as of the last tick."""

    def time(self) -> float:
        """Return the event loop's time, exactly."""
        ...

    def flush_soon(self, stream: Flushable) -> None:
        """Flush a stream at the end of this turn of the event loop."""
        ...

    def call_next_turn(self, callback: Callable[..., None], *arguments: Any) -> None:
        """Call `callback` after the other connections have had their turn."""
        ...

    def linger(self, callback: Callable[[], None]) -> None:
        """Call `callback` when a closing connection's time is over."""
        ...


class BrokerObserver(Protocol):
    """Is notified of events; decides nothing."""

    hears_messages: bool
    hears_packets_in: bool
    hears_packets_out: bool

    def connected(self, session: Session) -> None:
        """A session has a connection."""
        ...

    def disconnected(self, session: Session, address: str) -> None:
        """A session's connection is gone."""
        ...

    def subscribed(self, session: Session, topic_filter: str, qos: int) -> None:
        """A subscription was granted."""
        ...

    def unsubscribed(self, session: Session, topic_filter: str) -> None:
        """A subscription was removed."""
        ...

    def published(self, client_id: str | None, message: Message) -> None:
        """A client's message was accepted."""
        ...

    def retained(self, kept: RetainedMessage) -> None:
        """A message was retained."""
        ...

    def packet_received(self, data: bytes, session: Session | None, version: str) -> None:
        """A packet came in; called only if `hears_packets_in`."""
        ...

    def packet_sent(self, data: bytes, session: Session | None, version: str) -> None:
        """A packet went out; called only if `hears_packets_out`."""
        ...


class TopicAuthorizer(Protocol):
    """Must allow a topic in addition to the principal's scope. Never raises, and caches nothing."""

    def __bool__(self) -> bool:
        """Return whether there is anything to ask."""
        ...

    def allow(self, session: Session, action: Action, topic: str) -> bool:
        """Decide about a topic, or a filter to subscribe to."""
        ...


class ConnectAuthorizer(Protocol):
    """Must agree to a CONNECT in addition to the authenticator."""

    def __bool__(self) -> bool:
        """Return whether there is anything to ask."""
        ...

    async def agree(self, connect: Connect, granted: Granted, *, address: str, transport: Any) -> bool:
        """Decide. Any exception is a refusal."""
        ...
