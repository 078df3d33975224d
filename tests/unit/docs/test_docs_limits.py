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
from fleetkey.admin_api import context
from fleetkey.admin_api.bodies import MAX_BODIES_BYTES, MAX_BODIES_BYTES_PER_TOKEN
from fleetkey.admin_api.serials import MAX_IMPORTS, SPOOLED_BYTES
from fleetkey.config import Settings
from fleetkey.http.connections import MAX_HELD_BYTES
from fleetkey.http.framing import MAX_HEADER_BYTES, MAX_PIECE_BYTES
from fleetkey.http.protocol import MAX_QUEUED_BYTES, MAX_UNREAD_BODY_BYTES
from fleetkey.http.unsent import MAX_UNSENT_BYTES, MAX_UNSENT_BYTES_PER_ADDRESS, WRITE_BUFFER_BYTES
from fleetkey.registration import route as registration
from tests.unit.docs.docs_pages import DOCS, rows, section

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = DOCS / "reference/limits.md"
PACKAGE = Path(fleetkey.__file__).parent
KIBIBYTE, MEBIBYTE = 1024, 1024 * 1024
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


def test_memory_of_http_clients() -> None:
    """What the reference says that HTTP clients can make the server hold is what the constants allow."""
    parsed = MAX_HEADER_BYTES + MAX_QUEUED_BYTES + MAX_PIECE_BYTES + MAX_UNREAD_BODY_BYTES + registration.MAX_BODY_BYTES
    http = Settings.model_construct().http
    per_address, every = http.max_connections_per_address, http.max_connections
    found = {cells[0].partition(":")[0]: cells[1:] for cells in rows(section(PAGE, "Memory of HTTP clients"))}
    assert list(found.values()) == [
        [f"{parsed // KIBIBYTE} KiB", _mebibytes(parsed * per_address), f"{parsed * every // MEBIBYTE} MiB"],
        ["one read, 250 KiB", f"{250 * KIBIBYTE * per_address // MEBIBYTE} MiB", _mebibytes(MAX_HELD_BYTES)],
        [
            f"{WRITE_BUFFER_BYTES // KIBIBYTE} KiB",
            _mebibytes(WRITE_BUFFER_BYTES * per_address),
            f"{round(WRITE_BUFFER_BYTES * every / MEBIBYTE)} MiB",
        ],
        [*[_mebibytes(MAX_UNSENT_BYTES_PER_ADDRESS)] * 2, _mebibytes(MAX_UNSENT_BYTES)],
        [
            _mebibytes(context.MAX_BODY_BYTES),
            f"{_mebibytes(MAX_BODIES_BYTES_PER_TOKEN)} for each token",
            _mebibytes(MAX_BODIES_BYTES),
        ],
        [_mebibytes(SPOOLED_BYTES), *[_mebibytes(MAX_IMPORTS * SPOOLED_BYTES)] * 2],
    ]


def _mebibytes(count: int) -> str:
    return f"{count / MEBIBYTE:.1f} MiB".replace(".0 ", " ")
