"""The bounds in the documentation are the bounds in the code."""

from __future__ import annotations

import ast
import importlib
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

import fleetkey
from fleetkey.config import Settings
from tests.unit.docs.docs_pages import DOCS, rows, section

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = DOCS / "reference/limits.md"
PACKAGE = Path(fleetkey.__file__).parent
BOUND = re.compile(r"(?:MAX|MIN)_[A-Z_]+")


def _constants() -> list[tuple[str, str]]:
    found = []
    for title in ("Fixed in the server", "Fixed in the device"):
        found += [(name.strip("`"), value.strip("`")) for name, value, _ in rows(section(PAGE, title))]
    return found


@pytest.mark.parametrize(("name", "value"), _constants())
def test_constant_in_the_reference(name: str, value: str) -> None:
    """Every constant that the reference names is in the code, with that value."""
    module_name, _, constant = name.rpartition(".")
    module = importlib.import_module(f"fleetkey.{module_name}")
    assert repr(getattr(module, constant)) == value


def test_bounds_of_the_code() -> None:
    """Every `MAX_…` and `MIN_…` of the package is in the reference."""
    named = {name for name, _ in _constants()}
    for file in PACKAGE.rglob("*.py"):
        module = ".".join(file.relative_to(PACKAGE).with_suffix("").parts)
        for statement in ast.parse(file.read_text()).body:
            targets = statement.targets if isinstance(statement, ast.Assign) else []
            for target in targets:
                if isinstance(target, ast.Name) and BOUND.fullmatch(target.id):
                    assert f"{module}.{target.id}" in named


@pytest.mark.parametrize("cells", rows(section(PAGE, "Settings")), ids=lambda cells: cells[0])
def test_setting_in_the_reference(cells: list[str]) -> None:
    """Every setting that bounds something is in the code, with that default."""
    default: Any = Settings.model_construct()
    for part in cells[0].strip("`").split("."):
        default = getattr(default, part)
    assert cells[1].strip("`") == repr(default)
    assert cells[2]


def test_bounding_settings_of_the_code() -> None:
    """Every setting whose name says that it bounds something is in the reference."""
    named = {cells[0].strip("`") for cells in rows(section(PAGE, "Settings"))}
    for name in _settings(Settings):
        last = name.rpartition(".")[2]
        if last.startswith("max_") or last.endswith("timeout_seconds"):
            assert name in named


def _settings(model: type[BaseModel], table: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        place = f"{table}.{name}".strip(".")
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _settings(field.annotation, place)
        else:
            yield place
