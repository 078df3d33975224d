"""A session: subscriptions, queued messages, and unfinished handshakes (MQTT 3.1.1, 3.1.2.4 and 4.1)."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Protocol, cast

from fleetkey.broker import disk_costs
from fleetkey.broker.memory_costs import FILTERS, filter_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fleetkey.access import Principal
    from fleetkey.broker.codec import Codec, Reason, SubscriptionOptions
    from fleetkey.broker.message import OutboundMessage
    from fleetkey.broker.retained import RetainedMessage
    from fleetkey.budget import Account
    from fleetkey.registry import RefusalReason

__all__ = ["NONE", "ClientSink", "Publisher", "RetainedReplay", "Session"]

LAST_PACKET_ID = 65_535
NONE: deque[Any] = cast("deque[Any]", ())
"""Nothing waits. An empty deque takes 0.6 KiB, which is a third of an idle session with three of them."""


class RetainedReplay:
    """The retained messages due to a new subscription (3.3.1-6); each is looked up when it is its turn.

    Messages newer than the subscription are delivered live, so they are left out here.
    """

    __slots__ = ("again", "matches", "newest", "oldest", "options", "topic_filter")

    def __init__(self, topic_filter: str, options: SubscriptionOptions, newest: int) -> None:
        self.topic_filter = topic_filter
        self.options = options
        self.oldest = 0
        self.newest = newest
        """Number of the newest retained message at the time."""
        self.again: RetainedReplay | None = None
        """Those newer than `newest`, if the client subscribed again in the meantime; queued separately."""
        self.matches: Iterator[RetainedMessage | None] | None = None
        """Its progress; None = not started."""


class ClientSink(Protocol):
    """A session's connection, as seen by those that send to it."""

    address: str
    codec: Codec
    principal: Principal | None
    session: Session | None
    is_paused: bool
    """Whether delivery is paused because its client reads too slowly."""
    max_inflight: int
    """How many messages of QoS 1 and 2 may be unacknowledged at a time."""

    @property
    def is_deciding(self) -> bool:
        """Whether its CONNECT is unanswered and its client is still connected."""
        ...

    def send(self, data: bytes) -> None:
        """Send one packet, batched with the others of this turn of the event loop."""
        ...

    def has_room(self, size: int) -> bool:
        """Whether its owner has room for so many bytes that its client doesn't read at once."""
        ...

    def acknowledge(self, packet: bytes, position: int) -> None:
        """Send an acknowledgement once the store has committed up to a position, after every older one."""
        ...

    def log_refusal(self, action: str, topic: bytes, why: RefusalReason | None = None, detail: str = "") -> None:
        """Record a refused topic or filter; log the first one of this connection, since the others would repeat it."""
        ...

    def call_next_turn(self, callback: Callable[..., None], *arguments: Any) -> None:
        """Call `callback` after the other connections have had their turn."""
        ...

    def check_room_next(self) -> None:
        """After the next packets, wait: its owner is held back."""
        ...

    def close(self, reason: Reason, *, is_graceful: bool = False) -> None:
        """Close it; gracefully means without the will."""
        ...

    def abort(self, reason: Reason) -> None:
        """Close it at once, discarding the will and unsent data."""
        ...

    def stop(self) -> None:
        """Send and handle nothing more; `abort` follows."""
        ...


class Publisher(ClientSink, Protocol):
    """A connection that waits while its message is sent in turns."""

    def begin_work(self, size: int = 0) -> None:
        """Handle no packets until `end_work`."""
        ...

    def end_work(self) -> None:
        """Resume handling packets, if `begin_work` stopped that."""
        ...


class Session:
    """A client's session. It belongs to the principal's owner: a device, or one application key.

    Compared by identity, so that a new session is never mistaken for an older one with the same client id.
    """

    __slots__ = (
        "__weakref__",
        "changed_at",
        "client_id",
        "connection",
        "disk",
        "expires_at",
        "expiry_seconds",
        "followers",
        "inbound",
        "inflight",
        "is_drain_due",
        "is_drop_logged",
        "is_kept",
        "is_over",
        "last_packet_id",
        "memory",
        "owner",
        "principal",
        "queue",
        "queued_bytes",
        "queued_messages",
        "replays",
        "resending",
        "row",
        "subscriptions",
        "unsent",
    )

    def __init__(
        self,
        client_id: str,
        principal: Principal | None,
        owner: str,
        *,
        is_kept: bool,
        memory: Account,
        disk: Account,
    ) -> None:
        self.client_id = client_id
        self.owner = owner
        self.memory = memory
        self.disk = disk
        """Its owner's accounts, which everything in it is charged to."""
        self.principal = principal
        """Its latest principal; None after a restart, until its owner reconnects."""
        self.is_kept = is_kept
        """Whether it survives its connection and a restart."""
        self.connection: ClientSink | None = None
        self.subscriptions: dict[str, SubscriptionOptions] = {}
        self.changed_at = 0
        """The last of `SubscriptionTrie.changes` that removed or replaced one of them."""
        self.queue: deque[OutboundMessage | RetainedReplay] = NONE
        self.queued_messages = 0
        self.queued_bytes = 0
        """What the queue counts against its bounds: its messages, but not retained ones, which are only looked up."""
        self.replays: dict[str, RetainedReplay] = {}
        """The replays in the queue, by filter; there are at most as many as subscriptions."""
        self.followers = 0
        """How many QoS 0 messages in the queue wait behind retained ones."""
        self.resending: deque[OutboundMessage] = NONE
        """Messages of `inflight` to resend to a new connection before anything else."""
        self.unsent: deque[OutboundMessage] = NONE
        """The tail of `inflight`: messages whose packet id isn't committed yet, and those that wait behind them."""
        self.is_drain_due = False
        """Whether draining continues by itself in the next turn of the event loop."""
        self.inflight: dict[int, OutboundMessage] = {}
        self.inbound: dict[int, int] = {}
        """Packet ids of QoS 2 messages that were received and not yet released (4.3.3), each with the store's position
        that must be committed before it is acknowledged; 0 = none."""
        self.last_packet_id = 0
        self.expiry_seconds = 0
        """How long it is kept after its connection."""
        self.expires_at: float | None = None
        """When it expires, by `SteadyClock.lasted`; None while its client is connected."""
        self.row = 0
        self.is_drop_logged = False
        self.is_over = False
        """Whether it was dropped; the subscription trie may still contain it for a while."""

    def next_packet_id(self) -> int:
        """Return an id that no unfinished handshake uses (2.3.1-4); there are always fewer handshakes than ids."""
        candidate = self.last_packet_id
        while True:
            candidate = candidate % LAST_PACKET_ID + 1
            if candidate not in self.inflight:
                self.last_packet_id = candidate
                return candidate

    def charge_filter(self, topic_filter: str) -> None:
        """Charge a filter to the owner, apart from what it takes in the tree."""
        self.memory.charge_anyway(FILTERS, filter_bytes(topic_filter))
        if self.is_kept:
            self.disk.charge_anyway(FILTERS, disk_costs.subscription_bytes(topic_filter))

    def release_filter(self, topic_filter: str) -> None:
        """Release what `charge_filter` charged."""
        self.memory.release(FILTERS, filter_bytes(topic_filter))
        if self.is_kept:
            self.disk.release(FILTERS, disk_costs.subscription_bytes(topic_filter))

    def append(self, entry: OutboundMessage | RetainedReplay) -> None:
        """Put a message, or retained ones, at the end of the queue."""
        if not self.queue:
            self.queue = deque()
        self.queue.append(entry)

    def postpone(self, outgoing: OutboundMessage) -> None:
        """Add a message in flight to those that aren't sent yet."""
        if not self.unsent:
            self.unsent = deque()
        self.unsent.append(outgoing)

    def tidy(self) -> None:
        """Release the memory of what has become empty."""
        self.queue = self.queue or NONE
        self.resending = self.resending or NONE
        self.unsent = self.unsent or NONE
