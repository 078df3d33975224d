"""Libraries whose internals hold a bound are taken in exactly the version whose internals were read."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("library", ["amqtt", "uvicorn", "websockets"])
def test_pinned_exactly(library: str) -> None:
    """Only the version that is tested can be installed: another one could move what a bound rests on."""
    pins = re.findall(rf'^  "{library}(.*?)",', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert pins == [f"=={version(library)}"]
    assert f"{library}=={version(library)}" in (ROOT / "constraints.txt").read_text().splitlines()
