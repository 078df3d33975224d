"""What may happen, in any order: each rule does something to the broker and to the model, and then compares them."""

from __future__ import annotations

import sys

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.stateful.asked import BARE, FOREVER, LONG, OLDER, Asks, Dress
from tests.stateful.session_model import LastWill, Message, Violation
from tests.stateful.world import APPLICATIONS, DEVICES, Publications, WillAsked, World
from tests.support.packets import publish, subscribe
from tests.support.properties import Name

__all__ = ["IsolationMachine"]

STEPS_BETWEEN_RESTARTS = 30
RESTARTS_TO_A_STOP = 2
"""Every second time the broker is stopped, which takes as long as fifty other steps; else it is killed."""
STEPS_BETWEEN_RETURNS = 20
FEWEST_CLIENTS = 2
SHORT_BYTES = 200
"""The longest packet that some clients take; what they need is shorter."""
STOPPING = 0x8B
WITH_WILL = 4

parties = st.sampled_from((*DEVICES, *APPLICATIONS))
client_ids = st.sampled_from(("x", "y", ""))
picks = st.integers(0, 15)
levels = st.integers(0, 2)
NEWER = Asks(expiry=FOREVER)
asked = st.just(OLDER) | st.builds(
    Asks,
    expiry=st.sampled_from((FOREVER, LONG, 0)),
    receive_maximum=st.sampled_from((0, 0, 1, 3)),
    max_packet_bytes=st.sampled_from((0, 0, SHORT_BYTES)),
    most_aliases=st.sampled_from((0, 2, 20)),
)
options = levels | st.builds(
    lambda qos, rest, handling: qos | rest << 2 | handling << 4, levels, st.integers(0, 3), levels
)
# No two of these overlap: of two messages that look alike nobody could say which group each belongs to.
shared = st.sampled_from(("$share/g/site/a/#", "$share/g/devices/+/#", "$share/h/site/b/+"))
identifiers = st.sampled_from((0, 0, 1, 300))
TEXT = (
    (Name.USER_PROPERTY, ("b", "1")),
    (Name.CONTENT_TYPE, "text/plain"),
    (Name.USER_PROPERTY, ("a", "2")),
    (Name.USER_PROPERTY, ("b", "1")),
    (Name.RESPONSE_TOPIC, "devices/reply"),
    (Name.CORRELATION_DATA, b"\0\xff"),
)
dresses = st.sampled_from(
    (
        *(BARE, Dress(alias=1), Dress(alias=1), Dress(alias=16)),
        *(Dress(alias=1, properties=TEXT), Dress(properties=TEXT), Dress(expiry=LONG), Dress(is_big=True)),
    )
)
rarely = st.sampled_from((False, False, True))
often = rarely.map(lambda is_so: not is_so)
topics = st.sampled_from(
    (
        *("devices/{me}/a", "site/{site}/a", "devices/{d1}/a", "devices/{d2}/a", "site/a/a", "site/b/a") * 3,
        *("devices/{me}/b/c", "devices/{me}", "site/{site}", "devices/{d3}/a", "fleet/news", "jobs/b") * 2,
        *("devices/{me}x/a", "Devices/{me}/a", "/devices/{me}/a", "devices//a", "devices", "$fleet/x", "$SYS/x"),
    )
)
filters = st.sampled_from(
    (
        *("devices/{me}/#", "site/{site}/#", "site/{site}/a", "devices/{d1}/#", "devices/{d2}/#", "site/a/#") * 4,
        *("$share/g/site/a/#", "$share/g/devices/+/#", "$share/g/devices/+/#", "$share/h/site/b/+") * 4,
        *("devices/{me}/a", "devices/{me}/+", "devices/+/#", "site/+/#", "devices/+/a", "site/b/+", "fleet/news") * 2,
        *("devices/+/+/c", "devices/+", "devices/+/b/#"),
        *("devices/{me}/+/c", "devices/#", "#", "+/#", "+/+/a", "+/{me}/#", "fleet/#", "jobs/#", "jobs/b"),
        *(
            "$fleet/#",
            "$SYS/#",
            "$share/g/site/{site}/#",
            "$share/g/#",
            "$share/g/$SYS/#",
            "$share/g/jobs/b",
            "/#",
            "devices/{me}/../#",
            "site/{site}",
        ),
    )
)
own_topics = st.sampled_from(("devices/{me}/a", "site/{site}/a", "devices/{d1}/a", "site/b/a"))
wills = st.none() | st.tuples(
    own_topics, levels, st.booleans(), st.sampled_from((0, LONG)), st.sampled_from((BARE, Dress(properties=TEXT)))
)
seldom = st.integers(0, 7).map(lambda number: number == 7)
publications = st.lists(st.tuples(topics, levels, st.booleans(), seldom, dresses), min_size=1, max_size=3)
own_publications = st.lists(
    st.tuples(own_topics, levels, st.booleans(), st.just(value=False), dresses), min_size=1, max_size=4
)
subscriptions = st.lists(st.tuples(filters, options), min_size=1, max_size=3)
changes = st.sampled_from(("tag", "tag", "tag", "disable", "register", "revoke", "delete"))
flaws = st.sampled_from(
    (
        *("wrong secret", "no secret", "no name", "unknown key", "secret of another", "oldest key", "no connect"),
        *("client id of another", "client id of a device", "foreign will", "$ will"),
    )
)


class IsolationMachine(RuleBasedStateMachine):
    """Drives a `World`. Whoever is there reads after every rule, and what came is held against the model."""

    steps = 0
    """Rules that ran, of all machines."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self._since_restart = self._since_return = self._restarts = 0

    def teardown(self) -> None:
        """Let everyone come back, if all went well, and stop the broker."""
        failure = sys.exception()
        try:
            if failure is None:
                self._return_all()
        except Violation as violation:
            failure = violation
            raise
        finally:
            if failure is not None:
                failure.add_note("\n".join(self.world.history))
            self.world.broker.close()

    @invariant()
    def compare(self) -> None:
        """Everyone reads whatever the broker has sent, which is held against the model."""
        IsolationMachine.steps += 1
        self._since_restart += 1
        self._since_return += 1
        if len(self.world.clients) < FEWEST_CLIENTS:
            for name in sorted(
                {*DEVICES, *APPLICATIONS} - {session.party.name for session in self.world.model.connected}
            ):
                self.world.log_in(name, "x" if name == "A" else "y", clean=False)
        self.world.read_all()

    @initialize(qos=st.sampled_from((1, 2, 0)), answers=st.booleans())
    def begin(self, qos: int, *, answers: bool) -> None:
        """Everyone is there from the beginning, and listens."""
        for name, topic_filter in zip(
            (*DEVICES, *APPLICATIONS), (*["site/{site}/#"] * 3, "devices/+/#", "devices/+/#"), strict=True
        ):
            self.world.log_in(name, "x" if name == "A" else "y", clean=False, answers=answers)
            self.world.subscribe(len(self.world.clients) - 1, [(topic_filter, qos), ("devices/{me}/#", qos)])

    @rule(
        name=parties,
        client_id=client_ids,
        clean=rarely,
        asks=asked,
        will=wills,
        answers=often,
        websocket=rarely,
        pairs=st.none() | subscriptions,
        identifier=identifiers,
    )
    def connect(
        self,
        *,
        name: str,
        client_id: str,
        clean: bool,
        asks: Asks,
        will: WillAsked | None,
        answers: bool,
        websocket: bool,
        pairs: list[tuple[str, int]] | None,
        identifier: int,
    ) -> None:
        """Someone connects with its newest key: new, back again, or in place of its own connection."""
        connected = self.world.log_in(
            name, client_id, clean=clean, asks=asks, will=will, answers=answers, websocket=websocket
        )
        if connected and pairs:
            self.world.subscribe(len(self.world.clients) - 1, pairs, identifier)

    @rule(name=parties, other=parties, flaw=flaws, clean=st.booleans(), asks=asked, topic=topics, websocket=rarely)
    def connect_with_a_flaw(
        self, *, name: str, other: str, flaw: str, clean: bool, asks: Asks, topic: str, websocket: bool
    ) -> None:
        """Someone connects with something wrong, or what may be wrong, and speaks before it hears the answer."""
        party, stranger = self.world.model.parties[name], self.world.model.parties[other]
        key, their_key = party.keys[-1], stranger.keys[-1]
        client_id, will = party.device_id or "x", None
        username: str | None = key.key
        password: str | None = key.secret
        if flaw in {"wrong secret", "secret of another"}:
            password = their_key.secret if flaw == "secret of another" else "0" * 64
        elif flaw in {"no secret", "no name"}:
            username, password = (key.key if flaw == "no secret" else None), None
        elif flaw == "unknown key":
            username = key.key[::-1]
        elif flaw == "oldest key":
            username, password = party.keys[0].key, party.keys[0].secret
        elif flaw in {"client id of another", "client id of a device"}:
            client_id = (stranger.device_id or "y") if flaw == "client id of another" else "0" * 24
        elif flaw in {"foreign will", "$ will"}:
            their_topic = f"devices/{stranger.device_id or '0' * 24}/a"
            topic_of_will = their_topic if flaw == "foreign will" else "$SYS/x"
            message = Message(topic=topic_of_will, payload=self.world.new_payload(), qos=1, retain=True)
            will = LastWill(message=message)
        # If it is let in after all, it says nothing yet; a refused one may say what it likes.
        forged = publish(
            self.world.fill(topic, stranger), self.world.new_payload(), qos=1, retain=True, level=asks.level
        )
        said = forged + subscribe(1, ("#", 1), level=asks.level)
        if flaw == "no connect":
            self.world.attempt(b"", said, None, websocket=websocket)
        else:
            self.world.connect(
                username, password, client_id, will, clean=clean, asks=asks, websocket=websocket, said=said
            )

    @precondition(lambda self: self.world.clients)
    @rule(
        pick=picks,
        reason=st.sampled_from((None, None, 0, WITH_WILL)),
        expiry=st.sampled_from((None, None, 0, LONG)),
    )
    def leave(self, *, pick: int, reason: int | None, expiry: int | None) -> None:
        """Someone disconnects, perhaps with its will, or its connection breaks and its will goes out."""
        self.world.leave(pick, reason, expiry)

    @precondition(lambda self: self.world.clients)
    @rule(pick=picks, pairs=subscriptions, identifier=identifiers)
    def subscribe(self, pick: int, pairs: list[tuple[str, int]], identifier: int) -> None:
        """Someone subscribes, to what it may have or to what it may not."""
        self.world.subscribe(pick, pairs, identifier)

    @precondition(lambda self: self.world.clients)
    @rule(pick=picks, which=picks)
    def unsubscribe(self, pick: int, which: int) -> None:
        """Someone unsubscribes from something that it has."""
        client = self.world.client(pick)
        if own := list(client.session.subscriptions):
            topic_filter = own[which % len(own)]
            self.world.say(f"{client.session.client_id!r} unsubscribes {topic_filter}")
            client.unsubscribe(topic_filter)
            self.world.model.unsubscribe(client.session, topic_filter)

    @precondition(lambda self: self.world.clients)
    @rule(pick=picks, messages=publications, again=st.booleans())
    def publish(self, pick: int, messages: Publications, *, again: bool) -> None:
        """Someone publishes, and perhaps leaves its QoS 2 messages unfinished."""
        self.world.publish(pick, messages, again=again)

    @precondition(lambda self: self.world.clients)
    @rule(picks=st.tuples(picks, picks), first=publications, second=publications)
    def publish_at_once(self, picks: tuple[int, int], first: Publications, second: Publications) -> None:
        """Two publish, one after the other, without waiting for any answer."""
        for pick, messages in zip(picks, (first, second), strict=True):
            self.world.publish(pick, messages)
            self.world.client(pick).ping()
            self.world.client(pick).settle()

    @precondition(lambda self: any(client.aliases for client in self.world.clients.values()))
    @rule()
    def publish_by_alias(self) -> None:
        """Everyone publishes once more what it has aliases for, which are of its connection alone."""
        for client in self.world.clients.values():
            self.world.publish_by_alias(client)

    @rule(name=st.sampled_from(APPLICATIONS), topic_filter=shared, wishes=st.tuples(options, options), asks=asked)
    def share(self, name: str, topic_filter: str, wishes: tuple[int, int], asks: Asks) -> None:
        """Two sessions of an application share a subscription, and perhaps some that it has had for longer."""
        for client_id, wish in zip((name, f"{name}2"), wishes, strict=True):
            if self.world.log_in(name, client_id, clean=False, asks=asks if client_id == name else NEWER):
                self.world.subscribe(len(self.world.clients) - 1, [(topic_filter, wish)])

    @precondition(lambda self: any(client.session.unfinished for client in self.world.clients.values()))
    @rule()
    def publish_again(self) -> None:
        """Everyone sends its unfinished messages again, which reach nobody twice (4.3.3)."""
        for client in self.world.clients.values():
            client.publish_again()

    @rule(kind=changes, name=parties, pick=picks, messages=publications)
    def change(self, kind: str, name: str, pick: int, messages: Publications) -> None:
        """The operator changes something, and someone publishes before anyone knows whether it has arrived."""
        party = self.world.model.parties[name]
        if kind == "tag":
            there = [device for device in self.world.model.parties.values() if device.device_id in self.world.clients]
            party = there[pick % len(there)] if there else party
        if not self.world.apply(kind, party):
            return
        if self.world.clients:
            self.world.publish(pick, messages)
        self.world.wait_for_change()
        self.world.renew(kind, party)
        self.world.wait_for_scopes()
        self.world.model.arriving()
        self.world.read_all()
        self.world.model.settled()
        if client := self.world.clients.get(party.device_id):
            self.world.publish_by_alias(client)
        session = self.world.model.sessions.get(party.device_id)
        if session is not None and session.waiting and kind != "tag":
            # It ends here, and with it a will that its key may have ended before.
            self.world.log_in(party.name, party.device_id, clean=True)
        if kind in {"delete", "revoke"}:
            self.world.inspect()

    @precondition(lambda self: self._may_restart and self._is_next_a_stop)
    @rule(while_down=st.lists(st.tuples(changes, parties), max_size=2))
    def restart(self, while_down: list[tuple[str, str]]) -> None:
        """The broker is stopped, something changes, and it is started again."""
        self.world.say("restart")
        self._since_restart, self._restarts = 0, self._restarts + 1
        self.world.model.publish_wills()
        with self.world.broker.stopping() as thread:
            for client in self.world.clients.values():
                client.drain(STOPPING)
            thread.join()
            self.world.clients.clear()
            self.world.model.all_closed()
            for kind, name in while_down:
                party = self.world.model.parties[name]
                if self.world.apply(kind, party, is_down=True):
                    self.world.renew(kind, party)
            self.world.model.settled()
        self.world.inspect()

    @precondition(lambda self: self.world.clients and self._may_restart and not self._is_next_a_stop)
    @rule(pick=picks, messages=own_publications, rest=st.integers(0, 3))
    def kill(self, pick: int, messages: Publications, rest: int) -> None:
        """The broker is killed while someone publishes; what it has acknowledged it still knows afterwards."""
        self._since_restart, self._restarts = 0, self._restarts + 1
        self.world.broker.wait_for_commit()
        client = self.world.client(pick)
        client.finish()
        # What comes while it waits is on the wire when the broker ends, so it need not have been read.
        client.is_deaf = True
        party = client.session.party
        sent = [
            self.world.message(client.session, template, max(qos, 1), retain=retain, dress=dress)
            for template, qos, retain, _is_empty, dress in messages
        ]
        verdicts = ["taken" if party.may("publish", message.topic) else "refused" for message in sent]
        numbers = [client.publish(*each) for each in zip(sent, verdicts, strict=True)]
        client.finish(most=rest)
        for number, message in zip(numbers, sent, strict=True):
            must = client.is_acknowledged(number)
            self.world.model.publish(party, message, client.session.client_id, must=must)
            self.world.say(f"{client.session.client_id!r} publishes {message}, {must=}")
        self.world.say("kill")
        self.world.broker.cut()
        self.world.clients.clear()
        # Nobody says a last word for a process that was killed: wills are lost, which the documentation says.
        self.world.model.all_closed(by_force=True)
        self.world.inspect()

    @precondition(lambda self: self._since_return > STEPS_BETWEEN_RETURNS)
    @rule()
    def return_all(self) -> None:
        """Everyone comes back, or takes over from itself, and answers: nothing is left over."""
        self._since_return = 0
        self._return_all()

    @property
    def _may_restart(self) -> bool:
        return self._since_restart > STEPS_BETWEEN_RESTARTS

    @property
    def _is_next_a_stop(self) -> bool:
        return self._restarts % RESTARTS_TO_A_STOP == RESTARTS_TO_A_STOP - 1

    def _return_all(self) -> None:
        for client_id, session in list(self.world.model.sessions.items()):
            if not client_id.startswith("auto-"):
                asks = None if session.is_kept else OLDER
                self.world.log_in(session.party.name, client_id, clean=not session.is_kept, asks=asks)
        self.world.read_all()
