"""What the server does from time to time: it ends keys, and drops old refusal records."""

from __future__ import annotations

import time
from contextlib import closing
from typing import TYPE_CHECKING

from fleetkey.cli.serve import runtime
from fleetkey.cli.serve.embedded_server import EmbeddedServer
from fleetkey.config import load_settings
from fleetkey.registry import (
    RefusalFilter,
    RefusalIncrement,
    RefusalListener,
    RefusalReason,
    RefusalStage,
    SqliteStore,
    store_path,
)
from tests.support.waiting import eventually
from tests.unit.registry.store_rig import issue

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

DAY_MS = 86_400_000
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


def test_old_refusals_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Refusal records without a refusal for `max_refusal_days` are dropped, also if audit entries are kept for ever."""
    monkeypatch.setattr(runtime, "HOUSEKEEPING_SECONDS", 0.05)
    file = tmp_path / "fleetkey.toml"
    file.write_text("[http]\nbind = '127.0.0.1:0'\n[mqtt]\nbind = '127.0.0.1:0'\n[store]\nmax_refusal_days = 2\n")
    settings = load_settings(file, {"data_dir": tmp_path / "data"})
    settings.data_dir.mkdir()
    now = int(time.time() * 1000)
    with closing(SqliteStore(store_path(settings))) as store:
        store.add_refusals([_refused("old", now - 3 * DAY_MS), _refused("new", now - DAY_MS)])
        with EmbeddedServer(settings):
            assert eventually(lambda: len(store.find_refusals(RefusalFilter()).records) == 1)
        assert [record.client_id for record in store.find_refusals(RefusalFilter()).records] == ["new"]


def _refused(client_id: str, at: int) -> RefusalIncrement:
    return RefusalIncrement(
        stage=RefusalStage.CONNECT,
        reason=RefusalReason.UNKNOWN_KEY,
        count=1,
        first_at=at,
        last_at=at,
        listener=RefusalListener.MQTT,
        address="192.0.2.1",
        client_id=client_id,
        claimant=f"client:{client_id}",
    )
