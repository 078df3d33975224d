"""The services over an empty registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fleetkey.config import Settings
from fleetkey.management import Management, build_management
from fleetkey.registry import SqliteStore
from tests.unit.registry.store_rig import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def clock() -> FakeClock:
    """The clock that the store reads."""
    return FakeClock()


@pytest.fixture
def store(tmp_path: Path, clock: FakeClock) -> Iterator[SqliteStore]:
    """An empty registry."""
    store = SqliteStore(tmp_path / "fleetkey.db", clock=clock)
    yield store
    store.close()


@pytest.fixture
def management(store: SqliteStore) -> Management:
    """The services with default settings."""
    return build_management(Settings.model_construct(), store)
