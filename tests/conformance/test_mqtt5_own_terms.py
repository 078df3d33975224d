"""What a server says in CONNACK that is set up to take less than others (3.2.2.3)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.fleet import Fleet
from tests.support.packets import PINGREQ, Will, publish
from tests.support.properties import Name, prop
from tests.support.server import NO_LIMITS, ServerProcess
from tests.support.waiting import WAIT_SECONDS
from tests.support.wire_clients import EVERYTHING, Clients

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.usefixtures("mqtt_5")

KEEP_ALIVE_TIMEOUT, ALIAS_INVALID = 0x8D, 0x94


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run a server that takes short keep alives and no topic aliases."""
    environment = {
        **NO_LIMITS,
        "FLEETKEY_MQTT__MAX_KEEP_ALIVE_SECONDS": "1",
        "FLEETKEY_MQTT__MAX_TOPIC_ALIASES": "0",
        "FLEETKEY_MQTT__MAX_UNRELEASED": "3",
        "FLEETKEY_MQTT__MAX_WILL_DELAY_SECONDS": "1",
    }
    with ServerProcess(tmp_path_factory.mktemp("strict"), environment=environment) as server:
        yield Fleet(server)


@pytest.fixture
def mqtt(strict: Fleet) -> Iterator[Clients]:
    """Make clients of this server."""
    with Clients(strict, strict.application(**EVERYTHING)) as clients:
        yield clients


@pytest.mark.parametrize("seconds", [0, 2, 65_535])
def test_server_keep_alive(mqtt: Clients, seconds: int) -> None:
    """A client with a longer keep alive is told the server's, and is disconnected by it (3.1.2-21, 3.2.2-21)."""
    witness = mqtt.connect(keep_alive_seconds=1)
    witness.subscribe(mqtt.topic("will"))
    wire = mqtt.connect(keep_alive_seconds=seconds, will=Will(mqtt.topic("will")))
    assert wire.terms[Name.SERVER_KEEP_ALIVE] == 1
    for _ in range(40):
        witness.send(PINGREQ)
        if wire.is_closed_by_broker(WAIT_SECONDS / 40):
            break
    assert wire.is_closed_for(KEEP_ALIVE_TIMEOUT)
    assert witness.publication().payload == b"gone"


def test_shorter_keep_alive(mqtt: Clients) -> None:
    """A client whose keep alive isn't longer is told nothing (3.2.2-22)."""
    assert Name.SERVER_KEEP_ALIVE not in mqtt.connect(keep_alive_seconds=1).terms


@pytest.mark.parametrize("number", [1, 16])
def test_no_aliases(mqtt: Clients, number: int) -> None:
    """Where none is announced, every alias closes the connection; none is sent either (3.2.2-18, 3.1.2-26)."""
    topic = mqtt.topic("a/long/topic")
    wire = mqtt.connect(properties=prop(Name.TOPIC_ALIAS_MAXIMUM, 10))
    assert not wire.terms.get(Name.TOPIC_ALIAS_MAXIMUM)
    wire.subscribe(topic)
    for _ in range(2):
        wire.publish(topic)
        got = wire.publication()
        assert (got.topic, got.properties) == (topic, ())
    wire.send(publish(topic, properties=prop(Name.TOPIC_ALIAS, number)))
    assert wire.is_closed_for(ALIAS_INVALID)


def test_receive_maximum(mqtt: Clients) -> None:
    """The receive maximum that is announced is the one that is set (3.3.4-7)."""
    assert mqtt.connect().terms[Name.RECEIVE_MAXIMUM] == 3


def test_capped_delay_of_a_will(mqtt: Clients) -> None:
    """A will waits no longer than the server lets it (3.1.2-8)."""
    topic = mqtt.topic("will")
    witness = mqtt.connect()
    witness.subscribe(topic)
    mqtt.connect(clean=False, will=Will(topic, properties=prop(Name.WILL_DELAY, 3600))).drop()
    for _ in range(40):
        witness.settle()
        if witness.inbox:
            break
        witness.is_closed_by_broker(0.1)
    assert witness.publication().payload == b"gone"
