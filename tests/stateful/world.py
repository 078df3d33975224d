"""A broker, a model and clients: what is done to the one is done to the other."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from fleetkey.registry import ApplicationScope
from tests.stateful.broker_driver import BrokerDriver
from tests.stateful.client import Client
from tests.stateful.isolation_model import ACCEPTED, REFUSED_FILTER, Key, Model, Party, Violation
from tests.stateful.topic_model import Scope
from tests.support.packets import Will, connect
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["APPLICATIONS", "DEVICES", "Publications", "World"]

DEVICES, APPLICATIONS = ("d1", "d2", "d3"), ("A", "B")
EVERYTHING = "devices/+/#", "site/+/#", "fleet/#"

Publications = list[tuple[str, int, bool, bool]]
"""Topic, QoS, retain, and whether it is empty."""


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
        will: tuple[str, int, bool] | None = None,
        answers: bool = True,
        websocket: bool = False,
    ) -> bool:
        """Connect with the newest key, and say whether that was accepted."""
        party = self.model.parties[name]
        key, asked = party.keys[-1], None
        if will is not None:
            asked = Will(self.fill(will[0], party), self.new_payload(), will[1], retain=will[2])
        client_id = party.device_id or client_id
        return self.connect(key.key, key.secret, client_id, asked, clean=clean, websocket=websocket, answers=answers)

    def connect(
        self,
        username: str | None,
        password: str | None,
        client_id: str,
        will: Will | None,
        *,
        clean: bool,
        websocket: bool,
        answers: bool = True,
        said: bytes = b"",
    ) -> bool:
        """Send a CONNECT and hold the answer against the model's."""
        model = self.model
        party, key = model.prove(username, password) or (None, None)
        code = model.answer(party, client_id, will, clean=clean)
        hello = connect(client_id, username, password, clean=clean, will=will, keep_alive_seconds=0)
        if party is None or key is None or code != ACCEPTED:
            self.say(f"CONNECT {username} as {client_id!r} {clean=} {will}: {code}")
            self.attempt(hello, said, code, websocket=websocket)
            return False
        is_replacing = not key.has_connected and any(older.is_active for older in party.keys if older is not key)
        self._names += 1
        before = self.clients.pop(client_id, None)
        name = client_id or f"auto-{self._names}"
        session, is_present = model.open(party, key, name, will, clean=clean)
        self.say(f"CONNECT {party.name} as {name!r} {clean=} {answers=} {websocket=} {will}: {is_present=}")
        wire = self.broker.open(websocket=websocket)
        if (got := wire.log_in(hello)) != ACCEPTED or wire.is_session_present != is_present:
            msg = f"CONNACK was {got}, session-present {wire.is_session_present}, not {ACCEPTED}, {is_present}"
            raise Violation(msg)
        self.clients[name] = Client(wire, session, answers=answers)
        if before is not None:
            before.drain()
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

    def subscribe(self, pick: int, pairs: Sequence[tuple[str, int]]) -> None:
        """Subscribe, and hold the codes against the model's."""
        client = self.client(pick)
        filled = [(self.fill(topic_filter, client.session.party), qos) for topic_filter, qos in pairs]
        expected = self.model.subscribe(client.session, filled)
        self.say(f"{client.session.client_id!r} subscribes {filled}: {expected}")
        if (got := client.subscribe(filled)) != expected:
            raise client.session.violation(got, f"instead of {expected} for {filled}")

    def publish(self, pick: int, messages: Publications, *, again: bool = False) -> None:
        """Publish; templates are filled in."""
        client = self.client(pick)
        for template, qos, retain, is_empty in messages:
            topic, payload = self.fill(template, client.session.party), b"" if is_empty else self.new_payload()
            taken = self.model.publish(client.session.party, topic, payload, qos, retain=retain)
            self.say(f"{client.session.client_id!r} publishes {topic} {payload!r} {qos=} {retain=} {again=}: {taken}")
            client.publish(topic, payload, qos, retain=retain, again=again and qos == 2 and taken == "taken")

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
                client.drain()
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
        expected = [0 if party.scopes[-1].may_subscribe(name) else REFUSED_FILTER for name in filters]
        return self._probe(party, client, filters) == expected

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
        self.log_in("A", "probe", clean=True)
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
        for client in self.clients.values():
            client.ping()
        for client in self.clients.values():
            client.settle()

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
