"""The plugin in anyone's plain amqtt broker: who connects, and which topics."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from amqtt.broker import Broker
from amqtt.errors import PluginInitError, PluginLoadError

from fleetkey.registry import DeviceState
from tests.integration.auth_plugin.plain_broker import PlainBroker, configuration, running
from tests.support.mqtt_client import REFUSED
from tests.support.packets import Will
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.fleet import Credentials

PLUGIN = "fleetkey.auth_plugin.FleetkeyAuthPlugin"


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PlainBroker]:
    """Run a broker for all tests."""
    with running(tmp_path_factory.mktemp("amqtt")) as broker:
        yield broker


def _code(broker: PlainBroker, who: Credentials, **options: Any) -> int | None:
    with broker.client(who, **options) as client:
        return client.return_code


def test_connect_good_credentials(broker: PlainBroker) -> None:
    """A device's key and an application's key are let in."""
    assert _code(broker, broker.device()) == 0
    assert _code(broker, broker.application()) == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"secret": "0" * 64},
        {"secret": ""},
        {"secret": "x" * 73},
        {"secret": "\0"},
        {"key": "0" * 32},
        {"key": "not a key"},
        {"client_id": "something"},
        {"client_id": "0" * 24},
    ],
    ids=[
        "wrong_secret",
        "empty",
        "73_bytes",
        "nul",
        "unknown_key",
        "malformed_key",
        "client_id",
        "client_id_of_device",
    ],
)
def test_connect_refused(broker: PlainBroker, changes: dict[str, str]) -> None:
    """Everything else is CONNACK 5, and the device itself still gets in."""
    device = broker.device()
    assert _code(broker, replace(device, **changes)) == 5
    assert _code(broker, device) == 0


def test_connect_without_credentials(broker: PlainBroker) -> None:
    """Nobody gets in anonymously."""
    assert _code(broker, broker.device(), key=None, secret=None) == 5


def test_connect_foreign_will(broker: PlainBroker) -> None:
    """A will on somebody else's topic is a refusal; an own one is not."""
    device, other = broker.device(), broker.device()
    assert _code(broker, device, will=Will(other.topic("x"), qos=1)) == 5
    assert _code(broker, device, will=Will(device.topic("x"), qos=1)) == 0


def test_topics(broker: PlainBroker) -> None:
    """Publish, subscribe and live delivery follow the scope of the key."""
    device, other, application = broker.device(), broker.device(), broker.application()
    with broker.client(device) as client, broker.client(other) as victim, broker.client(application) as back_end:
        assert back_end.subscribe("devices/+/#", "#") == [1, REFUSED]
        assert victim.subscribe(other.topic("#")) == [1]
        filters = (other.topic("#"), "#", "devices/+/x", "$SYS/#", "$share/g/#")
        assert client.subscribe(device.topic("#"), *filters) == [1, *[REFUSED] * len(filters)]
        assert client.publish(device.topic("x"), b"own")
        assert client.hears(device.topic("x"), b"own")
        assert back_end.hears(device.topic("x"), b"own")
        client.publish(other.topic("x"), b"forged")
        assert client.publish(device.topic("x"), b"end")
        assert back_end.publish(other.topic("command"), b"run")
        assert victim.hears(other.topic("command"), b"run")
        assert back_end.hears(device.topic("x"), b"end")
        assert not any(payload == b"forged" for _, payload in (*victim.heard, *back_end.heard))
        assert {topic for topic, _ in client.heard} == {device.topic("x")}


@pytest.mark.parametrize("how", ["revoke", "disable", "delete"])
def test_revoked_from_outside(broker: PlainBroker, how: str) -> None:
    """A key that ended in another process may do nothing more on a live connection, and doesn't connect again."""
    device = broker.device()
    with broker.client(device) as client, broker.client(broker.application()) as back_end, broker.store() as store:
        assert back_end.subscribe(device.topic("#")) == [1]
        assert client.publish(device.topic("x"), b"before")
        assert back_end.hears(device.topic("x"), b"before")
        if how == "revoke":
            store.revoke_key(device.key, actor="test")
        elif how == "disable":
            store.set_device_state(device.client_id, DeviceState.DISABLED, actor="test")
        else:
            store.delete_device(device.client_id, actor="test")

        def is_silenced() -> bool:
            mark = secrets.token_hex(8)
            client.publish(device.topic("x"), mark)
            assert back_end.publish(device.topic("end"), mark)
            # What a plain broker loses under load shows nothing.
            return (
                back_end.hears(device.topic("end"), mark, 0.3)
                and (device.topic("x"), mark.encode()) not in back_end.heard
            )

        assert eventually(is_silenced, 3)
    assert _code(broker, device) == 5


def test_start_warns(tmp_path: Path) -> None:
    """It says at start which promises a plain broker keeps, and which need the bundled one."""
    with structlog.testing.capture_logs() as lines, running(tmp_path):
        pass
    (warning,) = [line for line in lines if line["event"] == "plain_amqtt_broker"]
    assert warning["log_level"] == "warning"
    assert warning["registry"].endswith("/fleetkey.db")
    assert warning["settings_file"].startswith("none: there is no /")
    assert "authentication" in warning["kept"]
    for promise in ("session", "retained", "queued", "revocation"):
        assert promise in warning["needs_the_bundled_broker"]


async def test_start_without_its_settings_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Why it doesn't start is in the log: which file it looked for, and what to do."""
    monkeypatch.chdir(tmp_path)
    settings = configuration(tmp_path, tmp_path / "data")
    settings["plugins"][PLUGIN] = {"config_file": "nowhere.toml"}
    with structlog.testing.capture_logs() as lines, pytest.raises(PluginInitError):
        Broker(settings)
    (line,) = lines
    assert (line["event"], line["log_level"], line["found"]) == ("plugin_not_started", "error", False)
    assert line["settings_file"] == str(tmp_path / "nowhere.toml")
    assert "No such file" in line["reason"]
    assert "folder in which amqtt was started" in line["advice"]


async def test_start_with_bad_data_dir(tmp_path: Path) -> None:
    """A data folder that can't be used keeps the broker from starting, rather than from authenticating."""
    in_the_way = tmp_path / "data"
    in_the_way.write_text("a file")
    with pytest.raises(PluginInitError):
        Broker(configuration(tmp_path, in_the_way))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "fleetkey.db").write_text("not a database")
    with pytest.raises(PluginInitError):
        Broker(configuration(tmp_path, tmp_path / "other"))


async def test_start_with_bad_settings(tmp_path: Path) -> None:
    """Settings that can't be used, and options that don't exist, keep it from starting too."""
    (tmp_path / "fleetkey.toml").write_text("[mqtt]\nprot = 1\n")
    settings = configuration(tmp_path, tmp_path / "data")
    settings["plugins"][PLUGIN]["config_file"] = str(tmp_path / "fleetkey.toml")
    with pytest.raises(PluginInitError):
        Broker(settings)
    settings["plugins"][PLUGIN] = {"data_dri": str(tmp_path / "data")}
    with pytest.raises(PluginLoadError):
        Broker(settings)
    assert not (tmp_path / "data").exists()
