"""What the broker refuses for its limits, or while it can't store, is recorded with the bound and the client."""

from __future__ import annotations

from typing import TYPE_CHECKING

from structlog.testing import capture_logs

from fleetkey.access import RefusalLog, RefusalRecorder, TopicScope
from fleetkey.broker.codec import Reason
from fleetkey.broker.refusals import Claims, Refusals, Rejected
from fleetkey.registry import RefusalIncrement, RefusalListener, RefusalReason
from tests.support import packets as wire
from tests.unit.broker.connection_rig import CLIENT, Rig
from tests.unit.broker.rig import Censor, principal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.unit.broker.rig import Parts

DEVICE = "0" * 24
KEY = "1" * 32


class Recorded:
    """A rig whose refusals are recorded."""

    def __init__(self, parts: Parts, *, is_device: bool = False) -> None:
        self.who = principal(DEVICE if is_device else CLIENT, is_device=is_device)
        self.added: list[RefusalIncrement] = []
        self._recorder = RefusalRecorder(self._add, flush_seconds=1e9)
        self.rig = Rig(parts, self.who, Refusals(self._recorder))

    def _add(self, increments: Sequence[RefusalIncrement]) -> None:
        self.added += increments

    async def only(self) -> RefusalIncrement:
        """Return the only increment."""
        await self._recorder.close()
        (increment,) = self.added
        assert increment.listener is RefusalListener.MQTT
        return increment


def _told(increment: RefusalIncrement) -> tuple[str, str, str, bool]:
    return increment.stage.value, increment.reason.value, increment.detail, increment.is_proven


async def test_max_connections(new_parts: Callable[..., Parts]) -> None:
    """A connection that is one too many is recorded by its address."""
    recorded = Recorded(new_parts(max_connections=1))
    recorded.rig.connect()
    assert recorded.rig.connect(client_id="two").transport.is_closed
    assert _told(await recorded.only()) == ("connect", "bound_reached", "max_connections", False)


async def test_max_sessions_per_application(new_parts: Callable[..., Parts]) -> None:
    """An application's client that is one too many is recorded with its key."""
    recorded = Recorded(new_parts(max_sessions_per_application=1))
    recorded.rig.connect(client_id="one")
    recorded.rig.connect(client_id="two")
    increment = await recorded.only()
    assert _told(increment) == ("connect", "bound_reached", "max_sessions_per_application", True)
    assert increment.client_id == "two"


async def test_taken_over(parts: Parts) -> None:
    """A client whose place another one of its key takes is recorded, as two may share credentials by mistake."""
    recorded = Recorded(parts)
    recorded.rig.connect()
    recorded.rig.connect()
    increment = await recorded.only()
    assert _told(increment) == ("connection", "taken_over", "", True)
    assert increment.client_id == CLIENT


async def test_secret_as_a_topic(parts: Parts) -> None:
    """A secret in a refused topic is neither recorded nor logged, wherever it is in there."""
    recorded, secret = Recorded(parts, is_device=True), "0123456789abcdef" * 4
    recorded.who.scope = TopicScope(publish=(), subscribe=())
    with capture_logs() as lines:
        recorded.rig.connect(client_id=DEVICE).send(wire.publish(f"{'x' * 220}/{secret}/y", b""))
    increment = await recorded.only()
    assert increment.reason is RefusalReason.FOREIGN_TOPIC
    assert secret[:16] not in repr((lines, increment))


async def test_revoked_before_the_answer(parts: Parts) -> None:
    """A client whose key ends while it is connecting is known."""
    recorded = Recorded(parts)
    recorded.who.is_revoked = True
    recorded.rig.connect()
    assert _told(await recorded.only()) == ("connect", "revoked", "", True)


async def test_revoked_publish(parts: Parts) -> None:
    """So is one whose key ends before its connection is closed."""
    recorded = Recorded(parts)
    client = recorded.rig.connect()
    recorded.who.is_revoked = True
    client.send(wire.publish(f"devices/{CLIENT}/x"))
    assert _told(await recorded.only()) == ("publish", "revoked", "", True)


async def test_topics_logged(parts: Parts) -> None:
    """Each refused topic is recorded; the first of a connection is logged, with why and whose it is."""
    recorded = Recorded(parts, is_device=True)
    recorded.who.scope = TopicScope(publish=("mine/#",), subscribe=("mine/#",))
    client = recorded.rig.connect(client_id=DEVICE)
    with capture_logs() as lines:
        for number in range(3):
            client.send(wire.publish(f"other/{number}"))
    assert lines == [
        {
            "event": "topic_refused",
            "log_level": "info",
            "action": "publish",
            "reason": "foreign_topic",
            "key": DEVICE,
            "device_id": DEVICE,
            "client_id": DEVICE,
            "topic": "other/0",
        }
    ]
    increment = await recorded.only()
    assert _told(increment) == ("publish", "foreign_topic", "", True)
    assert (increment.count, increment.topic, increment.device_id) == (3, "other/2", DEVICE)


async def test_plugin_refused(new_parts: Callable[..., Parts]) -> None:
    """What the key may do and a plugin refuses has a reason of its own."""
    recorded = Recorded(new_parts(censor=Censor("forbidden")))
    recorded.rig.connect().send(wire.publish("forbidden"))
    assert _told(await recorded.only()) == ("publish", "plugin_refused", "", True)


async def test_not_stored(parts: Parts) -> None:
    """While nothing can be stored, a persistent session is refused."""
    recorded = Recorded(parts)
    parts.store.is_failing = True
    recorded.rig.connect(clean=False)
    assert _told(await recorded.only()) == ("connect", "not_stored", "store_failing", True)


async def test_long_will(parts: Parts) -> None:
    """Nobody is asked about a will that no topic could be; nothing is proven."""
    recorded = Recorded(parts)
    recorded.rig.connect(will=wire.Will("x" * 2_000, b"gone"))
    increment = await recorded.only()
    assert _told(increment) == ("connect", "will_too_long", "", False)
    assert increment.topic == "x" * 127 + "…"


async def test_no_turn(parts: Parts) -> None:
    """A CONNECT that gives way to others is recorded with what it claims, though the client gets no answer."""
    recorded = Recorded(parts)
    clients = [recorded.rig.connect(client_id=f"c{number}") for number in range(40)]
    assert recorded.rig.connection_parts.scheduler.connects.make_room()
    (given_up,) = (number for number, client in enumerate(clients) if client.transport.is_closed)
    increment = await recorded.only()
    assert _told(increment) == ("connect", "overloaded", "", False)
    assert increment.client_id == f"c{given_up}"
    assert not clients[given_up].packets()


async def test_logged_once() -> None:
    """What the authenticator logged isn't logged again; the rest is, with what is known, and without a secret."""
    refusal_log = RefusalLog()
    refusals = Refusals(None, refusal_log)
    client = Asking()
    secret = "f" * 64
    with capture_logs() as lines:
        refusals.connect(
            client, Rejected(Reason.NOT_AUTHORIZED, RefusalReason.UNKNOWN_KEY, is_logged=True), Claims("c", KEY), 5
        )
        refusals.connect(
            client,
            Rejected(Reason.UNSUPPORTED_PROTOCOL, RefusalReason.PROTOCOL_5),
            Claims(client_id=f"{secret}\n", username=secret),
            1,
        )
        refusals.early(client, RefusalReason.TLS_ON_PLAIN_PORT)
    refusal_log.close()
    assert [(line["event"], line["reason"], line["address"]) for line in lines] == [
        ("login_refused", "protocol_5", "192.0.2.1"),
        ("connection_refused", "tls_on_plain_port", "192.0.2.1"),
    ]
    assert (lines[0]["key"], lines[0]["client_id"], lines[0]["code"]) == (None, "[64 hex digits]\\n", 1)


class Asking:
    """A connection, as far as it matters."""

    listener = "tcp"
    address = "192.0.2.1"
    transport = None
