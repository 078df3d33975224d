"""The broker's parts, over a file of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.unit.broker.rig import Parts

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path


@pytest.fixture
async def new_parts(tmp_path: Path) -> AsyncIterator[Callable[..., Parts]]:
    """Return what makes parts over this test's file; made again, they are those of the next process."""
    made: list[Parts] = []

    def new(**options: Any) -> Parts:
        made.append(Parts(tmp_path, **options))
        return made[-1]

    yield new
    for parts in made:
        await parts.close()


@pytest.fixture
def parts(new_parts: Callable[..., Parts]) -> Parts:
    """Return the parts with the default bounds."""
    return new_parts()
