"""What MQTT 5 adds to the state of sessions and messages, when the server ends and starts again (4.1)."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from tests.support.packets import Will
from tests.support.properties import Name, Value, prop

if TYPE_CHECKING:
    from tests.support.wire_clients import Clients

pytestmark = pytest.mark.usefixtures("mqtt_5")

NO_LOCAL, AS_PUBLISHED, IF_NEW = 0x04, 0x08, 0x10
SENT: list[tuple[int, Value]] = [
    (Name.CONTENT_TYPE, "text/plain"),
    (Name.USER_PROPERTY, ("b", "2")),
    (Name.RESPONSE_TOPIC, "answers"),
    (Name.USER_PROPERTY, ("a", "1")),
    (Name.CORRELATION_DATA, b"\x00\xff"),
]
PROPERTIES = b"".join(prop(*each) for each in SENT)


@pytest.mark.parametrize("how", ["stop", "kill"])
def test_restart(mqtt: Clients, how: str) -> None:
    """Options, identifiers, properties, intervals, and wills that wait are as before; time goes on meanwhile.

    3.1.2-5, 3.1.2-8, 3.1.2-23, 3.3.1-10, 3.3.1-13, 3.3.2-5, 3.3.2-6, 3.3.2-17, 3.3.2-18, 3.3.4-3.
    """
    name, short, witness_name = mqtt.name(), mqtt.name(), mqtt.name()
    topic, kept, will, own = (mqtt.topic(rest) for rest in ("x", "kept", "will", "own"))
    wire = mqtt.connect(name, clean=False, properties=prop(Name.SESSION_EXPIRY, 3600))
    wire.subscribe(topic, qos=1, options=AS_PUBLISHED | IF_NEW, properties=prop(Name.SUBSCRIPTION_IDENTIFIER, 300))
    wire.subscribe(own, qos=1, options=NO_LOCAL)
    wire.disconnect()
    mqtt.subscriber(will, qos=1, client_id=witness_name, clean=False).disconnect()
    mqtt.connect(short, clean=False, properties=prop(Name.SESSION_EXPIRY, 1)).disconnect()
    publisher = mqtt.connect()
    lasting, brief = prop(Name.MESSAGE_EXPIRY, 1000), prop(Name.MESSAGE_EXPIRY, 1)
    publisher.publish(topic, b"lasting", qos=1, retain=True, properties=PROPERTIES + lasting)
    publisher.publish(topic, b"brief", qos=1, properties=brief)
    publisher.publish(kept, b"lasting", qos=1, retain=True, properties=PROPERTIES + lasting)
    publisher.publish(mqtt.topic("brief"), b"brief", qos=1, retain=True, properties=brief)
    for delay, payload in (1, b"soon"), (3600, b"later"):
        properties = prop(Name.WILL_DELAY, delay) + PROPERTIES
        mqtt.connect(clean=False, will=Will(will, payload, 1, properties=properties)).drop()
    publisher.publish(mqtt.topic("last"), qos=1, retain=True)
    server = mqtt.fleet.server
    if how == "kill":
        server.kill9()
        server.start()
    else:
        server.restart()
    time.sleep(1.1)
    assert not mqtt.connect(short, clean=False).is_session_present
    wire = mqtt.connect(name, clean=False)
    assert wire.is_session_present
    (got,) = wire.publications()
    passed_on = [each for each in got.properties if each[0] != Name.MESSAGE_EXPIRY]
    assert (got.payload, got.retain, got.dup) == (b"lasting", True, False)
    assert passed_on == [*SENT, (Name.SUBSCRIPTION_IDENTIFIER, 300)]
    left = dict(got.properties)[Name.MESSAGE_EXPIRY]
    assert isinstance(left, int)
    assert 900 < left < 1000
    wire.acknowledge(got)
    wire.subscribe(topic, qos=1, options=IF_NEW)
    wire.publish(own, qos=1)
    assert wire.publications() == []
    late = mqtt.subscriber(mqtt.topic("+"), qos=1)
    found = {each.topic: [one for one in each.properties if one[0] != 2] for each in late.publications()}
    assert found == {topic: SENT, kept: SENT, mqtt.topic("last"): []}
    witness = mqtt.connect(witness_name, clean=False)
    first = witness.publication()
    assert (first.payload, list(first.properties)) == (b"soon", SENT)
    assert witness.publications() == []
