"""A clock that jumps, or starts wrong, under a whole server: what it has stays, and ends when its time is over."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from structlog.testing import capture_logs

from fleetkey.broker import BundledEngine, DeadlineEngine, sessions
from fleetkey.broker.message import Message
from fleetkey.cli.serve.embedded_server import EmbeddedServer
from fleetkey.config import load_settings
from fleetkey.management import TokenRefused, TokenService
from fleetkey.registry import KeyStatus, Role, Token, clock
from tests.integration.broker.broker_rig import running
from tests.integration.cli.cli_rig import CommandLine
from tests.support.http import NOBODY_TRUSTED
from tests.support.ledger import the_ledger
from tests.support.mqtt_client import MqttClient
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from fleetkey.broker.core import BrokerCore
    from fleetkey.broker.sessions import Sessions
    from fleetkey.config import Settings

DAY = 86_400
WEEK = 7 * DAY
"""How long sessions are kept by default, and device keys last here."""
JUMP_SECONDS = 2.5
"""Some ticks and rounds of housekeeping."""
SETTINGS = f"""
[http]
bind = '127.0.0.1:0'
[mqtt]
bind = '127.0.0.1:0'
[registration]
key_lifetime_seconds = {WEEK}
"""


class Wall:
    """The system's clock, which a test sets, and the boot that the system says it is."""

    def __init__(self, patch: pytest.MonkeyPatch, folder: Path) -> None:
        real, self.ahead_seconds = time.time, 0.0
        self._boot_file = folder / "boot_id"
        self.boot("first")
        patch.setattr(time, "time", lambda: real() + self.ahead_seconds)
        patch.setattr(clock, "BOOT_FILE", self._boot_file)

    def boot(self, name: str) -> None:
        """Let the system call itself booted anew."""
        self._boot_file.write_text(name)


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Wall:
    """A clock that is right."""
    return Wall(monkeypatch, tmp_path)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """The settings of a server whose keys last as long as its sessions."""
    file = tmp_path / "fleetkey.toml"
    file.write_text(SETTINGS)
    return load_settings(file, {"data_dir": tmp_path / "data"})


class Device:
    """A device that has left a session with one message that was acknowledged to its sender."""

    def __init__(self, server: EmbeddedServer, serial: str = "S1") -> None:
        server.store.add_serials([serial], actor="test")
        answer = httpx.post(f"{server.http_url}/register", json={"serial": serial}, verify=NOBODY_TRUSTED).json()
        the_ledger().note_secret(answer["secret"])
        self._answer: dict[str, Any] = answer
        self.device_id, self.key = answer["deviceId"], answer["key"]
        topic = f"devices/{self.device_id}/command"
        with self.client(server) as client:
            assert client.subscribe(topic) == [1]
        server.runtime._loop.call_soon_threadsafe(_publish, server, topic)
        assert eventually(lambda: bool(_sessions(server).of_owner(self.device_id)[0].queue))

    def client(self, server: EmbeddedServer) -> MqttClient:
        """Return a client of its, not yet connected."""
        answer = self._answer
        return MqttClient(
            port=server.mqtt_port(),
            client_id=answer["deviceId"],
            key=answer["key"],
            secret=answer["secret"],
            clean=False,
        )

    def has_all(self, server: EmbeddedServer) -> bool:
        """Whether the key works, and the session is there with its message."""
        with self.client(server) as client:
            return (
                client.is_session_present
                and server.store.get_key(self.key).status is KeyStatus.ACTIVE
                and client.hears(f"devices/{self.device_id}/command", b"open")
            )


def _publish(server: EmbeddedServer, topic: str) -> None:
    _core(server).router.publish(Message(topic, topic.encode(), b"open", 1))


def _sessions(server: EmbeddedServer) -> Sessions:
    return _core(server).sessions


def _core(server: EmbeddedServer) -> BrokerCore:
    held = server.runtime._engine
    assert isinstance(held, DeadlineEngine)
    engine = held._engine
    assert isinstance(engine, BundledEngine)
    return engine._core


@pytest.mark.parametrize("days", [8, -8])
def test_jump_ends_nothing(settings: Settings, wall: Wall, days: int) -> None:
    """The clock is wrong by 8 days for 2.5 s: session, message, key and token are still there; said once in the log."""
    with capture_logs() as lines, EmbeddedServer(settings) as server:
        device = Device(server)
        tokens = TokenService(server.store)
        ends = int((time.time() + DAY) * 1000)
        created = tokens.create("t", Role.VIEWER, expires_at=ends, actor="test")
        token = tokens.check(created.text.reveal())
        assert isinstance(token, Token)
        wall.ahead_seconds = days * DAY
        came_meanwhile = Device(server, "S2")
        time.sleep(JUMP_SECONDS)
        assert not isinstance(tokens.refusal(token), TokenRefused)
        assert server.runtime._clock.jumps == 1
        wall.ahead_seconds = 0
        time.sleep(JUMP_SECONDS)
        assert device.has_all(server)
        assert came_meanwhile.has_all(server)
    assert [line["event"] for line in lines if line["event"].startswith("clock_")] == ["clock_jumped", "clock_returned"]
    assert not [line for line in lines if line["event"] == "session_expired"]


@pytest.mark.parametrize(
    ("boot", "days"),
    [("first", 8), ("first", -8), ("second", -8), ("second", -400), ("second", 400)],
    ids=["server_alone_ahead", "server_alone_back", "booted_back", "booted_years_back", "booted_years_ahead"],
)
def test_restart_with_a_wrong_clock(settings: Settings, wall: Wall, boot: str, days: int) -> None:
    """The clock isn't where it can be when the server starts again: nothing ends, and it is said once."""
    with EmbeddedServer(settings) as server:
        device = Device(server)
    wall.ahead_seconds = days * DAY
    wall.boot(boot)
    with capture_logs() as lines, EmbeddedServer(settings) as server:
        time.sleep(JUMP_SECONDS)
        assert device.has_all(server)
    assert [line["found"] for line in lines if line["event"] == "clock_jumped"] == ["at start"]


def test_restart_after_long(settings: Settings, wall: Wall) -> None:
    """The computer was off for 8 days, by a clock that may be right: session and key are over."""
    with EmbeddedServer(settings) as server:
        device = Device(server)
    wall.ahead_seconds = 8 * DAY
    wall.boot("second")
    with EmbeddedServer(settings) as server:
        assert eventually(lambda: _sessions(server).get(device.device_id) is None)
        assert eventually(lambda: server.store.get_key(device.key).status is KeyStatus.RETIRED)


def test_restart_with_a_shorter_expiry(settings: Settings, tmp_path: Path, wall: Wall) -> None:
    """A session that was stored to stay for a week stays no longer than the settings say now."""
    del wall
    with EmbeddedServer(settings) as server:
        device = Device(server)
    shorter = load_settings(
        tmp_path / "fleetkey.toml", {"data_dir": settings.data_dir, "mqtt.session_expiry_seconds": 1}
    )
    with EmbeddedServer(shorter) as server:
        assert eventually(lambda: _sessions(server).get(device.device_id) is None)
        assert server.store.get_key(device.key).status is KeyStatus.ACTIVE


def test_steady_clock_followed(settings: Settings, wall: Wall, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that stays where it was set ends keys by it, but no session that wasn't away for so long."""
    monkeypatch.setattr(clock, "STEADY_SECONDS", 1.0)
    with EmbeddedServer(settings) as server:
        device = Device(server)
        wall.ahead_seconds = 8 * DAY
        assert eventually(lambda: server.store.get_key(device.key).status is KeyStatus.RETIRED)
        time.sleep(JUMP_SECONDS)
        assert _sessions(server).get(device.device_id) is not None


@pytest.mark.parametrize("days", [8, -8])
def test_command_while_the_clock_is_wrong(
    settings: Settings,
    wall: Wall,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    days: int,
) -> None:
    """A command counts from the server's time: a grace period and a key's end are neither over before nor too late."""
    # What the server says would be among what the commands print.
    with capture_logs(), EmbeddedServer(settings) as server:
        device = Device(server)
        assert eventually(lambda: server.store.clock_mark() is not None)
        ends = (time.time() + 3600) * 1000
        wall.ahead_seconds = days * DAY
        commands = CommandLine(tmp_path, monkeypatch, capsys)
        commands.json("keys", "rotate", device.device_id, "--grace-seconds", "3600")
        made = commands.json("keys", "create", "--application", "a", "--all-devices", "--expires", "1h")
        the_ledger().note_secret(made["secret"])
        time.sleep(JUMP_SECONDS)
        for key in (device.key, made["key"]):
            found = server.store.get_key(key)
            assert found.status is KeyStatus.ACTIVE
            assert found.expires_at is not None
            assert abs(found.expires_at - ends) < 60_000


def test_doctor_says_it(
    settings: Settings,
    wall: Wall,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`fleetkey doctor` tells of a clock that isn't where the server's is."""
    with capture_logs(), EmbeddedServer(settings) as server:
        assert eventually(lambda: server.store.clock_mark() is not None)
        commands = CommandLine(tmp_path, monkeypatch, capsys)
        for days, verdict in ((0, "ok"), (8, "warning"), (-8, "warning")):
            wall.ahead_seconds = days * DAY
            found = {finding["check"]: finding["verdict"] for finding in commands.json("doctor")}
            assert found["clock"] == verdict


def test_many_sessions_end_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many they are, one tick drops a bounded number, and the next ones the others."""
    monkeypatch.setattr(sessions, "MAX_EXPIRED_PER_TICK", 10)
    with running(tmp_path, {}) as (_, broker):
        core, left = broker.core, list[int]()

        def tick() -> None:
            core.scheduler.stop()
            for number in range(25):
                session = core.sessions.add(f"s{number}", "", is_kept=True)
                core.sessions.leave(session)
                session.expires_at = 0.0
                core.sessions._away.add(session, 0.0)
            for _ in range(3):
                core.sessions.expire(core.scheduler.now)
                left.append(len(core.sessions))

        core.scheduler.loop.call_soon_threadsafe(tick)
        assert eventually(lambda: len(left) == 3)
    assert left == [15, 5, 0]
