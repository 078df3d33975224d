"""Every implementation of `Store` goes through the same tests: add yours to `IMPLEMENTATIONS`.

What only one implementation has, such as files and their migrations, is tested elsewhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

import pytest

from fleetkey.registry import SqliteStore
from tests.unit.registry.store_rig import UNBOUNDED, FakeClock, StoreFactory

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from fleetkey.registry import Store


class Implementation(NamedTuple):
    """A store that is under test."""

    prepare: Callable[[Path, FakeClock], StoreFactory]
    """Prepares an empty registry of which a folder is its own, and returns how to open it."""
    audit_module: str
    """Where its `MAX_AUDIT_SCANNED`, `DROP_BATCH` and `TRIM_BATCH` are."""


class LowerAuditBounds(Protocol):
    """Lowers the bounds of the audit, so that a test needs few entries to reach them."""

    def __call__(self, *, scanned: int | None = None, dropped: int | None = None, trimmed: int | None = None) -> None:
        """Lower those that are given.

        Args:
            scanned: entries that are looked at for one page.
            dropped: entries that are dropped for their age at once.
            trimmed: entries that are dropped for their number at once.
        """
        ...


def _sqlite(folder: Path, clock: FakeClock) -> StoreFactory:
    def open_it(
        *,
        max_audit_rows: int = UNBOUNDED,
        max_stranger_audit_rows: int = UNBOUNDED,
        max_change_rows: int = UNBOUNDED,
        max_refusals: int = UNBOUNDED,
        max_refusals_per_device: int = UNBOUNDED,
        max_stranger_refusals: int = UNBOUNDED,
    ) -> Store:
        return SqliteStore(
            folder / "fleetkey.db",
            max_audit_rows=max_audit_rows,
            max_stranger_audit_rows=max_stranger_audit_rows,
            max_change_rows=max_change_rows,
            max_refusals=max_refusals,
            max_refusals_per_device=max_refusals_per_device,
            max_stranger_refusals=max_stranger_refusals,
            clock=clock,
        )

    return open_it


IMPLEMENTATIONS = {"sqlite": Implementation(_sqlite, "fleetkey.registry.sqlite.audit")}


@pytest.fixture
def clock() -> FakeClock:
    """The clock that the store reads."""
    return FakeClock()


@pytest.fixture(scope="session", params=sorted(IMPLEMENTATIONS))
def implementation(request: pytest.FixtureRequest) -> Implementation:
    """The implementation under test."""
    return IMPLEMENTATIONS[request.param]


@pytest.fixture
def make_store(implementation: Implementation, tmp_path: Path, clock: FakeClock) -> Iterator[StoreFactory]:
    """Open the test's registry; whatever was opened is closed at the end."""
    opened: list[Store] = []
    factory = implementation.prepare(tmp_path, clock)

    def open_it(
        *,
        max_audit_rows: int = UNBOUNDED,
        max_stranger_audit_rows: int = UNBOUNDED,
        max_change_rows: int = UNBOUNDED,
        max_refusals: int = UNBOUNDED,
        max_refusals_per_device: int = UNBOUNDED,
        max_stranger_refusals: int = UNBOUNDED,
    ) -> Store:
        opened.append(
            factory(
                max_audit_rows=max_audit_rows,
                max_stranger_audit_rows=max_stranger_audit_rows,
                max_change_rows=max_change_rows,
                max_refusals=max_refusals,
                max_refusals_per_device=max_refusals_per_device,
                max_stranger_refusals=max_stranger_refusals,
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


@pytest.fixture
def lower_audit_bounds(implementation: Implementation, monkeypatch: pytest.MonkeyPatch) -> LowerAuditBounds:
    """Lower the implementation's bounds for this test."""

    def lower(*, scanned: int | None = None, dropped: int | None = None, trimmed: int | None = None) -> None:
        for name, value in (("MAX_AUDIT_SCANNED", scanned), ("DROP_BATCH", dropped), ("TRIM_BATCH", trimmed)):
            if value is not None:
                monkeypatch.setattr(f"{implementation.audit_module}.{name}", value)

    return lower
