"""An engine that can't start: it says why, and leaves nothing open."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from fleetkey.access import build_authenticator, build_worker_pool
from fleetkey.broker import BundledEngine, EngineError, PresenceRecorder
from fleetkey.config import load_settings
from fleetkey.registry import open_store

if TYPE_CHECKING:
    from pathlib import Path


async def test_start_without_registry(tmp_path: Path) -> None:
    """A registry that can't take who is connected is the engine's error, in the registry's words."""
    settings = load_settings(
        None, {"data_dir": tmp_path / "data", "mqtt.bind": "127.0.0.1:0", "store.busy_timeout_seconds": 0.1}
    )
    with (
        closing(open_store(settings)) as store,
        closing(build_worker_pool(settings)) as pool,
        closing(sqlite3.connect(settings.data_dir / "fleetkey.db", isolation_level=None)) as other,
    ):
        engine = BundledEngine(
            settings.mqtt,
            build_authenticator(settings, store, pool),
            settings.data_dir / "broker.db",
            presence=PresenceRecorder(store, flush_seconds=1, seen_seconds=60),
        )
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(EngineError, match=r"fleetkey\.db is locked by another process"):
            await engine.start()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        engine._broker._store._connection.execute("SELECT 1")
    ticker = engine._broker.core.scheduler._ticker
    assert ticker is None or ticker.cancelled()
