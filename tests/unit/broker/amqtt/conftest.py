"""A running engine without listeners."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.unit.broker.amqtt.engine_rig import EngineRig, new_engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[EngineRig]:
    """Run an engine."""
    engine = new_engine(tmp_path)
    await engine.start()
    yield EngineRig(engine)
    await engine.stop()
