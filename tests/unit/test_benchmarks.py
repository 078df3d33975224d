"""The benchmarks, as far as that takes no time: some are made from the source of what they measure."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import benchmarks
from benchmarks import abuse

NEED_PEERS = {"benchmarks.amqtt_database", "benchmarks.authentication", "benchmarks.catalog"}
"""Modules that import what only `make bench` installs."""
NAMES = [
    name
    for package in (benchmarks, abuse)
    for _, name, _ in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
    if name not in NEED_PEERS and not name.endswith("__main__")
]


@pytest.mark.parametrize("name", NAMES)
def test_importable(name: str) -> None:
    """Each can be imported."""
    importlib.import_module(name)
