"""A broker, a model and clients: what is done to the one is done to the other."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from itertools import cycle
from typing import TYPE_CHECKING

from fleetkey.registry import ApplicationScope
from tests.stateful.asked import BARE, FOREVER, LONG, OLDER, Asks, Dress
from tests.stateful.broker_driver import BrokerDriver
from tests.stateful.client import Client
from tests.stateful.isolation_model import ACCEPTED, Model
from tests.stateful.session_model import Key, LastWill, Message, Party, Violation
from tests.stateful.topic_model import Scope
from tests.support.packets import Will, connect
from tests.support.properties import Name, prop
from tests.support.versions import LEVEL_5
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.stateful.session_model import Session
    from tests.support.wire import Wire

__all__ = ["APPLICATIONS", "DEVICES", "Publications", "WillAsked", "World"]

DEVICES, APPLICATIONS = ("d1", "d2", "d3"), ("A", "B")
EVERYTHING = "devices/+/#", "site/+/#", "fleet/#"
REVOKED, TAKEN_OVER = 0x98, 0x8E
"""What the broker says at the end (MQTT 5, 3.14.2.1)."""
BIG_BYTES = 300
LONGEST_EXPIRY = 7 * 86_400
"""For how many seconds the broker keeps a session at most."""
FAILURES = 0x80

Publications = list[tuple[str, int, bool, bool, Dress]]
"""Topic, QoS, retain, whether it is empty, and what else it has."""
WillAsked = tuple[str, int, bool, int, Dress]
"""Topic, QoS, retain, the delay in seconds, and what else it has."""
PATIENT_WILL: WillAsked = "site/{site}/a", 1, False, LONG, BARE


class World:
    """Three devices at two sites, application A, which reaches everything, and B, which reaches the devices of site a.

    A device's topics are its own and its site's, so that moving it changes what it reaches, and what B does.
    """

    def __init__(self) -> None:
        self.broker = BrokerDriver()
        self.clients: dict[str, Client] = {}
        """By client id."""
        self.history: list[str] = []
        self._payloads = self._names = 0
        self._versions = cycle((OLDER, Asks(expiry=FOREVER)))
        parties = [self._new_device(name, site) for name, site in zip(DEVICES, "aab", strict=True)]
        everywhere, some = Scope(("fleet/#", "$fleet/#"), ("fleet/#", "$fleet/#")), Scope(("jobs/b",), ("fleet/news",))
        parties += [Party(name="A", reach="all", extra=everywhere), Party(name="B", reach="a", extra=some)]
        for party in parties[-2:]:
            party.keys.append(self._new_application_key(party))
        self.model = Model(parties)

    def log_in(
        self,
        name: str,
        client_id: str,
        *,
        clean: bool,
        asks: Asks | None = None,
        will: WillAsked | None = None,
        answers: bool = True,
        websocket: bool = False,
    ) -> bool:
        """Connect with the newest key, and say whether that was accepted.

        By default it is in either version in turn, and a device's will waits if that can be said.
        """
        party = self.model.parties[name]
        if asks is None:
            asks = next(self._versions)
            will = will or (PATIENT_WILL if party.device_id else None)
        if asks.level == LEVEL_5 and not (client_id or party.device_id):
            # The client of an unnamed session doesn't come back.
            asks = replace(asks, expiry=0)
        key, last = party.keys[-1], None
        if will is not None:
            topic, qos, retain, delay, dress = will
            is_newer = asks.level == LEVEL_5
            message = self._message(party, topic, qos, retain=retain, dress=dress if is_newer else BARE)
            last = LastWill(message=message, delay=delay if is_newer else 0)
        if party.device_id and not (asks.level == LEVEL_5 and not client_id):
            client_id = party.device_id
        return self.connect(
            key.key, key.secret, client_id, last, clean=clean, asks=asks, websocket=websocket, answers=answers
        )

    def connect(
        self,
        username: str | None,
        password: str | None,
        client_id: str,
        will: LastWill | None,
        *,
        clean: bool,
        asks: Asks,
        websocket: bool,
        answers: bool = True,
        said: bytes = b"",
    ) -> bool:
        """Send a CONNECT and hold the answer against the model's."""
        model = self.model
        party, key = model.prove(username, password) or (None, None)
        code = model.answer(party, client_id, will, asks, clean=clean)
        hello = connect(
            *(client_id, username, password),
            clean=clean,
            will=_encoded(will),
            keep_alive_seconds=0,
            level=asks.level,
            properties=asks.properties,
        )
        if party is None or key is None or code != ACCEPTED:
            self.say(f"CONNECT {username} as {client_id!r} {clean=} {asks} {will}: {code}")
            self.attempt(hello, said, code, websocket=websocket)
            return False
        is_replacing = not key.has_connected and any(older.is_active for older in party.keys if older is not key)
        self._names += 1
        name = client_id or party.device_id or f"auto-{self._names}"
        before = self.clients.pop(name, None)
        session, is_present = model.open(party, key, name, will, asks, clean=clean)
        self.say(f"CONNECT {party.name} as {name!r} {clean=} {asks} {answers=} {websocket=} {will}: {is_present=}")
        wire = self.broker.open(websocket=websocket)
        if (got := wire.log_in(hello)) != ACCEPTED or wire.is_session_present != is_present:
            msg = f"CONNACK was {got}, session-present {wire.is_session_present}, not {ACCEPTED}, {is_present}"
            raise Violation(msg)
        if asks.level == LEVEL_5:
            _check_terms(wire, asks, "" if client_id else party.device_id or "auto-")
        self.clients[name] = Client(wire, session, answers=answers)
        if before is not None:
            # Which comes first, the new connection or the end of the older key, nobody knows.
            before.drain(TAKEN_OVER, *[REVOKED] * is_replacing)
        if is_replacing:
            self.broker.wait_for_changes()
        return True

    def attempt(self, hello: bytes, said: bytes, code: int | None, *, websocket: bool) -> None:
        """Say something that is refused, and expect the return code and then the end."""
        wire = self.broker.open(websocket=websocket)
        got = wire.log_in(hello + said)
        if got != code or wire.is_session_present or wire.read() is not None:
            msg = f"CONNACK was {got} {wire.is_session_present}, not {code}, or something came after it"
            raise Violation(msg)
        wire.close()

    def subscribe(self, pick: int, pairs: Sequence[tuple[str, int]], identifier: int = 0) -> None:
        """Subscribe, and hold the codes against the model's."""
        client = self.client(pick)
        filled = [(self.fill(topic_filter, client.session.party), options) for topic_filter, options in pairs]
        # A shared one with "no local" is against the standard (MQTT 5, 3.8.3-4).
        filled = [(name, options & ~4 if name.startswith("$share/") else options) for name, options in filled]
        expected = self.model.subscribe(client.session, filled, identifier)
        self.say(f"{client.session.client_id!r} subscribes {filled} {identifier=}: {expected}")
        if (got := client.subscribe(filled, identifier)) != expected:
            raise client.session.violation(got, f"instead of {expected} for {filled}")

    def publish(self, pick: int, messages: Publications, *, again: bool = False) -> None:
        """Publish; templates are filled in."""
        client = self.client(pick)
        session = client.session
        for template, qos, retain, is_empty, dress in messages:
            message = self.message(session, template, qos, retain=retain, dress=dress, is_empty=is_empty)
            taken = self.model.publish(session.party, message, session.client_id)
            self.say(f"{session.client_id!r} publishes {message} {again=}: {taken}")
            client.publish(message, taken, again=again and qos == 2 and taken == "taken")

    def publish_by_alias(self, client: Client) -> None:
        """Publish to every topic that an alias stands for, with nothing but the alias; what that topic may, it may."""
        for alias, topic in client.aliases.items():
            message = self.message(client.session, topic, 1, retain=False, dress=Dress(alias=alias))
            taken = self.model.publish(client.session.party, message, client.session.client_id)
            self.say(f"{client.session.client_id!r} publishes by alias {message}: {taken}")
            client.publish(message, taken)

    def message(
        self, session: Session, template: str, qos: int, *, retain: bool, dress: Dress = BARE, is_empty: bool = False
    ) -> Message:
        """Return a new message of a session, as its version allows it."""
        if session.asks.level != LEVEL_5:
            dress = Dress(is_big=dress.is_big)
        return self._message(session.party, template, qos, retain=retain, dress=dress, is_empty=is_empty)

    def _message(
        self, party: Party, template: str, qos: int, *, retain: bool, dress: Dress, is_empty: bool = False
    ) -> Message:
        payload = b"" if is_empty else self.new_payload() + bytes(BIG_BYTES if dress.is_big else 0)
        dress = dress._replace(is_big=dress.is_big and not is_empty)
        return Message(topic=self.fill(template, party), payload=payload, qos=qos, retain=retain, dress=dress)

    def leave(self, pick: int, reason: int | None, expiry: int | None) -> None:
        """Disconnect, or let the connection break if there is no reason; what only MQTT 5 has is left out for 3.1.1."""
        client = self.client(pick)
        session = client.session
        if session.asks.level != LEVEL_5 and reason is not None:
            reason, expiry = 0, None
        if reason is None or not session.is_kept:
            expiry = None  # A session that ends with its connection stays one (MQTT 5, 3.14.2.2.2).
        self.say(f"{session.client_id!r} leaves, {reason=} {expiry=}")
        del self.clients[session.client_id]
        if reason is None:
            client.drop()
        else:
            client.disconnect(reason, expiry)
        if expiry is not None:
            session.is_kept = expiry > 0
        self.model.close(session, has_will=reason != 0)

    def apply(self, kind: str, party: Party, *, is_down: bool = False) -> bool:
        """Commit a change, if it can be made, and tell the model that it is on its way."""
        with self.broker.store() as store:
            if kind == "revoke" or (kind == "delete" and not party.device_id):
                party.keys[-1].is_active = False
                store.revoke_key(party.keys[-1].key, actor="test")
            elif kind == "delete":
                for key in party.keys:
                    key.is_active = False
                party.is_deleted = True
                store.delete_device(party.device_id, actor="test")
            elif kind == "disable" and party.device_id:
                party.is_enabled = not party.is_enabled
                self.broker.set_enabled(party.device_id, is_enabled=party.is_enabled)
            elif kind == "register" and party.device_id and party.is_enabled:
                party.keys.append(self.broker.register(party.name)[1])
            elif kind == "tag" and (is_down or party.device_id in self.clients):
                # What a device that is away reaches now can't be asked for without letting it in.
                if not party.device_id:
                    return False
                party.site = "b" if party.site == "a" else "a"
                self.broker.tag(party.device_id, party.site)
            else:
                return False
        self.say(f"{kind} {party}")
        is_kicked = any(s.key and s.party is party and not party.is_valid(s.key) for s in self.model.connected)
        self.model.changed(party if is_kicked else None)
        return True

    def wait_for_change(self) -> None:
        """Return when the change has arrived and whoever lost its connection by it has read to the end."""
        self.broker.wait_for_changes()
        for client_id, client in list(self.clients.items()):
            session = client.session
            if session.key and not session.party.is_valid(session.key):
                client.drain(REVOKED)
                self.model.close(session, has_will=False)
                del self.clients[client_id]

    def renew(self, kind: str, party: Party) -> None:
        """Put someone new in the place of a deleted device, and a new key in that of a revoked one."""
        if kind == "delete" and party.device_id:
            self.model.forget(party.device_id)
            self.model.parties[party.name] = self._new_device(party.name, party.site)
        elif not party.device_id and not party.keys[-1].is_active:
            self.model.forget(party.owner)
            party.keys.append(self._new_application_key(party))
        elif party.is_enabled and not any(key.is_active for key in party.keys):
            party.keys.append(self.broker.register(party.name)[1])
        self.model.changed()

    def wait_for_scopes(self) -> None:
        """Return when those whose scope changed are granted what they may reach now, and no more."""
        for party in self.model.parties.values():
            is_held = partial(self._is_held, party)
            if len(party.scopes) > 1 and not eventually(is_held, self.broker.change_seconds):
                msg = f"{party} is not held to {party.scopes[-1]}"
                raise Violation(msg)

    def _is_held(self, party: Party) -> bool:
        """Whether someone is granted exactly what its newest scope has, as far as it can be asked."""
        client = self.clients.get(party.device_id)
        if client is not None:
            filters = [f"site/{site}/probe" for site in "ab"]
        elif party.reach:
            filters = [f"devices/{other.device_id}/x" for other in self.model.parties.values() if other.device_id]
        else:
            return True
        expected = [party.scopes[-1].may_subscribe(name) for name in filters]
        return [code < FAILURES for code in self._probe(party, client, filters)] == expected

    def _probe(self, party: Party, client: Client | None, filters: Sequence[str]) -> list[int]:
        pairs = [(topic_filter, 0) for topic_filter in filters]
        if client is not None:
            codes = client.subscribe(pairs)
            client.unsubscribe(*filters)
            return codes
        wire = self.broker.open()
        assert (
            wire.log_in(connect("probe", party.keys[-1].key, party.keys[-1].secret, keep_alive_seconds=0)) == ACCEPTED
        )
        codes = wire.subscribe(*filters)
        wire.disconnect()
        return codes

    def _new_device(self, name: str, site: str) -> Party:
        device_id, key = self.broker.register(name)
        self.broker.tag(device_id, site)
        return Party(name=name, device_id=device_id, keys=[key], site=site)

    def _new_application_key(self, party: Party) -> Key:
        tags = (("site", party.reach),) if party.reach != "all" else ()
        scope = ApplicationScope(
            all_devices=not tags, tags=tags, publish=party.extra.publish, subscribe=party.extra.subscribe
        )
        return self.broker.new_application_key(party.name, scope)

    def inspect(self) -> None:
        """Let a new client of A's ask for every retained message: what others have left, or must not have left."""
        self.log_in("A", "probe", clean=True, asks=replace(next(self._versions), expiry=0))
        self.subscribe(len(self.clients) - 1, [(topic_filter, 1) for topic_filter in EVERYTHING])
        self.read_all()
        inspector = self.clients.pop("probe")
        inspector.disconnect()
        self.model.close(inspector.session, has_will=False)

    def client(self, pick: int) -> Client:
        """Return one of the clients that are there."""
        return list(self.clients.values())[pick % len(self.clients)]

    def read_all(self) -> None:
        """Let everyone who is there read what the broker has sent, and hold it against the model."""
        deadline = time.monotonic() + Client.delivery_seconds
        while True:
            for client in self.clients.values():
                client.ping()
            for client in self.clients.values():
                client.settle()
            overdue = [c.session for c in self.clients.values() if c.session.overdue_here_or_elsewhere()]
            if not overdue:
                return
            if time.monotonic() > deadline:
                raise overdue[0].violation(overdue[0].overdue_here_or_elsewhere(), "came to no member of the group")

    def fill(self, template: str, party: Party) -> str:
        """Name real devices and sites; an application's own is the first device."""
        ids = {name: self.model.parties[name].device_id for name in DEVICES}
        return template.format(me=party.device_id or ids["d1"], site=party.site, **ids)

    def new_payload(self) -> bytes:
        """Return what no other message says."""
        self._payloads += 1
        return b"m%d" % self._payloads

    def say(self, line: str) -> None:
        """Note what happened, for the report."""
        self.history.append(line)


def _encoded(will: LastWill | None) -> Will | None:
    """Return a will as CONNECT has it."""
    if will is None:
        return None
    message = will.message
    own = (prop(Name.WILL_DELAY, will.delay) if will.delay else b"") + message.dress.encoded(alias=False)
    return Will(message.topic, message.payload, message.qos, retain=message.retain, properties=own)


def _check_terms(wire: Wire, asks: Asks, assigned: str) -> None:
    """Hold against a CONNACK what it must say about the client id and the session's end (MQTT 5, 3.2.2.3)."""
    expiry, client_id = wire.terms.get(Name.SESSION_EXPIRY), wire.terms.get(Name.ASSIGNED_CLIENT_ID, "")
    if expiry != (LONGEST_EXPIRY if asks.expiry == FOREVER else None) or not client_id.startswith(assigned):
        msg = f"CONNACK for {asks} says {wire.terms}, not {assigned!r}"
        raise Violation(msg)
    if client_id and not assigned:
        msg = f"CONNACK says {client_id!r} to a client that has one"
        raise Violation(msg)
