"""Who may see what: MQTT 3.1.1 and Fleetkey's promises in a few dictionaries, without a line of the product."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.stateful.topic_model import NOTHING, Scope, matches

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.support.packets import Publication, Will

__all__ = ["ACCEPTED", "REFUSED_FILTER", "Key", "Message", "Model", "Owed", "Party", "Session", "Violation"]

ACCEPTED, IDENTIFIER_REJECTED, NOT_AUTHORIZED = 0, 2, 5
REFUSED_FILTER = 0x80


class Violation(AssertionError):  # noqa: N818 - it says what it is
    """The broker did what the model forbids, or didn't do what it demands."""


@dataclass(eq=False, slots=True, kw_only=True)
class Key:
    """A key with its secret."""

    key: str
    secret: str = field(repr=False)
    is_active: bool = True
    has_connected: bool = False


@dataclass(eq=False, slots=True, kw_only=True)
class Party:
    """A device or an application."""

    name: str
    device_id: str = ""
    """Empty for an application."""
    keys: list[Key] = field(default_factory=list)
    """In order of issue."""
    is_enabled: bool = True
    site: str = "a"
    is_deleted: bool = False
    reach: str = ""
    """Of an application: `all` devices, or those of one site, which it names."""
    extra: Scope = NOTHING
    scopes: list[Scope] = field(default_factory=lambda: [NOTHING])
    """What it reaches; several while a change may or may not have arrived at the broker, so that both are right."""

    @property
    def owner(self) -> str:
        """Whose its sessions and retained messages are: the device's, or its newest key's."""
        return self.device_id or self.keys[-1].key

    def is_valid(self, key: Key) -> bool:
        """Whether the key, with its secret, lets it in."""
        return key.is_active and self.is_enabled

    def may(self, action: str, topic: str) -> bool:
        """Whether it may be that it publishes to, or receives from, a topic."""
        return any(scope.reaches(action, topic) for scope in self.scopes)

    def must(self, action: str, topic: str) -> bool:
        """Whether that is certain."""
        return all(scope.reaches(action, topic) for scope in self.scopes)


@dataclass(eq=False, slots=True, kw_only=True)
class Message:
    """One publication; its payload is its own, but for the empty ones that clear a retained message."""

    owner: str
    topic: str
    payload: bytes
    qos: int


@dataclass(eq=False, slots=True)
class Owed:
    """A message on its way to a session."""

    message: Message
    qos: int
    retain: bool
    must: bool
    """Whether it has to come, or only may."""
    connection: int = 0
    """Which connection of the session it came over."""
    topic_filter: str = ""
    """The subscription that it is owed to, if it is a retained message."""

    def is_shown_by(self, got: Publication) -> bool:
        """Whether a delivery is this one."""
        expected = self.message.topic, self.message.payload, self.qos, self.retain
        return (got.topic, got.payload, got.qos, got.retain) == expected


@dataclass(eq=False, slots=True)
class Session:
    """What the broker keeps for a client, and what the client remembers of it."""

    client_id: str
    party: Party
    owner: str
    is_clean: bool
    key: Key | None = None
    """With which its client is connected; None: it is away."""
    will: Will | None = None
    connection: int = 0
    """Which one it is, if its client is there."""
    subscriptions: dict[str, int] = field(default_factory=dict)
    owed: list[Owed] = field(default_factory=list)
    """What has not come."""
    inflight: dict[int, Owed] = field(default_factory=dict)
    """What has come and may come again over another connection: its handshake may not have ended."""
    unfinished: dict[int, bytes] = field(default_factory=dict)
    """QoS 2 messages of the client itself, by packet id, to be sent again before their PUBREL."""
    last_number: int = 0

    def new_number(self) -> int:
        """Return a packet id that the client has not used."""
        self.last_number += 1
        return self.last_number

    def deliver(self, got: Publication, connection: int) -> None:
        """Hold a PUBLISH that came over a connection against what is owed."""
        if not self.party.may("receive", got.topic):
            raise self.violation(got, "is outside the receiver's scope")
        began = self.inflight.get(got.number) if got.qos else None
        if began is not None and got.dup and began.is_shown_by(got):
            if began.connection == connection:
                raise self.violation(got, "came twice over one connection")
            began.connection = connection
            return
        if began is not None and began.must:
            raise self.violation(got, f"has the packet id of another handshake, {began}")
        alike = sorted((owed for owed in self.owed if owed.is_shown_by(got)), key=lambda owed: not owed.must)
        if not alike:
            raise self.violation(got, "is not owed")
        self.owed.remove(alike[0])
        alike[0].connection = connection
        if got.qos:
            self.inflight[got.number] = alike[0]

    def acknowledged(self, number: int) -> None:
        """Take note that the client answers; from then on the broker may end a QoS 1 handshake and reuse its id."""
        if self.inflight[number].qos == 1:
            self.inflight[number].must = False

    def overdue(self) -> list[Owed]:
        """Return what has to be there by now if the client reads and acknowledges everything."""
        return [owed for owed in self.owed if owed.must]

    def need_not_come(self, *, topics_outside_scope: bool = False, qos_0: bool = False) -> None:
        """Lower what is demanded after a change of scope, or after the end of a connection.

        What has left the scope may come again if the scope comes back before it is sent. QoS 0 ends with a connection,
        unless it waits in the queue behind a retained message.
        """
        for owed in [*self.owed, *self.inflight.values()]:
            outside = topics_outside_scope and not self.party.must("receive", owed.message.topic)
            if outside or (qos_0 and not owed.qos):
                owed.must = False

    def violation(self, got: object, what: str) -> Violation:
        """Return the report of a wrong delivery."""
        return Violation(f"to {self.party.name} as {self.client_id!r} with {self.subscriptions}: {got} {what}")


class Model:
    """Parties, sessions, retained messages. Every method is one event, in the order in which the broker has them."""

    def __init__(self, parties: Iterable[Party]) -> None:
        self.parties = {party.name: party for party in parties}
        self.sessions: dict[str, Session] = {}
        self.retained: dict[str, set[Message | None]] = {}
        """By topic: what may be retained; more than one if nobody can know which."""
        self.settled()

    @property
    def connected(self) -> list[Session]:
        """Sessions whose clients are there."""
        return [session for session in self.sessions.values() if session.key]

    def prove(self, username: str | None, password: str | None) -> tuple[Party, Key] | None:
        """Return whom credentials let in."""
        for party in self.parties.values():
            for key in party.keys:
                if (key.key, key.secret) == (username, password) and party.is_valid(key):
                    return party, key
        return None

    def answer(self, party: Party | None, client_id: str, will: Will | None, *, clean: bool) -> int:
        """Return the return code that a CONNECT of a proven party must get, or of nobody."""
        if party is None or (client_id != party.device_id if party.device_id else _is_device_id(client_id)):
            return NOT_AUTHORIZED
        if will is not None and not party.must("publish", str(will.topic)):
            return NOT_AUTHORIZED
        session = self.sessions.get(client_id)
        is_foreign = session is not None and session.owner != party.owner
        return IDENTIFIER_REJECTED if is_foreign or not (client_id or clean) else ACCEPTED

    def open(self, party: Party, key: Key, client_id: str, will: Will | None, *, clean: bool) -> tuple[Session, bool]:
        """Let a connection in; return its session and whether that was present."""
        replaced = [] if key.has_connected else party.keys[: party.keys.index(key)]
        for older in replaced:
            older.is_active = False
        key.has_connected = True
        session = self.sessions.get(client_id)
        if session is not None and session.key:
            # A race: the take-over publishes the older connection's will; the end of its key, if this is it, doesn't.
            self.close(session, must=session.key not in replaced)
        if clean:
            self.sessions.pop(client_id, None)
        session = self.sessions.get(client_id)
        is_present = session is not None
        session = self.sessions[client_id] = session or Session(client_id, party, party.owner, clean)
        session.key, session.will = key, will
        session.connection += 1
        return session, is_present

    def close(self, session: Session, *, has_will: bool = True, must: bool = True) -> None:
        """End a connection, and publish its will unless it ended with DISCONNECT or by an operator."""
        will, session.key, session.will = session.will, None, None
        session.need_not_come(qos_0=True)
        if session.is_clean:
            del self.sessions[session.client_id]
        if has_will and will is not None:
            self.publish(session.party, str(will.topic), will.payload, will.qos, retain=will.retain, must=must)

    def publish_wills(self) -> None:
        """The broker stops; it closes its connections in an order of its own, so each may see others' wills or not."""
        for session in self.connected:
            if will := session.will:
                self.publish(session.party, str(will.topic), will.payload, will.qos, retain=will.retain, must=False)

    def all_closed(self) -> None:
        """Every connection has ended with the broker; what wills there were was published."""
        for session in self.connected:
            self.close(session, has_will=False)

    def publish(self, sender: Party, topic: str, payload: bytes, qos: int, *, retain: bool, must: bool = True) -> str:
        """Take a publication, and note to whom it is owed; `must` is False if the broker may not have it.

        Returns:
            whether it was taken, for the record: `taken`, `refused`, or `perhaps`.
        """
        if not sender.may("publish", topic):
            return "refused"
        must = must and sender.must("publish", topic)
        message = Message(owner=sender.owner, topic=topic, payload=payload, qos=qos)
        if retain:
            kept = {message if payload else None}
            self.retained[topic] = kept if must else kept | self.retained.get(topic, {None})
        for session in self.sessions.values():
            granted = [granted for name, granted in session.subscriptions.items() if matches(name, topic)]
            if not granted:
                continue
            lower, hears = min(qos, max(granted)), session.party.may("receive", topic)
            # What waits for someone who is away is decided when it is sent, by what it may reach then. Without `must`
            # the receiver may be there or not.
            if (hears or not must) if session.key else lower:
                sure = must and session.party.must("receive", topic)
                session.owed.append(Owed(message, lower, retain=False, must=sure))
        return "taken" if must else "perhaps"

    def subscribe(self, session: Session, pairs: Sequence[tuple[str, int]]) -> list[int]:
        """Subscribe, filter by filter; return the SUBACK's codes."""
        codes = []
        for topic_filter, qos in pairs:
            if not session.party.scopes[0].may_subscribe(topic_filter):
                codes.append(REFUSED_FILTER)
                continue
            codes.append(qos)
            session.subscriptions[topic_filter] = qos
            for owed in session.owed:
                # One that is made again while its retained messages wait is owed them once more, not twice.
                owed.must = owed.must and owed.topic_filter != topic_filter
            for topic, kept in self.retained.items():
                if matches(topic_filter, topic):
                    # A filter that spans devices may match what is outside the scope.
                    sure = len(kept) == 1 and session.party.must("receive", topic)
                    session.owed += [
                        Owed(m, min(qos, m.qos), retain=True, must=sure, topic_filter=topic_filter)
                        for m in kept
                        if m is not None
                    ]
        return codes

    def unsubscribe(self, session: Session, topic_filter: str) -> None:
        """Unsubscribe; what waits already may come and need not (3.10.4-3)."""
        session.subscriptions.pop(topic_filter, None)
        for owed in session.owed:
            owed.must = owed.must and any(matches(name, owed.message.topic) for name in session.subscriptions)

    def changed(self, kicked: Party | None = None) -> None:
        """A change to the registry was committed, and `kicked` loses all it may do; it is on its way to the broker."""
        for party in self.parties.values():
            after = NOTHING if party is kicked else self._scope(party)
            if after != party.scopes[-1]:
                party.scopes.append(after)

    def arriving(self) -> None:
        """Changes have arrived, maybe before what was published just before was sent: that is decided when it is."""
        for session in self.sessions.values():
            session.need_not_come(topics_outside_scope=True)

    def settled(self) -> None:
        """Every change has arrived."""
        for party in self.parties.values():
            party.scopes = [self._scope(party)]
        for session in self.sessions.values():
            session.need_not_come(topics_outside_scope=True)

    def forget(self, owner: str) -> None:
        """Leave nothing of a deleted device or a revoked application key."""
        self.sessions = {name: session for name, session in self.sessions.items() if session.owner != owner}
        for topic, kept in self.retained.items():
            gone = {message for message in kept if message is not None and message.owner == owner}
            if gone:
                self.retained[topic] = (kept - gone) | {None}

    def _scope(self, party: Party) -> Scope:
        """Return what a party reaches: its own topics and its site's, those of its devices, and its extra ones."""
        devices = [other for other in self.parties.values() if other.device_id and not other.is_deleted]
        across: tuple[str, ...] = ()
        if party.device_id:
            patterns = [f"devices/{party.device_id}/#", f"site/{party.site}/#"]
        elif party.reach == "all":
            patterns = ["devices/+/#", "site/+/#"]
        else:
            reached = [device for device in devices if device.site == party.reach]
            patterns = [f"devices/{device.device_id}/#" for device in reached]
            patterns += [f"site/{party.reach}/#"] if reached else []
            across = ("devices/*/#",)
        return Scope((*patterns, *party.extra.publish), (*patterns, *party.extra.subscribe), across)


def _is_device_id(client_id: str) -> bool:
    return len(client_id) == 24 and set(client_id.lower()) <= set("0123456789abcdef")
