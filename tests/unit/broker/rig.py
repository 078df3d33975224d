"""The broker's parts without sockets: a loop that a test turns by hand, clients that only note what they are sent."""

from __future__ import annotations

import asyncio
import dataclasses
import sqlite3
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from fleetkey.access import Action, Principal, TopicScope
from fleetkey.broker.accounts import Accounts
from fleetkey.broker.application_shares import ApplicationShares
from fleetkey.broker.bounds import BoundLog
from fleetkey.broker.codec import MQTT_3_1_1, Codec, Connect, Reason, SubscriptionOptions, Will
from fleetkey.broker.counters import Counters
from fleetkey.broker.delivery import Delivery
from fleetkey.broker.handlers import PublishHandler
from fleetkey.broker.limits import Limits
from fleetkey.broker.message import Message
from fleetkey.broker.pending_wills import PendingWills
from fleetkey.broker.retained import RetainedMessage, RetainedMessages
from fleetkey.broker.route_cache import RouteCache
from fleetkey.broker.router import Router
from fleetkey.broker.session import Session
from fleetkey.broker.sessions import OpenedSession, Sessions
from fleetkey.broker.store import BrokerStore
from fleetkey.broker.subscriptions import SubscriptionTrie
from fleetkey.broker.topic_queues import TopicQueues
from fleetkey.broker.work import WorkQueue
from fleetkey.config import LimitSettings, MqttSettings
from fleetkey.registry import KeyKind, RefusalReason, SteadyClock
from fleetkey.registry.clock import SystemTime
from tests.support.packets import Packet, Publication, publication_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = [
    "Acknowledged",
    "Censor",
    "Loop",
    "Observer",
    "OtherCodec",
    "Parts",
    "Sink",
    "Transport",
    "connect",
    "limits",
    "message",
    "packets_of",
    "principal",
    "publications_of",
    "session_of",
]


class Timer(NamedTuple):
    """A call that was put off."""

    delay: float
    callback: Callable[[], Any]
    timers: list[Timer]

    def cancel(self) -> None:
        """Never call back."""
        self.timers.remove(self)


class Loop:
    """Calls back when it is turned; its time is what the test says."""

    def __init__(self) -> None:
        self.due: list[Callable[[], Any]] = []
        self.timers: list[Timer] = []
        self.now = 0.0

    def call_soon(self, callback: Callable[..., Any], *arguments: Any) -> None:
        """Keep a call for the next turn."""
        self.due.append(lambda: callback(*arguments))

    def call_later(self, delay: float, callback: Callable[[], Any]) -> Timer:
        """Call back at the next tick, unless it is cancelled."""
        self.timers.append(Timer(delay, callback, self.timers))
        return self.timers[-1]

    def tick(self) -> None:
        """Do what was put off; what is put off meanwhile waits."""
        for timer in list(self.timers):
            timer.cancel()
            timer.callback()

    def time(self) -> float:
        """Return the time that the test set."""
        return self.now

    def turn(self) -> None:
        """Do what is due; what becomes due meanwhile waits."""
        due, self.due = self.due, []
        for callback in due:
            callback()

    def settle(self) -> int:
        """Turn until nothing is due; return how often."""
        turns = 0
        while self.due:
            self.turn()
            turns += 1
        return turns

    def as_loop(self) -> asyncio.AbstractEventLoop:
        """Return it as what the broker's parts take."""
        return cast("asyncio.AbstractEventLoop", self)


class Time:
    """A time that the test moves."""

    seconds = 1_000_000.0

    def clock(self) -> SteadyClock:
        """Return a clock that tells it."""
        return SteadyClock(
            SystemTime(wall=lambda: self.seconds, monotonic=lambda: self.seconds, boot=lambda: "one boot")
        )


class OtherCodec:
    """Another protocol version: MQTT 3.1.1, but that each PUBLISH is marked."""

    MARK = b"other:"

    def __init__(self) -> None:
        self.encoded = 0
        """How many it wrote."""

        self.wire = self

    def __getattr__(self, name: str) -> Any:
        return getattr(MQTT_3_1_1, name)

    def as_codec(self) -> Codec:
        """Return it as what a connection has."""
        return cast("Codec", self)

    def publish(self, topic: bytes, payload: bytes, **options: Any) -> bytes:
        """Return a PUBLISH whose payload begins with the mark."""
        self.encoded += 1
        return MQTT_3_1_1.publish(topic, self.MARK + payload, **options)


class Acknowledged(NamedTuple):
    """An acknowledgement, and for which position of the store it waits."""

    packet: bytes
    position: int


class Sink:
    """A `ClientSink` that notes what it is sent. Once closed, it parts from its session as a connection does."""

    def __init__(self, who: Principal, loop: Loop, codec: Codec = MQTT_3_1_1) -> None:
        self.address = "192.0.2.1"
        self.codec = codec
        self.principal: Principal | None = who
        self.session: Session | None = None
        self.is_paused = False
        self.is_deciding = False
        self.max_inflight = limits().max_inflight
        self.sent: list[bytes] = []
        self.acknowledged: list[Acknowledged] = []
        self.refused: list[tuple[str, bytes]] = []
        self.closed: list[Reason] = []
        self.is_stopped = False
        self.is_working = False
        """Whether it waits for its message to be sent."""
        self.was_graceful = False
        """Whether it was closed without its will."""
        self.room = 1_000_000
        """How many packets it takes before it is paused."""
        self._loop = loop
        self._leave: Callable[[Session], None] = lambda _: None

    def belong(self, session: Session, leave: Callable[[Session], None]) -> None:
        """Belong to a session; `leave` parts them."""
        self.session, self._leave = session, leave

    def has_room(self, size: int) -> bool:
        """Return that there is room."""
        del size
        return True

    def send(self, data: bytes) -> None:
        """Note a packet."""
        self.sent.append(data)
        self.room -= 1
        if self.room <= 0:
            self.is_paused = True

    def acknowledge(self, packet: bytes, position: int) -> None:
        """Note an acknowledgement."""
        self.acknowledged.append(Acknowledged(packet, position))

    def begin_work(self, size: int = 0) -> None:
        """Wait."""
        self.is_working = True

    def end_work(self) -> None:
        """Go on."""
        self.is_working = False

    def log_refusal(self, action: str, topic: bytes, why: RefusalReason | None = None, detail: str = "") -> None:
        """Note a refusal."""
        self.refused.append((action, topic))

    def call_next_turn(self, callback: Callable[..., None], *arguments: Any) -> None:
        """Call back in the loop's next turn."""
        self._loop.call_soon(callback, *arguments)

    def check_room_next(self) -> None:
        """It reads nothing."""

    def close(self, reason: Reason, *, is_graceful: bool = False) -> None:
        """Note the reason and part from the session."""
        self.closed.append(reason)
        self.was_graceful = is_graceful
        session, self.session = self.session, None
        if session is not None and session.connection is self:
            self._leave(session)

    def abort(self, reason: Reason) -> None:
        """As `close`, without the will."""
        self.close(reason, is_graceful=True)

    def stop(self) -> None:
        """Note it: nothing is sent from here on."""
        self.is_stopped = True

    def take(self) -> list[Publication]:
        """Return the messages that came since the last time."""
        sent, self.sent = self.sent, []
        return publications_of(sent)

    def payloads(self) -> list[bytes]:
        """Return what was in them."""
        return [publication.payload for publication in self.take()]


class Transport:
    """A socket's transport that keeps what is written and says whether it was closed."""

    def __init__(self) -> None:
        self.written = b""
        self.is_closed = self.is_half_closed = self.can_half_close = False

    def can_write_eof(self) -> bool:
        """Return whether it can be half-closed."""
        return self.can_half_close

    def write_eof(self) -> None:
        """Note it: nothing can be written any more."""
        self.is_half_closed = True

    def is_closing(self) -> bool:
        """Return whether it is closed."""
        return self.is_closed

    def get_extra_info(self, name: str) -> Any:
        """Return where the client is, and nothing else."""
        return ("192.0.2.1", 50_000) if name == "peername" else None

    def set_write_buffer_limits(self, high: int, low: int) -> None:
        """Everything is sent at once."""

    def get_write_buffer_size(self) -> int:
        """Return what wasn't sent yet: nothing."""
        return 0

    def write(self, data: bytes) -> None:
        """Keep it."""
        if self.is_half_closed:
            msg = "Cannot call write() after write_eof()"
            raise RuntimeError(msg)
        self.written += data

    def pause_reading(self) -> None:
        """Nothing comes by itself."""

    def resume_reading(self) -> None:
        """Nothing comes by itself."""

    def close(self) -> None:
        """Note it."""
        self.is_closed = True

    def abort(self) -> None:
        """Note it."""
        self.is_closed = True


class Censor:
    """A `TopicAuthorizer` that allows all but some topics, and notes that it was asked."""

    def __init__(self, *forbidden: str, is_asked: bool = True) -> None:
        self.forbidden = set(forbidden)
        self.asked: list[tuple[str, Action, str]] = []
        self._is_asked = is_asked

    def __bool__(self) -> bool:
        return self._is_asked

    def allow(self, session: Session, action: Action, topic: str) -> bool:
        """Allow what isn't forbidden."""
        self.asked.append((session.client_id, action, topic))
        return topic not in self.forbidden


class Observer:
    """A `BrokerObserver` that notes what it is told, by name."""

    hears_messages = hears_packets_in = hears_packets_out = False

    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []

    def connected(self, session: Session) -> None:
        """Note it."""
        self.told.append(("connected", session.client_id))

    def disconnected(self, session: Session, address: str) -> None:
        """Note it."""
        del address
        self.told.append(("disconnected", session.client_id))

    def subscribed(self, session: Session, topic_filter: str, qos: int) -> None:
        """Note it."""
        del session, qos
        self.told.append(("subscribed", topic_filter))

    def unsubscribed(self, session: Session, topic_filter: str) -> None:
        """Note it."""
        del session
        self.told.append(("unsubscribed", topic_filter))

    def published(self, client_id: str | None, message: Message) -> None:
        """Note it."""
        del client_id
        self.told.append(("published", message.topic))

    def retained(self, kept: RetainedMessage) -> None:
        """Note it."""
        self.told.append(("retained", kept.topic))

    def packet_received(self, data: bytes, session: Session | None, version: str) -> None:
        """Nobody hears packets."""

    def packet_sent(self, data: bytes, session: Session | None, version: str) -> None:
        """Nobody hears packets."""


class Parts:
    """The parts between connections and store, over a real file; needs a running loop for the store alone."""

    def __init__(
        self,
        folder: Path,
        *,
        censor: Censor | None = None,
        clock: SteadyClock | None = None,
        budgets: LimitSettings | None = None,
        **bounds: Any,
    ) -> None:
        self._is_closed = False
        self.loop = Loop()
        self.limits = limits(**bounds)
        self.censor = censor or Censor(is_asked=False)
        self.counters = Counters()
        self.accounts = Accounts(budgets)
        self._file = folder / "broker.db"
        self.store = BrokerStore(self._file)
        self.trie = SubscriptionTrie()
        clock = clock or SteadyClock()
        self.retained = RetainedMessages(self.accounts, max_per_owner=self.limits.max_retained, clock=clock)
        self.work = WorkQueue(self.loop.as_loop())
        self.routes = RouteCache(self.trie, self.work)
        self.delivery = Delivery(self.limits, self.store, self.retained, self.censor, self.counters, clock)
        self.topic_queues = TopicQueues(self.work)
        self.router = Router(
            self.trie, self.routes, self.topic_queues, self.delivery, self.censor, self.counters, clock
        )
        self.observer = Observer()
        self.bounds = BoundLog(self.counters)
        self.publisher = PublishHandler(
            self.limits, self.router, self.retained, self.store, self.observer, self.counters, self.bounds
        )
        self.wills = PendingWills(self.limits, self.publisher, self.store, self.censor, clock, self.work)
        self.applications = ApplicationShares(self.limits, self.bounds)
        self.sessions = Sessions(
            self.limits,
            self.trie,
            self.routes,
            self.delivery,
            self.store,
            self.work,
            clock,
            self.accounts,
            self.applications,
            self.wills,
        )

    def open(
        self,
        who: Principal,
        *,
        client_id: str = "",
        clean: bool = False,
        codec: Codec = MQTT_3_1_1,
        sink: Sink | None = None,
    ) -> tuple[Sink, OpenedSession]:
        """Let a client in, and send it what waits for it."""
        sink = sink or Sink(who, self.loop, codec)
        sink.max_inflight = self.limits.max_inflight
        opened = self.sessions.open(sink, connect(clean=clean), who, client_id or who.owner)
        sink.belong(opened.session, self.sessions.leave)
        for _ in self.sessions.reroute(opened.session):
            pass
        self.sessions.resume(opened.session)
        return sink, opened

    def join(
        self, client_id: str, *filters: str, qos: int = 0, clean: bool = False, codec: Codec = MQTT_3_1_1
    ) -> tuple[Sink, Session]:
        """Let a client in that may do everything, and subscribe."""
        sink, opened = self.open(principal(client_id), clean=clean, codec=codec)
        for topic_filter in filters:
            self.sessions.subscribe(opened.session, topic_filter, SubscriptionOptions(qos))
        return sink, opened.session

    def publish(self, topic: str, payload: bytes = b"x", qos: int = 0) -> None:
        """Publish to whoever may have it."""
        self.router.publish(message(topic, payload, qos))

    def retain(self, topic: str, payload: bytes = b"kept", qos: int = 0) -> None:
        """Retain a message, and publish it."""
        kept, older = RetainedMessage(message=message(topic, payload, qos)), self.retained.stored(topic)
        assert self.retained.keep(kept)
        self.store.keep_retained(kept, older)
        self.router.publish(kept.message)

    def restore(self) -> None:
        """Restore what is stored."""
        stored = self.store.load()
        for kept in stored.retained:
            self.retained.restore(kept)
        self.sessions.restore(stored.sessions)

    async def close(self) -> None:
        """Commit what is noted and close the file; safe to call again."""
        if not self._is_closed:
            self._is_closed = True
            await self.store.close()

    @contextmanager
    def failing(self) -> Iterator[None]:
        """Let nothing be committed: somebody else writes."""
        with closing(sqlite3.connect(self._file, isolation_level=None)) as other:
            self.store._connection.execute("PRAGMA busy_timeout = 0")
            other.execute("BEGIN IMMEDIATE")
            yield
            other.execute("ROLLBACK")

    async def settle(self) -> None:
        """Wait until everything noted so far is committed."""
        while not await self.commit():
            pass

    async def commit(self) -> bool:
        """Wait until everything noted so far is committed, or can't be."""
        done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.store.after_commit(done.set_result)
        return await done


def session_of(client_id: str, owner: str = "owner", accounts: Accounts | None = None) -> Session:
    """Return a persistent session that no part knows."""
    accounts = accounts or Accounts()
    return Session(client_id, None, owner, is_kept=True, memory=accounts.memory_of(owner), disk=accounts.disk_of(owner))


def limits(**bounds: Any) -> Limits:
    """Return the default bounds, but for some."""
    return dataclasses.replace(Limits.from_settings(MqttSettings()), **bounds)


def principal(owner: str, *patterns: str, publish: tuple[str, ...] = ("#",), is_device: bool = False) -> Principal:
    """Return an application key, or a device, that may receive some topics; all if none is named."""
    return Principal(
        key=owner,
        kind=KeyKind.DEVICE if is_device else KeyKind.APPLICATION,
        device_id=owner if is_device else None,
        name=None,
        scope=TopicScope(publish=publish, subscribe=patterns or ("#", "$SYS/#")),
    )


def connect(*, clean: bool = True, will: Will | None = None) -> Connect:
    """Return a CONNECT, as far as a session is concerned."""
    return Connect(
        client_id="",
        clean_start=clean,
        session_expiry_seconds=0 if clean else None,
        keep_alive_seconds=0,
        will=will,
        username=None,
        password=None,
    )


def message(topic: str, payload: bytes = b"x", qos: int = 0, owner: str = "") -> Message:
    """Return a message."""
    return Message(topic, topic.encode(), payload, qos, owner)


def packets_of(sent: list[bytes]) -> list[Packet]:
    """Take packets apart, each with its fixed header."""
    packets = []
    for data in sent:
        start = 1
        while data[start] & 0x80:
            start += 1
        packets.append(Packet(data[0] >> 4, data[0] & 0x0F, data[start + 1 :]))
    return packets


def publications_of(sent: list[bytes]) -> list[Publication]:
    """Return the messages among packets."""
    return [publication_of(packet) for packet in packets_of(sent) if packet.kind == 3]
