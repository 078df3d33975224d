"""What keeps `fleetkey serve` from starting is a failure of `fleetkey doctor`: databases and listeners."""

from __future__ import annotations

import socket
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from fleetkey.cli.errors import CommandError
from fleetkey.cli.serve.embedded_server import EmbeddedServer
from fleetkey.config import load_settings

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.cli.cli_rig import CommandLine

FREE = "[http]\nbind = '127.0.0.1:0'\n[mqtt]\nbind = '127.0.0.1:0'\nmax_connections = 500\n"
PAGE_BYTES = 4096


def _findings(fleetkey: CommandLine, settings: str, check: str, *, status: int = 0) -> list[dict[str, Any]]:
    (fleetkey.folder / "fleetkey.toml").write_text(settings)
    findings = fleetkey("doctor", "--data-dir", fleetkey.data_dir, "--json", status=status).json
    return [finding for finding in findings if finding["check"] == check]


def _starts(fleetkey: CommandLine) -> bool:
    """Whether a server starts with these settings and this fleet."""
    try:
        with EmbeddedServer(load_settings(fleetkey.folder / "fleetkey.toml", {"data_dir": fleetkey.data_dir})):
            return True
    except CommandError:
        return False


@pytest.fixture
def broker_file(fleetkey: CommandLine) -> Path:
    """Give a fleet the broker's database, as a server leaves it."""
    (fleetkey.folder / "fleetkey.toml").write_text(FREE)
    assert _starts(fleetkey)
    return fleetkey.data_dir / "broker.db"


def test_whole_database_of_the_broker(fleetkey: CommandLine, broker_file: Path) -> None:
    """One that can be used is ok, also while the server uses it, and stays as it is."""
    before = broker_file.read_bytes()
    assert [one["verdict"] for one in _findings(fleetkey, FREE, "broker store")] == ["ok"]
    assert broker_file.read_bytes() == before
    with EmbeddedServer(load_settings(fleetkey.folder / "fleetkey.toml", {"data_dir": fleetkey.data_dir})):
        assert [one["verdict"] for one in _findings(fleetkey, FREE, "broker store")] == ["ok"]


@pytest.mark.parametrize("damage", ["junk", "pages", "newer", "foreign"])
def test_unusable_database_of_the_broker(fleetkey: CommandLine, broker_file: Path, damage: str) -> None:
    """One that is no database, damaged, of a newer version or another application's is a failure; no server starts."""
    content = broker_file.read_bytes()
    match damage:
        case "junk":
            broker_file.write_bytes(b"no database " * 1000)
        case "pages":
            broker_file.write_bytes(content[:PAGE_BYTES] + b"\xff" * (len(content) - PAGE_BYTES))
        case "newer":
            with closing(sqlite3.connect(broker_file, isolation_level=None)) as connection:
                connection.execute("UPDATE _sqlite_migrations SET name = '0099_later' WHERE name = '0003_sent'")
        case _:
            broker_file.unlink()
            with closing(sqlite3.connect(broker_file, isolation_level=None)) as connection:
                connection.execute("CREATE TABLE letters (text TEXT)")
    (found,) = _findings(fleetkey, FREE, "broker store", status=1)
    assert found["verdict"] == "failed"
    assert "broker.db" in found["detail"]
    assert "upgrade" in found["detail"] or damage != "newer"
    assert not _starts(fleetkey)


def test_damaged_registry(fleetkey: CommandLine) -> None:
    """Damage in a part of the registry that opening it doesn't read is found."""
    with fleetkey.store() as store:
        store.add_serials((f"SN-{number:06}" for number in range(5000)), actor="test")
    content = bytearray(fleetkey.database.read_bytes())
    at = content.rindex(b"SN-002500") // PAGE_BYTES * PAGE_BYTES
    content[at : at + PAGE_BYTES] = b"\xff" * PAGE_BYTES
    fleetkey.database.write_bytes(content)
    found = _findings(fleetkey, FREE, "store", status=1)
    assert "failed" in {one["verdict"] for one in found}
    assert any("is damaged" in one["detail"] and "restore" in one["advice"] for one in found)


def test_large_database(fleetkey: CommandLine, broker_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check ends in time, and says that it did."""
    monkeypatch.setattr("fleetkey.cli.doctor.databases.CHECK_SECONDS", -1.0)
    monkeypatch.setattr("fleetkey.operations.sqlite_files.STEPS_PER_LOOK", 1)
    (found,) = _findings(fleetkey, FREE, "broker store")
    assert broker_file.exists()
    assert found["verdict"] == "ok"
    assert "was not enough for all of it" in found["detail"]


@pytest.mark.parametrize(
    ("http", "mqtt", "ws", "is_collision"),
    [
        ("127.0.0.1", "127.0.0.1", "", True),
        ("127.0.0.1", "0.0.0.0", "", True),  # noqa: S104 - refused
        ("0.0.0.0", "", "127.0.0.1", True),  # noqa: S104 - refused
        ("[::]", "127.0.0.1", "", True),
        ("127.0.0.2", "127.0.0.1", "localhost", True),
        ("127.0.0.1", "[::]", "", False),
        ("127.0.0.1", "127.0.0.2", "", False),
        ("127.0.0.1", "[::1]", "", False),
    ],
)
def test_listeners(fleetkey: CommandLine, http: str, mqtt: str, ws: str, *, is_collision: bool) -> None:
    """Two listeners on one address are a failure exactly if no server can start with them."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    binds = {name: f"{host}:{port}" if host else "" for name, host in (("bind", mqtt), ("ws_bind", ws))}
    settings = f"[http]\nbind = '{http}:{port}'\n[mqtt]\n" + "".join(f"{name} = '{at}'\n" for name, at in binds.items())
    found = _findings(fleetkey, settings, "listeners", status=int(is_collision))
    assert [one["verdict"] for one in found] == ["failed"] * is_collision
    assert _starts(fleetkey) != is_collision


def test_listeners_on_any_port(fleetkey: CommandLine) -> None:
    """Port 0 is another port for each listener."""
    assert not _findings(fleetkey, FREE + "ws_bind = '127.0.0.1:0'\n", "listeners")
    assert _starts(fleetkey)
