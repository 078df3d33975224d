"""What may happen, in any order: each rule does something to the broker and to the model, and then compares them."""

from __future__ import annotations

import sys

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.stateful.isolation_model import Violation
from tests.stateful.world import APPLICATIONS, DEVICES, Publications, World
from tests.support.packets import Will, publish, subscribe

__all__ = ["IsolationMachine"]

STEPS_BETWEEN_RESTARTS = 30
RESTARTS_TO_A_STOP = 2
"""Every second time the broker is stopped, which takes as long as fifty other steps; else it is killed."""
STEPS_BETWEEN_RETURNS = 20
FEWEST_CLIENTS = 2

parties = st.sampled_from((*DEVICES, *APPLICATIONS))
client_ids = st.sampled_from(("x", "y", ""))
picks = st.integers(0, 15)
levels = st.integers(0, 2)
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
        *("devices/{me}/a", "devices/{me}/+", "devices/+/#", "site/+/#", "devices/+/a", "site/b/+", "fleet/news") * 2,
        *("devices/+/+/c", "devices/+", "devices/+/b/#"),
        *("devices/{me}/+/c", "devices/#", "#", "+/#", "+/+/a", "+/{me}/#", "fleet/#", "jobs/#", "jobs/b"),
        *("$fleet/#", "$SYS/#", "$share/g/devices/{me}/#", "/#", "devices/{me}/../#", "site/{site}"),
    )
)
own_topics = st.sampled_from(("devices/{me}/a", "site/{site}/a", "devices/{d1}/a", "site/b/a"))
wills = st.none() | st.tuples(own_topics, levels, st.booleans())
seldom = st.integers(0, 7).map(lambda number: number == 7)
publications = st.lists(st.tuples(topics, levels, st.booleans(), seldom), min_size=1, max_size=3)
own_publications = st.lists(st.tuples(own_topics, levels, st.booleans(), st.just(value=False)), min_size=1, max_size=4)
subscriptions = st.lists(st.tuples(filters, levels), min_size=1, max_size=3)
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
        will=wills,
        answers=often,
        websocket=rarely,
        pairs=st.none() | subscriptions,
    )
    def connect(
        self,
        *,
        name: str,
        client_id: str,
        clean: bool,
        will: tuple[str, int, bool] | None,
        answers: bool,
        websocket: bool,
        pairs: list[tuple[str, int]] | None,
    ) -> None:
        """Someone connects with its newest key: new, back again, or in place of its own connection."""
        connected = self.world.log_in(name, client_id, clean=clean, will=will, answers=answers, websocket=websocket)
        if connected and pairs:
            self.world.subscribe(len(self.world.clients) - 1, pairs)

    @rule(name=parties, other=parties, flaw=flaws, clean=st.booleans(), topic=topics, websocket=rarely)
    def connect_with_a_flaw(
        self, *, name: str, other: str, flaw: str, clean: bool, topic: str, websocket: bool
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
            will = Will(their_topic if flaw == "foreign will" else "$SYS/x", self.world.new_payload(), 1, retain=True)
        # If it is let in after all, it says nothing yet; a refused one may say what it likes.
        forged = publish(self.world.fill(topic, stranger), self.world.new_payload(), qos=1, retain=True)
        said = forged + subscribe(1, ("#", 1))
        if flaw == "no connect":
            self.world.attempt(b"", said, None, websocket=websocket)
        else:
            self.world.connect(username, password, client_id, will, clean=clean, websocket=websocket, said=said)

    @precondition(lambda self: self.world.clients)
    @rule(pick=picks, is_in_order=rarely)
    def leave(self, *, pick: int, is_in_order: bool) -> None:
        """Someone disconnects, or its connection breaks and its will goes out."""
        client = self.world.client(pick)
        self.world.say(f"{client.session.client_id!r} leaves, {is_in_order=}")
        del self.world.clients[client.session.client_id]
        if is_in_order:
            client.disconnect()
        else:
            client.drop()
        self.world.model.close(client.session, has_will=not is_in_order)

    @precondition(lambda self: self.world.clients)
    @rule(pick=picks, pairs=subscriptions)
    def subscribe(self, pick: int, pairs: list[tuple[str, int]]) -> None:
        """Someone subscribes, to what it may have or to what it may not."""
        self.world.subscribe(pick, pairs)

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
                client.drain()
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
            (self.world.fill(template, party), self.world.new_payload(), max(qos, 1), retain)
            for template, qos, retain, _is_empty in messages
        ]
        numbers = [client.publish(topic, payload, qos, retain=retain) for topic, payload, qos, retain in sent]
        client.finish(most=rest)
        for number, (topic, payload, qos, retain) in zip(numbers, sent, strict=True):
            must = client.is_acknowledged(number)
            self.world.model.publish(party, topic, payload, qos, retain=retain, must=must)
            self.world.say(f"{client.session.client_id!r} publishes {topic} {payload!r} {qos=} {retain=}, {must=}")
        self.world.say("kill")
        self.world.broker.cut()
        self.world.clients.clear()
        # Nobody says a last word for a process that was killed: wills are lost, which the documentation says.
        self.world.model.all_closed()
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
                self.world.log_in(session.party.name, client_id, clean=session.is_clean)
        self.world.read_all()
