"""The scene of every attack."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.scene import Scene, staged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fleet import Fleet


@pytest.fixture
def scene(fleet: Fleet) -> Iterator[Scene]:
    """Set the scene."""
    with staged(fleet) as scene:
        yield scene
