"""Fixtures: worlds to connect to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import bcrypt as bcrypt_module
import pytest
import pytest_asyncio

from tests.unit.access.access_rig import Bcrypt, World

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


class WorldFactory(Protocol):
    """Creates worlds that are closed after the test."""

    def __call__(self, **settings: Any) -> World:
        """Create a world."""
        ...


@pytest.fixture
def bcrypt(monkeypatch: pytest.MonkeyPatch) -> Bcrypt:
    """Count the calls of `bcrypt.checkpw`, and hold them up on request."""
    counted = Bcrypt(bcrypt_module.checkpw)
    monkeypatch.setattr(bcrypt_module, "checkpw", counted)
    return counted


@pytest_asyncio.fixture
async def make_world(tmp_path: Path, bcrypt: Bcrypt) -> AsyncIterator[WorldFactory]:
    """Create worlds with their own settings."""
    made: list[World] = []

    def make(**settings: Any) -> World:
        made.append(World.build(tmp_path / f"{len(made)}.db", **settings))
        return made[-1]

    yield make
    bcrypt.release()
    for world in made:
        await world.close()


@pytest_asyncio.fixture
async def world(make_world: WorldFactory) -> World:
    """A world with the default topics and no limit on failures."""
    return make_world()
