"""Keys that end at the same moment."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from fleetkey.cli.serve import runtime
from fleetkey.cli.serve.embedded_server import EmbeddedServer
from fleetkey.config import load_settings
from fleetkey.registry import SqliteStore, store_path
from tests.support.waiting import eventually
from tests.unit.registry.store_rig import issue

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

KEYS = 2_500
"""More than are retired in two transactions."""


def test_many_keys_end_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many they are, they all end at one look, not a part of them at each."""
    monkeypatch.setattr(runtime, "HOUSEKEEPING_SECONDS", 3_600)
    file = tmp_path / "fleetkey.toml"
    file.write_text("[http]\nbind = '127.0.0.1:0'\n[mqtt]\nbind = '127.0.0.1:0'\n")
    settings = load_settings(file, {"data_dir": tmp_path / "data"})
    settings.data_dir.mkdir()
    with closing(SqliteStore(store_path(settings))) as store:
        store._writer.conn.execute("PRAGMA synchronous=OFF")
        ids = [issue(store, f"S{number}")[1] for number in range(KEYS)]
        store.expire_keys_of_devices(dict.fromkeys(ids, 0), actor="test")
        assert len(store.list_keys(limit=2 * KEYS)) == KEYS
        with EmbeddedServer(settings):
            assert eventually(lambda: not store.list_keys(limit=1), 30)
