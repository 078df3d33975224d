"""Connections over the broker's parts, on a loop that a test turns by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from fleetkey.access import Granted
from fleetkey.broker.admission import Admission
from fleetkey.broker.codec import SubscriptionOptions
from fleetkey.broker.connection import Connection
from fleetkey.broker.connection_limits import ConnectionLimits
from fleetkey.broker.connection_parts import ConnectionParts
from fleetkey.broker.device_rates import DeviceRates
from fleetkey.broker.handlers import AcknowledgeHandler, ConnectHandler, SubscribeHandler
from fleetkey.broker.held_back import HeldBackConnections
from fleetkey.broker.lingering import Lingering
from fleetkey.broker.refusals import Refusals
from fleetkey.broker.scheduler import Scheduler
from fleetkey.broker.work import WORK_PER_TURN
from fleetkey.operations import Descriptors
from tests.support import packets as wire
from tests.unit.broker.rig import Censor, Parts, Transport, packets_of

if TYPE_CHECKING:
    import asyncio

    from fleetkey.access import Authenticator, ConnectAttempt, Principal
    from fleetkey.broker.session import Session

__all__ = ["CLIENT", "MANY", "PINGREQ", "Client", "Rig"]

CLIENT = "app"
MANY = [f"devices/{number}/x" for number in range(4 * WORK_PER_TURN)]
"""Each a branch of its own."""
PINGREQ = b"\xc0\0"


class Client:
    """A socket's side of a connection."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.transport = Transport()
        connection.connection_made(cast("asyncio.Transport", self.transport))

    def send(self, data: bytes) -> None:
        """Let something come in."""
        self.connection.data_received(data)

    def packets(self) -> list[bytes]:
        """Return what the client got, packet by packet."""
        packets, rest = [], self.transport.written
        while rest:
            size = 2 + rest[1]
            packets.append(rest[:size])
            rest = rest[size:]
        return packets

    def kinds(self) -> list[int]:
        """Return the kinds of what it got."""
        return [packet.kind for packet in packets_of(self.packets())]


class Rig:
    """Connections over parts; whoever `who` says is let in."""

    def __init__(self, parts: Parts, who: Principal, refusals: Refusals | None = None) -> None:
        self.parts, self.who = parts, who
        refusals = refusals or Refusals()
        scheduler = Scheduler(parts.loop.as_loop())
        self.handler = ConnectHandler(
            Admission(
                parts.limits,
                cast("Authenticator", self),
                Censor(is_asked=False),  # type: ignore[arg-type] # nobody is asked
                parts.sessions,
                parts.bounds,
                parts.applications,
            ),
            parts.sessions,
            parts.publisher,
            parts.store,
            scheduler.work,
            scheduler.connects,
            parts.observer,
            parts.counters,
            None,
            wills=parts.wills,
            limits=parts.limits,
            refusals=refusals,
        )
        self.work = scheduler.work
        self.connection_parts = ConnectionParts(
            limits=parts.limits,
            scheduler=scheduler,
            store=parts.store,
            router=parts.router,
            delivery=parts.delivery,
            observer=parts.observer,
            topic_authorizer=parts.censor,
            connections=ConnectionLimits(parts.limits, parts.bounds, scheduler, Descriptors(), refusals=refusals),
            applications=parts.applications,
            rates=DeviceRates(parts.limits, parts.counters, parts.loop.as_loop()),
            held_back=HeldBackConnections(parts.accounts, parts.sessions),
            lingering=Lingering(parts.bounds),
            bounds=parts.bounds,
            refusals=refusals,
            on_connect=self.handler,
            on_publish=parts.publisher,
            on_subscribe=SubscribeHandler(
                parts.limits,
                parts.sessions,
                parts.delivery,
                parts.store,
                parts.observer,
                parts.censor,
                parts.bounds,
                parts.applications,
            ),
            on_acknowledge=AcknowledgeHandler(parts.delivery, parts.store),
        )

    def recall(self, attempt: ConnectAttempt) -> Granted:
        """Let it in, as an authenticator does that remembers its secret."""
        del attempt
        return Granted(self.who)

    def connect(
        self, *, clean: bool = False, behind: bytes = b"", client_id: str = CLIENT, will: wire.Will | None = None
    ) -> Client:
        """Return a client that sent its CONNECT, and something right behind it."""
        client = Client(Connection(self.connection_parts, "tcp"))
        client.send(wire.connect(client_id, username="user", password=b"secret", clean=clean, will=will) + behind)
        return client

    def away(self, *filters: str) -> Session:
        """Return a session with subscriptions whose client is away."""
        session = self.parts.sessions.add(CLIENT, self.who.owner, is_kept=True)
        for topic_filter in filters:
            self.parts.sessions.add_subscription(session, topic_filter, SubscriptionOptions(1))
        self.parts.sessions.leave(session)
        return session

    def turn_until_answered(self, client: Client) -> int:
        """Turn the loop until the client has its answer; return how many turns it waited."""
        turns = 0
        while not client.packets():
            assert self.parts.loop.due
            self.parts.loop.turn()
            turns += 1
        return turns
