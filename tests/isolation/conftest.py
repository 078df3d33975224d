"""The scene of every attack, and the version of MQTT that it is made in: each test runs for both."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.scene import Scene, staged
from tests.support.versions import IDS, speaking

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fleet import Fleet


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test for both versions, unless it says for which."""
    if any("version" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")):
        return
    mark = metafunc.definition.get_closest_marker("versions")
    levels = mark.args if mark is not None else tuple(IDS)
    metafunc.parametrize("version", levels, indirect=True, ids=[IDS[level] for level in levels])


@pytest.fixture(autouse=True)
def version(request: pytest.FixtureRequest) -> Iterator[int]:
    """Let clients speak a version; those of fixtures that tests share speak 3.1.1."""
    with speaking(request.param):
        yield request.param


@pytest.fixture
def scene(fleet: Fleet) -> Iterator[Scene]:
    """Set the scene."""
    with staged(fleet) as scene:
        yield scene
