"""Parties, their messages and their sessions, as the model sees them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from tests.stateful.asked import BARE, OLDER, Asks, Dress, Wish, split_shared
from tests.stateful.topic_model import NOTHING, Scope, matches
from tests.support.properties import Name
from tests.support.versions import LEVEL_5

if TYPE_CHECKING:
    from tests.support.packets import Publication

__all__ = ["Key", "LastWill", "Message", "Offer", "Owed", "Party", "Session", "Violation"]

OF_THE_DELIVERY = {Name.MESSAGE_EXPIRY, Name.TOPIC_ALIAS, Name.SUBSCRIPTION_IDENTIFIER}
"""Properties that aren't the message's own."""
LONGEST_RUN_SECONDS = 7_200


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

    topic: str
    payload: bytes
    qos: int
    retain: bool
    dress: Dress = BARE
    owner: str = ""
    """Whose it is, once it is published."""


@dataclass(eq=False, slots=True, kw_only=True)
class LastWill:
    """A will, and how many seconds it waits."""

    message: Message
    delay: int = 0


@dataclass(eq=False, slots=True)
class Owed:
    """A message on its way to a session."""

    message: Message
    qos: int
    retain: bool
    must: bool
    """Whether it has to come, or only may."""
    identifiers: frozenset[int] = frozenset()
    connection: int = 0
    """Which connection of the session it came over."""
    topic_filter: str = ""
    """The subscription that it is owed to, if it is a retained message or a shared one."""
    offer: Offer | None = None
    """If only one session of several gets it."""

    def is_shown_by(self, got: Publication, level: int) -> bool:
        """Whether a delivery is this one; what MQTT 5 adds is left out for a client of 3.1.1."""
        expected = self.message.topic, self.message.payload, self.qos, self.retain
        if (got.topic, got.payload, got.qos, got.retain) != expected:
            return False
        if level != LEVEL_5:
            return True
        dress, expiry = self.message.dress, [value for name, value in got.properties if name == Name.MESSAGE_EXPIRY]
        if dress.expiry:
            is_right = len(expiry) == 1 and dress.expiry - LONGEST_RUN_SECONDS < int(str(expiry[0])) <= dress.expiry
        else:
            is_right = not expiry
        identifiers = {value for name, value in got.properties if name == Name.SUBSCRIPTION_IDENTIFIER}
        passed_on = tuple(each for each in got.properties if each[0] not in OF_THE_DELIVERY)
        return is_right and identifiers == self.identifiers and passed_on == dress.properties

    def lower(self) -> None:
        """Demand it no more."""
        self.must = False
        if self.offer is not None:
            self.offer.must = False


@dataclass(eq=False, slots=True)
class Offer:
    """A message for one of the sessions that share a subscription."""

    must: bool
    members: dict[Session, Owed] = field(default_factory=dict)

    def is_overdue(self) -> bool:
        """Whether somebody must have it by now: whoever may have got it is there and reads."""
        return self.must and all(session.key and session.is_answering for session in self.members)

    def taken(self) -> None:
        """One of them has it, so the others don't get it."""
        for session, owed in self.members.items():
            if owed in session.owed:
                session.owed.remove(owed)
        self.members, self.must = {}, False


@dataclass(eq=False, slots=True)
class Session:
    """What the broker keeps for a client, and what the client remembers of it."""

    client_id: str
    party: Party
    owner: str
    is_kept: bool = False
    """Whether it outlives its connection."""
    asks: Asks = OLDER
    """Of its connection, or its last one."""
    key: Key | None = None
    """With which its client is connected; None: it is away."""
    last_key: Key | None = None
    """With which it was connected last, as long as that has been valid ever since."""
    will: LastWill | None = None
    waiting: tuple[LastWill, Key] | None = None
    """A will that waits, and with which key its client was connected."""
    is_waiting_for_sure: bool = False
    """Whether it certainly is published if the session ends; otherwise it may be."""
    is_answering: bool = True
    connection: int = 0
    """Which one it is, if its client is there."""
    subscriptions: dict[str, Wish] = field(default_factory=dict)
    owed: list[Owed] = field(default_factory=list)
    """What has not come."""
    inflight: dict[int, Owed] = field(default_factory=dict)
    """What has come and may come again over another connection: its handshake may not have ended."""
    replayed: list[Owed] = field(default_factory=list)
    """Retained messages that have come, since when the client wasn't seen to have all that it is to have."""
    unfinished: dict[int, Message] = field(default_factory=dict)
    """QoS 2 messages of the client itself, by packet id, to be sent again before their PUBREL."""
    last_number: int = 0

    def new_number(self) -> int:
        """Return a packet id that the client has not used."""
        self.last_number += 1
        return self.last_number

    def connected(self, asks: Asks, key: Key, will: LastWill | None) -> None:
        """Its client is there; what is longer than it takes may be dropped from now on."""
        self.asks, self.key, self.last_key, self.will, self.waiting = asks, key, key, will, None
        self.connection += 1
        for owed in [*self.owed, *self.inflight.values()]:
            if not self.takes(owed.message):
                owed.lower()

    def takes(self, message: Message) -> bool:
        """Whether the client takes messages of such a length."""
        return not (self.asks.max_packet_bytes and message.dress.is_big)

    def matching(self, topic: str) -> tuple[list[Wish], list[tuple[str, Wish]]]:
        """Return the subscriptions that match a topic: the session's own, and its part in shared ones."""
        own, shared = [], []
        for topic_filter, wish in self.subscriptions.items():
            is_shared, inner = split_shared(topic_filter)
            if matches(inner, topic):
                if is_shared:
                    shared.append((topic_filter, wish))
                else:
                    own.append(wish)
        return own, shared

    def deliver(self, got: Publication, connection: int, level: int) -> None:
        """Hold a PUBLISH that came over a connection, of a version, against what is owed."""
        if not self.party.may("receive", got.topic):
            raise self.violation(got, "is outside the receiver's scope")
        began = self.inflight.get(got.number) if got.qos else None
        if began is not None and got.dup and began.is_shown_by(got, level):
            if began.connection == connection:
                raise self.violation(got, "came twice over one connection")
            began.connection = connection
            return
        if began is not None and began.must:
            raise self.violation(got, f"has the packet id of another handshake, {began}")
        alike = [owed for owed in self.owed if owed.is_shown_by(got, level)]
        # Its own before a group's, which another member may have instead; retained ones, which may be old, last.
        alike.sort(key=lambda owed: (not owed.must, bool(owed.topic_filter), owed.offer is None))
        if not alike:
            raise self.violation(got, "is not owed")
        owed = alike[0]
        if owed.offer is not None:
            owed.offer.taken()
            owed.must = bool(got.qos)
        else:
            self.owed.remove(owed)
            if owed.topic_filter:
                self.replayed.append(owed)
        owed.connection = connection
        if got.qos:
            self.inflight[got.number] = owed

    def replaced(self, topic: str) -> None:
        """A retained message has another one in its place; if it still waits, it need not come."""
        for owed in self.owed:
            if owed.topic_filter and owed.offer is None and owed.message.topic == topic:
                owed.must = False

    def interrupted(self) -> None:
        """The broker has ended: retained messages of which some are still to come may come from the first one on."""
        self.owed += [replace(owed, must=False) for owed in self.replayed]
        self.replayed = []

    def acknowledged(self, number: int) -> None:
        """Take note that the client answers; from then on the broker may end a QoS 1 handshake and reuse its id."""
        if self.inflight[number].qos == 1:
            self.inflight[number].must = False

    def overdue(self) -> list[Owed]:
        """Return what has to be there by now if the client reads and acknowledges everything."""
        return [owed for owed in self.owed if owed.must]

    def overdue_here_or_elsewhere(self) -> list[Owed]:
        """Return what one of several sessions, of which this is one, has to have by now."""
        return [owed for owed in self.owed if owed.offer is not None and owed.offer.is_overdue()]

    def need_not_come(self, *, topics_outside_scope: bool = False, qos_0: bool = False) -> None:
        """Lower what is demanded after a change of scope, or after the end of a connection.

        What has left the scope may come again if the scope comes back before it is sent. QoS 0 ends with a connection,
        unless it waits in the queue behind a retained message.
        """
        for owed in [*self.owed, *self.inflight.values()]:
            outside = topics_outside_scope and not self.party.must("receive", owed.message.topic)
            if outside or (qos_0 and not owed.qos):
                owed.lower()

    def violation(self, got: object, what: str) -> Violation:
        """Return the report of a wrong delivery."""
        return Violation(f"to {self.party.name} as {self.client_id!r} with {self.subscriptions}: {got} {what}")
