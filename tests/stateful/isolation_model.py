"""Who may see what: MQTT 3.1.1 and 5 and Fleetkey's promises in a few dictionaries, without a line of the product."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.stateful.asked import Asks, Wish, split_shared
from tests.stateful.session_model import Message, Offer, Owed, Party, Session
from tests.stateful.topic_model import NOTHING, Scope, matches
from tests.support.versions import LEVEL_5

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.stateful.session_model import Key, LastWill

__all__ = ["ACCEPTED", "Model", "refused_filter"]

ACCEPTED, IDENTIFIER_REJECTED, NOT_AUTHORIZED = 0, 2, 5
NO_LOCAL = 4


def refused_filter(level: int) -> int:
    """Return the code for a filter outside the scope."""
    return 0x87 if level == LEVEL_5 else 0x80


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

    def answer(self, party: Party | None, client_id: str, will: LastWill | None, asks: Asks, *, clean: bool) -> int:
        """Return the return code that a CONNECT of a proven party must get, or of nobody."""
        is_unnamed = asks.level == LEVEL_5 and not client_id
        if party is None:
            return NOT_AUTHORIZED
        if not is_unnamed and (client_id != party.device_id if party.device_id else _is_device_id(client_id)):
            return NOT_AUTHORIZED
        if will is not None and not party.must("publish", will.message.topic):
            return NOT_AUTHORIZED
        session = self.sessions.get(client_id)
        is_foreign = session is not None and session.owner != party.owner
        return IDENTIFIER_REJECTED if is_foreign or not (client_id or clean or is_unnamed) else ACCEPTED

    def open(
        self, party: Party, key: Key, client_id: str, will: LastWill | None, asks: Asks, *, clean: bool
    ) -> tuple[Session, bool]:
        """Let a connection in; return its session and whether that was present."""
        replaced = [] if key.has_connected else party.keys[: party.keys.index(key)]
        for older in replaced:
            older.is_active = False
        key.has_connected = True
        session = self.sessions.get(client_id)
        if session is not None and session.key:
            # A race: the take-over publishes the older connection's will; the end of its key, if this is it, doesn't.
            self.close(session, must=session.key not in replaced)
        session = self.sessions.get(client_id)
        if session is not None and clean:
            self._end(session, replaced)
        session = self.sessions.get(client_id)
        is_present = session is not None
        session = self.sessions[client_id] = session or Session(client_id, party, party.owner)
        session.is_kept = asks.is_kept(clean=clean)
        session.connected(asks, key, will)
        return session, is_present

    def close(self, session: Session, *, has_will: bool = True, must: bool = True) -> None:
        """End a connection, and publish its will unless it ended with DISCONNECT or by an operator.

        One with a delay waits, for as long as there is the session (MQTT 5, 3.1.3.2.2).
        """
        will, key, session.will, session.key = session.will, session.key, None, None
        session.need_not_come(qos_0=True)
        if has_will and will is not None and key is not None and will.delay and session.is_kept:
            session.waiting, session.is_waiting_for_sure, has_will = (will, key), must, False
        if not session.is_kept:
            self._end(session)
        if has_will and will is not None:
            self._publish_will(session, will, must=must)

    def _end(self, session: Session, replaced: Sequence[Key] = ()) -> None:
        """End a session; a will that waits is published, unless its key has ended."""
        waiting, session.waiting = session.waiting, None
        del self.sessions[session.client_id]
        for owed in session.owed:
            owed.lower()
        if waiting is not None and (waiting[1] in replaced or session.party.is_valid(waiting[1])):
            self._publish_will(session, waiting[0], must=session.is_waiting_for_sure and waiting[1] not in replaced)

    def _publish_will(self, session: Session, will: LastWill, *, must: bool) -> None:
        self.publish(session.party, will.message, session.client_id, must=must)

    def publish_wills(self) -> None:
        """The broker stops; it closes its connections in an order of its own, so each may see others' wills or not."""
        for session in self.connected:
            if session.will is not None and not (session.will.delay and session.is_kept):
                self._publish_will(session, session.will, must=False)

    def all_closed(self, *, by_force: bool = False) -> None:
        """Every connection has ended with the broker; what wills there were was published, if it had the time."""
        for session in self.connected:
            self.close(session, has_will=not by_force and bool(session.will and session.will.delay and session.is_kept))
        for session in self.sessions.values():
            session.is_waiting_for_sure = False
            session.interrupted()

    def publish(self, sender: Party, message: Message, origin: str = "", *, must: bool = True) -> str:
        """Take a publication of a client, and note to whom it is owed; `must` is False if the broker may not have it.

        Returns:
            whether it was taken, for the record: `taken`, `refused`, or `perhaps`.
        """
        topic, qos = message.topic, message.qos
        if not sender.may("publish", topic):
            return "refused"
        must = must and sender.must("publish", topic)
        message.owner = sender.owner
        if message.retain:
            kept = {message if message.payload else None}
            self.retained[topic] = kept if must else kept | self.retained.get(topic, {None})
            for session in self.sessions.values():
                session.replaced(topic)
        groups: dict[tuple[str, str], list[tuple[Session, Wish]]] = {}
        for session in self.sessions.values():
            wishes, shared = session.matching(topic)
            for topic_filter, wish in shared:
                groups.setdefault((session.owner, topic_filter), []).append((session, wish))
            if not wishes or (session.client_id == origin and all(wish.no_local for wish in wishes)):
                continue
            lower, hears = min(qos, max(wish.qos for wish in wishes)), session.party.may("receive", topic)
            # What waits for someone who is away is decided when it is sent, by what it may reach then. Without `must`
            # the receiver may be there or not.
            if (hears or not must) if session.key else lower:
                owed = _owed(message, wishes, session, must=must)
                session.owed.append(owed)
        for (_, topic_filter), members in groups.items():
            self._offer(message, topic_filter, members, must=must)
        return "taken" if must else "perhaps"

    def _offer(
        self, message: Message, topic_filter: str, members: Sequence[tuple[Session, Wish]], *, must: bool
    ) -> None:
        """One member gets it: one that is there, if there is any and that is certain (MQTT 5, 4.8.2)."""
        party = members[0][0].party
        sure = must and party.must("receive", message.topic)
        there = [member for member in members if member[0].key]
        if there and sure:
            members = there
        else:
            members = [(session, wish) for session, wish in members if session.key or min(message.qos, wish.qos)]
        # Someone who is away and whose key has ended may be passed over, whatever its next key will reach.
        offer = Offer(must=sure and all(session.takes(message) and session.last_key for session, _ in members))
        for session, wish in members:
            owed = _owed(message, [wish], session, must=False)
            owed.topic_filter = topic_filter
            if message.payload:
                # Of empty ones, which look alike, nobody knows which one a member got.
                owed.offer, offer.members[session] = offer, owed
            session.owed.append(owed)

    def subscribe(self, session: Session, pairs: Sequence[tuple[str, int]], identifier: int = 0) -> list[int]:
        """Subscribe, filter by filter; return the SUBACK's codes."""
        codes = []
        is_newer = session.asks.level == LEVEL_5
        for topic_filter, options in pairs:
            is_shared, inner = split_shared(topic_filter) if is_newer else (False, topic_filter)
            wish = Wish(options, identifier) if is_newer else Wish(options & 3)
            if not session.party.scopes[0].may_subscribe(inner):
                codes.append(refused_filter(session.asks.level))
                continue
            codes.append(wish.qos)
            is_new = topic_filter not in session.subscriptions
            session.subscriptions[topic_filter] = wish
            if is_shared or not wish.brings_retained(is_new=is_new):
                continue
            for owed in session.owed:
                # One that is made again while its retained messages wait is owed them once more, not twice.
                owed.must = owed.must and owed.topic_filter != topic_filter
            for topic, kept in self.retained.items():
                if matches(topic_filter, topic):
                    # A filter that spans devices may match what is outside the scope.
                    for message in filter(None, kept):
                        owed = _owed(message, [wish], session, must=len(kept) == 1)
                        owed.retain, owed.topic_filter = True, topic_filter
                        session.owed.append(owed)
        return codes

    def unsubscribe(self, session: Session, topic_filter: str) -> None:
        """Unsubscribe; what waits already may come and need not (3.10.4-3)."""
        session.subscriptions.pop(topic_filter, None)
        for owed in session.owed:
            if owed.topic_filter == topic_filter or not session.matching(owed.message.topic)[0]:
                owed.lower()

    def changed(self, kicked: Party | None = None) -> None:
        """A change to the registry was committed, and `kicked` loses all it may do; it is on its way to the broker."""
        for session in self.sessions.values():
            if session.last_key and not session.party.is_valid(session.last_key):
                session.last_key, session.is_waiting_for_sure = None, False
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
        for session in [session for session in self.sessions.values() if session.owner == owner]:
            session.waiting = None
            self._end(session)
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


def _owed(message: Message, wishes: Sequence[Wish], session: Session, *, must: bool) -> Owed:
    """Return what a session is owed by those of its subscriptions that match (MQTT 5, 3.3.4)."""
    return Owed(
        message,
        min(message.qos, max(wish.qos for wish in wishes)),
        retain=message.retain and any(wish.retain_as_published for wish in wishes),
        must=must and session.party.must("receive", message.topic) and (session.takes(message) or not session.key),
        identifiers=frozenset(wish.identifier for wish in wishes if wish.identifier),
    )


def _is_device_id(client_id: str) -> bool:
    return len(client_id) == 24 and set(client_id.lower()) <= set("0123456789abcdef")
