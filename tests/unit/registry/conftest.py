"""Every implementation of `Store` goes through the same tests: add yours to `IMPLEMENTATIONS`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fleetkey.registry import SqliteStore
from tests.unit.registry.store_rig import UNBOUNDED, FakeClock, StoreFactory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fleetkey.registry import Store


def _sqlite(folder: Path, clock: FakeClock) -> StoreFactory:
    def open_it(
        *,
        max_audit_rows: int = UNBOUNDED,
        max_stranger_audit_rows: int = UNBOUNDED,
        max_change_rows: int = UNBOUNDED,
    ) -> Store:
        return SqliteStore(
            folder / "fleetkey.db",
            max_audit_rows=max_audit_rows,
            max_stranger_audit_rows=max_stranger_audit_rows,
            max_change_rows=max_change_rows,
            clock=clock,
        )

    return open_it


IMPLEMENTATIONS: dict[str, Callable[[Path, FakeClock], StoreFactory]] = {"sqlite": _sqlite}


@pytest.fixture
def clock() -> FakeClock:
    """The clock that the store reads."""
    return FakeClock()


@pytest.fixture(params=sorted(IMPLEMENTATIONS))
def make_store(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Iterator[StoreFactory]:
    """Open the test's registry; whatever was opened is closed at the end."""
    opened: list[Store] = []
    factory = IMPLEMENTATIONS[request.param](tmp_path, clock)

    def open_it(
        *,
        max_audit_rows: int = UNBOUNDED,
        max_stranger_audit_rows: int = UNBOUNDED,
        max_change_rows: int = UNBOUNDED,
    ) -> Store:
        opened.append(
            factory(
                max_audit_rows=max_audit_rows,
                max_stranger_audit_rows=max_stranger_audit_rows,
                max_change_rows=max_change_rows,
            )
        )
        return opened[-1]

    yield open_it
    for store in opened:
        store.close()


@pytest.fixture
def store(make_store: StoreFactory) -> Store:
    """An empty registry."""
    return make_store()
