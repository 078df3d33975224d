"""A session: subscriptions, what waits to be delivered, and unfinished handshakes (MQTT 3.1.1, 3.1.2.4 and 4.1)."""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fleetkey.access import Principal
    from fleetkey.broker.codec import Codec, Reason, SubscriptionOptions
    from fleetkey.broker.retained import RetainedMessage

__all__ = ["ClientSink", "Message", "OutboundMessage", "RetainedReplay", "Session"]

LAST_PACKET_ID = 65_535


class Message:
    """One published message, shared by everyone it goes to."""

    __slots__ = ("payload", "qos", "topic", "topic_bytes")

    def __init__(self, topic: str, topic_bytes: bytes, payload: bytes, qos: int) -> None:
        self.topic = topic
        self.topic_bytes = topic_bytes
        self.payload = payload
        self.qos = qos

    @property
    def size(self) -> int:
        """Bytes of topic and payload."""
        return len(self.topic_bytes) + len(self.payload)


class OutboundMessage:
    """One message on its way to one session."""

    __slots__ = ("is_released", "is_retained", "is_sent", "message", "must_wait", "packet_id", "qos", "row")

    def __init__(self, message: Message, qos: int, *, is_retained: bool = False) -> None:
        self.message = message
        self.qos = qos
        self.is_retained = is_retained
        self.packet_id = 0
        self.is_sent = False
        self.is_released = False
        """QoS 2: PUBREC has come, so PUBREL is what is resent (4.3.3)."""
        self.row = 0
        """Its row in the broker's store; 0 = not stored."""
        self.must_wait = False
        """Whether it is sent only when its packet id is committed: after a kill it must come under the same one."""


class RetainedReplay:
    """The retained messages that a new subscription is to be sent (3.3.1-6); each is looked up when its turn comes.

    What is newer than the subscription comes as a live message, so it is left out here.
    """

    __slots__ = ("again", "matches", "newest", "oldest", "options", "topic_filter")

    def __init__(self, topic_filter: str, options: SubscriptionOptions, newest: int) -> None:
        self.topic_filter = topic_filter
        self.options = options
        self.oldest = 0
        self.newest = newest
        """Number of the newest retained message that there was."""
        self.again: RetainedReplay | None = None
        """Those newer than `newest`, if the subscription was made again meanwhile; with its own place in the queue."""
        self.matches: Iterator[RetainedMessage | None] | None = None
        """How far it has come; None = not begun."""


class ClientSink(Protocol):
    """The connection of a session, as whoever sends to it sees it."""

    address: str
    codec: Codec
    principal: Principal | None
    session: Session | None
    is_paused: bool
    """Whether its client reads too little; then nothing is delivered."""

    @property
    def is_deciding(self) -> bool:
        """Whether its CONNECT isn't answered yet, and its client is still there."""
        ...

    def send(self, data: bytes) -> None:
        """Send one packet, with whatever else is sent in this turn of the loop."""
        ...

    def acknowledge(self, packet: bytes, position: int) -> None:
        """Send an acknowledgement once the store has committed up to a position, and behind every older one."""
        ...

    def log_refusal(self, action: str, topic: bytes) -> None:
        """Log the first refusal of this connection; the others would only repeat it."""
        ...

    def call_next_turn(self, callback: Callable[..., None], *arguments: Any) -> None:
        """Call back after the other connections had their turn."""
        ...

    def close(self, reason: Reason, *, is_graceful: bool = False) -> None:
        """Close it; gracefully means without the will."""
        ...

    def abort(self, reason: Reason) -> None:
        """Close it at once, without the will and whatever is still to be written."""
        ...


class Session:
    """Belongs to the principal's owner: a device, or one application key.

    Compared by identity, so that a new session with an old client id is never taken for the old one.
    """

    __slots__ = (
        "__weakref__",
        "client_id",
        "connection",
        "expires_at",
        "followers",
        "inbound",
        "inflight",
        "is_drain_due",
        "is_drop_logged",
        "is_kept",
        "is_over",
        "last_packet_id",
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

    def __init__(self, client_id: str, principal: Principal | None, owner: str, *, is_kept: bool) -> None:
        self.client_id = client_id
        self.owner = owner
        self.principal = principal
        """Who it was lately; None after a restart, until its owner comes back."""
        self.is_kept = is_kept
        """Whether it outlives its connection, and a restart."""
        self.connection: ClientSink | None = None
        self.subscriptions: dict[str, SubscriptionOptions] = {}
        self.queue: deque[OutboundMessage | RetainedReplay] = deque()
        self.queued_messages = 0
        self.queued_bytes = 0
        """What of the queue counts against its bounds: the messages, not the retained ones that are looked up."""
        self.replays: dict[str, RetainedReplay] = {}
        """By filter: what of the queue are retained messages; there are no more of them than subscriptions."""
        self.followers = 0
        """How many QoS 0 messages of the queue wait behind retained ones."""
        self.resending: deque[OutboundMessage] = deque()
        """What of `inflight` a new connection is still to be sent again, before anything else."""
        self.unsent: deque[OutboundMessage] = deque()
        """The end of `inflight`: what waits until its packet id is committed, and what waits behind it."""
        self.is_drain_due = False
        """Whether the queue goes on by itself in the loop's next turn."""
        self.inflight: OrderedDict[int, OutboundMessage] = OrderedDict()
        self.inbound: dict[int, int] = {}
        """Packet ids of QoS 2 messages that were taken and not yet released (4.3.3), each with the position in the
        store that has to be committed before it is acknowledged; 0 = none."""
        self.last_packet_id = 0
        self.expires_at: float | None = None
        """When its time is over, by `SteadyClock.lasted`; None while its client is connected."""
        self.row = 0
        self.is_drop_logged = False
        self.is_over = False
        """Whether it was dropped; the tree of subscriptions may still have it for a while."""

    def next_packet_id(self) -> int:
        """Return an id that no unfinished handshake uses (2.3.1-4); there are fewer of those than ids."""
        candidate = self.last_packet_id
        while True:
            candidate = candidate % LAST_PACKET_ID + 1
            if candidate not in self.inflight:
                self.last_packet_id = candidate
                return candidate
