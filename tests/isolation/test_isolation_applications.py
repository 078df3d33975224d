"""An application key reaches what its scope says, and nothing beyond."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from tests.support.command_line import cli
from tests.support.fleet import Credentials
from tests.support.ledger import the_ledger
from tests.support.mqtt_client import REFUSED
from tests.support.versions import shared_code
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from tests.support.fleet import Fleet
    from tests.support.mqtt_client import MqttClient
    from tests.support.scene import Scene


def _create(fleet: Fleet, *flags: str) -> Credentials:
    made = cli("keys", "create", "--application", "test", "--json", *flags, data_dir=fleet.server.data_dir)
    assert made.status == 0, made.err
    the_ledger().note_secret(made.json["secret"])
    return Credentials(client_id=f"app-{made.json['key'][:8]}", key=made.json["key"], secret=made.json["secret"])


def _publishes(scene: Scene, client: MqttClient, topic: str) -> bool:
    """Whether a message gets through: the observer hears it before a later one that certainly does."""
    payload = secrets.token_hex(8).encode()
    client.publish(topic, payload, qos=1)
    client.unsubscribe("nothing")
    scene.settle()
    return topic in scene.heard_by_observer(payload)


def test_create_device(scene: Scene) -> None:
    """`--device` reaches that device's topics both ways, not another's, not all."""
    mine, other = scene.victim, scene.attacker
    application = _create(scene.fleet, "--device", mine.client_id)
    with scene.fleet.connect(application) as client:
        filters = (mine.topic("#"), other.topic("#"), "devices/#", "#", f"devices/{mine.client_id}x/#", "$SYS/#")
        assert client.subscribe(*filters) == [1, *[REFUSED] * 5]
        assert client.subscribe("devices/+/#") == [1]
        assert _publishes(scene, client, mine.topic("command"))
        assert not _publishes(scene, client, other.topic("command"))
        assert scene.victim_client.publish(mine.topic("state"), b"21")
        assert client.hears(mine.topic("state"), b"21")
        with scene.fleet.connect(other) as stranger:
            assert stranger.publish(other.topic("state"), b"22")
        client.unsubscribe("nothing")
        assert not [topic for topic, _ in client.heard if topic == other.topic("state")]


def test_create_tag(scene: Scene) -> None:
    """`--tag` reaches the devices that carry it at that moment: at once when one gets it, no more when it loses it."""
    application = _create(scene.fleet, "--tag", "site=north", "--tag", "line=3")
    with scene.fleet.store() as store, scene.fleet.connect(application) as client:
        state = scene.victim.topic("state")
        assert client.subscribe(scene.victim.topic("#")) == [REFUSED]
        store.tag_device(scene.victim.client_id, {"site": "north"}, actor="test")
        store.tag_device(scene.attacker.client_id, {"site": "south", "line": "3"}, actor="test")
        scene.settle()
        assert client.subscribe(scene.victim.topic("#")) == [REFUSED]
        store.tag_device(scene.victim.client_id, {"line": "3"}, actor="test")
        assert eventually(lambda: client.subscribe(scene.victim.topic("#")) == [1], 1)
        assert client.subscribe(scene.attacker.topic("#"), "devices/#", "devices/+/#") == [REFUSED, REFUSED, 1]
        assert scene.victim_client.publish(state, b"tagged")
        assert client.hears(state, b"tagged")
        assert _publishes(scene, client, scene.victim.topic("command"))

        store.tag_device(scene.victim.client_id, {"site": None}, actor="test")
        assert eventually(lambda: not _publishes(scene, client, scene.victim.topic("late")), 1)
        assert scene.victim_client.publish(state, b"untagged")
        scene.settle()
        assert client.subscribe(scene.victim.topic("#")) == [REFUSED]
        assert (state, b"untagged") not in client.heard


def test_create_all_devices(scene: Scene) -> None:
    """`--all-devices` reaches every device's topics, and nothing else."""
    application = _create(scene.fleet, "--all-devices")
    with scene.fleet.connect(application) as client:
        assert client.subscribe("devices/+/#", scene.attacker.topic("state"), "devices/+/state") == [1, 1, 1]
        refused = ("#", "+/#", "other/#", "devices", "$SYS/#", "$share/g/devices/#", "/devices/+/#")
        assert client.subscribe(*refused) == [REFUSED] * len(refused)
        assert _publishes(scene, client, scene.attacker.topic("command"))
        assert not _publishes(scene, client, "other/command")
        later = scene.fleet.device()
        with scene.fleet.connect(later) as device:
            assert device.publish(later.topic("state"), b"new here")
        assert client.hears(later.topic("state"), b"new here")
        assert client.subscribe("$share/g/devices/+/#") == [shared_code(1)]


def test_create_extra_topics(scene: Scene) -> None:
    """`--publish` and `--subscribe` give just those topics, each in its direction."""
    application = _create(scene.fleet, "--publish", "out/+/x", "--subscribe", "in/#")
    with scene.fleet.connect(application) as client:
        assert client.subscribe("in/#", "in/a/+", "in") == [1, 1, 1]
        assert client.subscribe("out/a/x", "out/#", "#", "inn/a", scene.victim.topic("#")) == [REFUSED] * 5
        assert _publishes(scene, client, "out/a/x")
        for topic in ("out/a/y", "out/a", "out/a/x/b", "in/a", scene.victim.topic("command")):
            assert not _publishes(scene, client, topic), topic
        assert scene.observer.publish("in/a", b"hello")
        assert client.hears("in/a", b"hello")


def test_connect_with_device_client_id(scene: Scene) -> None:
    """An application may choose its client id, but none that looks like a device's."""
    application = scene.fleet.application()
    for client_id in (scene.victim.client_id, "0" * 24, "ABCDEF" * 4):
        with scene.fleet.client(application, client_id=client_id) as refused:
            assert refused.return_code == 5
    for client_id in ("0" * 23, "0" * 25, "back end/#+$"):
        with scene.fleet.client(application, client_id=client_id) as client:
            assert client.return_code == 0
    assert scene.victim_client.is_connected


def test_deliver_queued_after_scope_shrank(scene: Scene) -> None:
    """What was queued for a session is delivered only as far as its scope reaches when it comes back."""
    kept, lost = scene.fleet.device(), scene.fleet.device()
    application = scene.fleet.application(tags=(("queue", "yes"),))
    with scene.fleet.store() as store:
        for device in (kept, lost):
            store.tag_device(device.client_id, {"queue": "yes"}, actor="test")
        with scene.fleet.connect(application, clean=False) as client:
            assert client.subscribe(kept.topic("#"), lost.topic("#")) == [1, 1]
        for device in (kept, lost):
            with scene.fleet.connect(device) as source:
                assert source.publish(device.topic("state"), b"queued")
        scene.settle()
        store.tag_device(lost.client_id, {"queue": None}, actor="test")
    with scene.fleet.connect(application, client_id="another") as client:
        assert eventually(lambda: client.subscribe(lost.topic("#")) == [REFUSED], 1)
    with scene.fleet.connect(application, clean=False) as client:
        assert client.is_session_present
        assert client.hears(kept.topic("state"), b"queued")
        assert client.publish(kept.topic("end"), b"end")
        assert client.hears(kept.topic("end"), b"end")
        assert {topic for topic, _ in client.heard} == {kept.topic("state"), kept.topic("end")}
