"""Twelve ways not to get in, each with a real client, and the whole story that `fleetkey explain` tells of it."""

from __future__ import annotations

import secrets
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import httpx
import pytest
from paho.mqtt.client import Client, MQTTv5
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from fleetkey.config import HmacSettings
from fleetkey.management import prove_serial
from fleetkey.registry import DeviceState, KeyStatus, ListedSerial, RefusalReason
from tests.support.command_line import cli
from tests.support.fleet import Credentials, Fleet, note_answer
from tests.support.mqtt_client import REFUSED
from tests.support.packets import Will
from tests.support.server import NO_LIMITS, ServerProcess
from tests.support.streams import TcpStream
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.command_line import Finished

GROUP_SECRET = "a group secret for tests, long enough"
SETTINGS = f"""
[registration]
verifiers = ["allowlist", "hmac"]
[registration.hmac.secrets]
line = "{GROUP_SECRET}"
[profiles.careful]
require_approval = true
[mqtt]
presence_flush_seconds = 0.1
"""
NO_SECRET = "0" * 64
WIDTH = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """What is asked, and what has to be the answer."""

    what: str
    tried: str
    reason: RefusalReason
    listener: str = "mqtt"
    claims: tuple[str, ...] = ()
    """What the client said, in the order in which it is told."""
    is_proven: bool = False
    command: str | None
    lets_in: tuple[str, ...] = ()
    keeps_out: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())
    before: tuple[str, ...] = ()
    """The results of the events before, newest first."""


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run one server for all."""
    folder = tmp_path_factory.mktemp("explain")
    with ServerProcess(folder, environment=NO_LIMITS, settings=SETTINGS) as server:
        yield Fleet(server)


def _proof(serial: str) -> str:
    _, proof = prove_serial(HmacSettings.model_validate({"secrets": {"line": GROUP_SECRET}}), serial)
    return proof.reveal()


def _register(fleet: Fleet, serial: str, **more: str) -> httpx.Response:
    return httpx.post(f"{fleet.server.url}/register", json={"serial": serial, **more}, timeout=30)


def _device(fleet: Fleet) -> Credentials:
    serial = fleet.serial()
    answer = _register(fleet, serial, proof=_proof(serial))
    note_answer(answer)
    values = answer.json()
    return Credentials(client_id=values["deviceId"], key=values["key"], secret=values["secret"], serial=serial)


def _own(device: Credentials) -> tuple[str, ...]:
    own = f"devices/{device.device_id}/#"
    return (
        f"Its client id must be {device.device_id}.",
        f"It may publish to {own}.",
        f"It may subscribe to {own}.",
        "To register, it must send the serial's proof (verifier hmac).",
    )


def _of_active(device: Credentials, **more: Any) -> dict[str, Any]:
    """Return what is told of an active device, whatever it was refused for."""
    return {
        "lets_in": (
            "The device is active.",
            f"It has a working key: {device.key}.",
            "The serial is on the allow-list, so it may register.",
        ),
        "notes": _own(device),
        "before": ("registered: created",),
        **more,
    }


def _connected(fleet: Fleet, who: Credentials) -> None:
    """Connect once, and wait until the end is recorded."""
    with fleet.client(who):
        pass
    with fleet.store() as store:
        assert eventually(lambda: store.get_device(who.device_id).presence.disconnected_at is not None)


def unlisted_serial(fleet: Fleet) -> Story:
    """It isn't on the allow-list."""
    serial = f"SN-{secrets.token_hex(6)}"
    assert _register(fleet, serial, proof=_proof(serial)).status_code == 400
    return Story(
        what=serial,
        tried="register",
        reason=RefusalReason.NOT_LISTED,
        listener="http",
        claims=(f"serial {serial}",),
        command=f"fleetkey serials add {serial}",
        keeps_out=("The serial is not on the allow-list, so it can't register.",),
        notes=(
            "No device has registered with this serial.",
            "To register, it must send the serial's proof (verifier hmac).",
        ),
    )


def wrong_proof(fleet: Fleet) -> Story:
    """It is listed, but has another serial's proof."""
    serial = fleet.serial()
    assert _register(fleet, serial, proof=_proof("another")).status_code == 400
    return Story(
        what=serial,
        tried="register",
        reason=RefusalReason.WRONG_PROOF,
        listener="http",
        claims=(f"serial {serial}",),
        command=f"fleetkey serials prove {serial}",
        lets_in=("The serial is on the allow-list, so it may register.",),
        notes=(
            "No device has registered with this serial.",
            "To register, it must send the serial's proof (verifier hmac).",
        ),
        before=("by test: added=1 known=0 replaced=0",),
    )


def pending(fleet: Fleet) -> Story:
    """Its profile wants an operator's approval."""
    serial = f"SN-{secrets.token_hex(6)}"
    with fleet.store() as store:
        store.add_serials([ListedSerial(serial=serial, profile="careful", tags={}, attributes={})], actor="test")
        assert _register(fleet, serial, proof=_proof(serial)).status_code == 202
        device = store.find_device(serial)
    assert device is not None
    approve = f"fleetkey devices approve {device.device_id}"
    credentials = Credentials(client_id=device.device_id, key="", secret="", serial=serial)
    return Story(
        what=serial,
        tried="register",
        reason=RefusalReason.PENDING,
        listener="http",
        claims=(f"device {device.device_id}", f"serial {serial}"),
        is_proven=True,
        command=approve,
        lets_in=("The serial is on the allow-list, so it may register.",),
        keeps_out=("The device waits for approval.", "It has no working key; it gets one when it registers."),
        notes=_own(credentials),
    )


def disabled(fleet: Fleet) -> Story:
    """An operator disabled it after it had been connected."""
    device = _device(fleet)
    _connected(fleet, device)
    with fleet.store() as store:
        store.set_device_state(device.device_id, DeviceState.DISABLED, actor="cli:somebody")
    assert fleet.is_shut_out(device)
    return Story(
        what=device.device_id,
        tried="connect",
        reason=RefusalReason.DEVICE_NOT_ACTIVE,
        claims=(f"device {device.device_id}", f"key {device.key}", f"client id {device.client_id}"),
        is_proven=True,
        command=f"fleetkey devices show {device.device_id}",
        lets_in=(f"It has a working key: {device.key}.", "The serial is on the allow-list, so it may register."),
        keeps_out=("The device is disabled.",),
        notes=_own(device),
        before=(
            "by cli:somebody",
            "was connected until",
            "logged in with this key for the first time",
            "registered: created",
        ),
    )


def expired(fleet: Fleet) -> Story:
    """Its key was rotated out without a grace period."""
    device = _device(fleet)
    with fleet.store() as store:
        store.expire_device_keys(device.device_id, grace_seconds=0, actor="cli:somebody")
        assert eventually(lambda: store.get_key(device.key).status is KeyStatus.RETIRED)
    assert fleet.is_shut_out(device)
    return Story(
        what=device.key,
        tried="connect",
        reason=RefusalReason.KEY_RETIRED,
        claims=(f"device {device.device_id}", f"key {device.key}", f"client id {device.client_id}"),
        is_proven=True,
        command=f"fleetkey keys show {device.key}",
        lets_in=("The device is active.", "The serial is on the allow-list, so it may register."),
        keeps_out=("It has no working key; it gets one when it registers.",),
        notes=_own(device),
        before=("by server",),
    )


def wrong_secret(fleet: Fleet) -> Story:
    """Nothing is proven: anybody may have the key."""
    device = _device(fleet)
    client = fleet.client(device, secret=NO_SECRET).connect()
    assert client.return_code == 5
    return Story(
        what=device.serial,
        tried="connect",
        reason=RefusalReason.WRONG_SECRET,
        claims=(f"device {device.device_id}", f"key {device.key}", f"client id {device.client_id}"),
        command=f"fleetkey keys show {device.key}",
        **_of_active(device),
    )


def wrong_client_id(fleet: Fleet) -> Story:
    """It is found by the client id that it uses."""
    device, client_id = _device(fleet), f"pump-{secrets.token_hex(4)}"
    assert fleet.client(device, client_id=client_id).connect().return_code == 5
    return Story(
        what=client_id,
        tried="connect",
        reason=RefusalReason.WRONG_CLIENT_ID,
        claims=(f"device {device.device_id}", f"key {device.key}", f"client id {client_id}"),
        is_proven=True,
        command=f"fleetkey keys show {device.key}",
        notes=("It is only known as a client id; what is in force depends on the key.",),
    )


def foreign_will(fleet: Fleet) -> Story:
    """Its last will is for another's topic."""
    device = _device(fleet)
    assert fleet.client(device, will=Will("devices/other/gone", b"gone")).connect().return_code == 5
    return Story(
        what=device.device_id,
        tried="connect",
        reason=RefusalReason.FOREIGN_WILL,
        claims=(
            f"device {device.device_id}",
            f"key {device.key}",
            f"client id {device.client_id}",
            "will topic devices/other/gone",
        ),
        is_proven=True,
        command=f"fleetkey explain --key {device.key} --will=devices/other/gone",
        **_of_active(device),
    )


def foreign_publish(fleet: Fleet) -> Story:
    """It is let in, and the message is dropped."""
    device = _device(fleet)
    with fleet.client(device) as client:
        assert client.publish("devices/other/x")
    return _foreign(
        fleet, device, "publish to devices/other/x", RefusalReason.FOREIGN_TOPIC, "--publish=devices/other/x"
    )


def foreign_subscribe(fleet: Fleet) -> Story:
    """It is let in, and the filter isn't granted."""
    device = _device(fleet)
    with fleet.client(device) as client:
        assert client.subscribe("devices/#") == [REFUSED]
    return _foreign(fleet, device, "subscribe to devices/#", RefusalReason.FOREIGN_FILTER, "--subscribe='devices/#'")


def _foreign(fleet: Fleet, device: Credentials, tried: str, reason: RefusalReason, option: str) -> Story:
    with fleet.store() as store:
        assert eventually(lambda: store.get_device(device.device_id).presence.disconnected_at is not None)
        presence = store.get_device(device.device_id).presence
    assert presence.reason
    return Story(
        what=device.serial,
        tried=tried,
        reason=reason,
        claims=(f"device {device.device_id}", f"key {device.key}", f"client id {device.client_id}"),
        is_proven=True,
        command=f"fleetkey explain --key {device.key} {option}",
        **_of_active(
            device, before=("was connected until", "logged in with this key for the first time", "registered: created")
        ),
    )


def authentication_method(fleet: Fleet) -> Story:
    """It speaks MQTT 5, and asks for a way to log in that isn't offered."""
    device, ended = _device(fleet), list[int]()
    client = Client(CallbackAPIVersion.VERSION2, client_id=device.client_id, protocol=MQTTv5)
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call] # of paho
    properties.AuthenticationMethod = "SCRAM-SHA-256"
    client.username_pw_set(device.key, device.secret)
    client.on_connect = lambda *_: ended.append(1)
    client.on_disconnect = lambda *_: ended.append(1)
    client.connect("127.0.0.1", fleet.server.mqtt_port, properties=properties)
    client.loop_start()
    assert eventually(lambda: bool(ended))
    client.disconnect()
    client.loop_stop()
    return Story(
        what=device.key,
        tried="connect",
        reason=RefusalReason.AUTHENTICATION_METHOD,
        claims=(f"device {device.device_id}", f"key {device.key}", f"client id {device.client_id}"),
        command=None,
        **_of_active(device),
    )


def tls_mismatch(fleet: Fleet) -> Story:
    """It speaks TLS on a port without; only its address is known."""
    source = "127.4.4.4"
    context = ssl.create_default_context()
    with TcpStream(fleet.server.mqtt_port, source=source) as stream, pytest.raises(OSError, match=r"."):
        context.wrap_socket(stream.raw, server_hostname="localhost")
    return Story(what=source, tried="connect", reason=RefusalReason.TLS_ON_PLAIN_PORT, command="fleetkey doctor")


Cause: TypeAlias = "Callable[[Fleet], Story]"
CAUSES: tuple[Cause, ...] = (
    unlisted_serial,
    wrong_proof,
    pending,
    disabled,
    expired,
    wrong_secret,
    wrong_client_id,
    foreign_will,
    foreign_publish,
    foreign_subscribe,
    authentication_method,
    tls_mismatch,
)


@pytest.fixture(scope="module")
def stories(fleet: Fleet) -> dict[Cause, Story]:
    """Have everyone refused first, so that the tests wait only once for what is recorded in batches."""
    return {cause: cause(fleet) for cause in CAUSES}


def _explain(fleet: Fleet, *words: str) -> Finished:
    return cli("explain", *words, "--config", fleet.server.folder / "fleetkey.toml", data_dir=fleet.server.data_dir)


def _told(fleet: Fleet, story: Story) -> dict[str, Any]:
    """Return the explanation, once the refusal is recorded."""
    found: list[dict[str, Any]] = []

    def is_told() -> bool:
        found.append(_explain(fleet, story.what, "--json").json)
        return any(event["outcome"] == "refused" for event in found[-1]["events"])

    assert eventually(is_told)
    return found[-1]


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: cause.__name__)
def test_explain(cause: Cause, fleet: Fleet, stories: dict[Cause, Story]) -> None:
    """What was tried, what came of it, why, what to do, and what is in force: for scripts, and for people."""
    story = stories[cause]
    told = _told(fleet, story)
    assert told["is_known"]
    refused = next(event for event in told["events"] if event["outcome"] == "refused")
    assert (refused["tried"], refused["result"]) == (story.tried, story.reason.value)
    who = f"({story.listener})"
    if story.claims:
        who += f", {'proven' if story.is_proven else 'claimed, not proven'}: {', '.join(story.claims)}"
    assert refused["who"].endswith(who)
    record = refused["refusal"]
    assert (record["meaning"], record["advice"]) == (story.reason.meaning, story.reason.advice)
    assert record["command"] == story.command
    results = [event["result"] for event in told["events"]]
    for before in story.before:
        assert any(result.startswith(before) for result in results), (before, results)
    in_force = {
        effect: [each["text"] for each in told["conditions"] if each["effect"] == effect]
        for effect in ("lets_in", "keeps_out", "note")
    }
    expected = {"lets_in": story.lets_in, "keeps_out": story.keeps_out, "note": story.notes}
    if f"key {story.what}" in story.claims:
        # What is said of the key itself comes first, and has a time in it.
        own = in_force["keeps_out"] if story.keeps_out else in_force["lets_in"]
        assert own.pop(0).startswith("The key ")
    assert in_force == {effect: [*texts] for effect, texts in expected.items()}
    text = _explain(fleet, story.what).out
    assert all(len(line) <= WIDTH or line.strip() == story.command for line in text.splitlines()), text
    words = " ".join(text.split())
    for sentence in (story.reason.meaning, story.reason.advice, story.command or "", *story.keeps_out):
        assert sentence in words


def test_explain_everyone(fleet: Fleet) -> None:
    """Without a name, everyone's last refusals, newest first."""
    serials = [f"SN-{secrets.token_hex(6)}" for _ in range(2)]
    for serial in serials:
        assert _register(fleet, serial).status_code == 400
    assert eventually(lambda: serials[1] in _explain(fleet).out)
    told = _explain(fleet, "--json", "--limit", "2").json
    assert [event["refusal"]["serial"] for event in told["events"]] == serials[::-1]


def test_explain_application(fleet: Fleet) -> None:
    """An application key says whether it is connected, when it was last used, and what became of it."""
    application = fleet.application(tags=(("site", "north"),), subscribe=("alerts/#",))
    where = ("--config", fleet.server.folder / "fleetkey.toml")

    def shown() -> dict[str, Any]:
        found: dict[str, Any] = cli(
            "keys", "show", application.key, "--json", *where, data_dir=fleet.server.data_dir
        ).json
        return found

    assert (shown()["online"], shown()["last_seen_at"], shown()["last_success"]) == (False, None, None)
    with fleet.client(application) as first, fleet.client(application, client_id="second") as second:
        assert first.is_connected
        assert eventually(lambda: shown()["online"] is True)
        second.close()
        assert first.subscribe("other/#") == [REFUSED]
        assert eventually(lambda: shown()["last_refusal"] is not None)
        assert shown()["online"] is True
    assert eventually(lambda: shown()["online"] is False)
    found = shown()
    assert found["last_seen_at"] is not None
    assert found["last_refusal"]["tried"] == "subscribe to other/#"
    assert found["last_success"]["result"].startswith("was connected until")
    listed = cli("keys", "list", "--applications", *where, data_dir=fleet.server.data_dir).out
    assert "tag site=north; subscribe alerts/#" in listed
