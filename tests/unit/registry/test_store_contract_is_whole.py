"""The contract that every store has to pass leaves no method out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Protocol

import pytest

from fleetkey.registry import Store

CONTRACT = "".join(
    file.read_text()
    for file in [
        *(Path(__file__).parent / "store_contract").glob("test_*.py"),
        Path(__file__).parent / "store_rig.py",
    ]
)
METHODS = sorted(
    name
    for part in Store.__mro__
    if part not in {Protocol, object}
    for name, value in vars(part).items()
    if callable(value) and not name.startswith("_")
)


@pytest.mark.parametrize("method", METHODS)
def test_method_in_the_contract(method: str) -> None:
    """Some test of the contract calls it."""
    assert re.search(rf"\b(?:store|mine|other|_store|stores\[[^]]+\]|make_store\(\))\.{method}\b", CONTRACT)
