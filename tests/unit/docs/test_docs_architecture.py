"""The description of the architecture is about the code as it is."""

from __future__ import annotations

import ast
import re

import pytest

from tests.unit.docs.docs_pages import DOCS, ROOT, prose, rows, section

PAGE = DOCS / "explanation/architecture.md"
PACKAGE = ROOT / "fleetkey"
FILES = [str(path.relative_to(ROOT)) for folder in (PACKAGE, ROOT / "tests") for path in folder.rglob("*.py")]
ALONE = {"printable", "turns"}
"""Modules that are no part: the picture has them, and says all there is to say."""
PARTS = {
    path.stem for path in PACKAGE.iterdir() if not path.name.startswith("_") and path.suffix in {"", ".py"}
} - ALONE
PATHS = sorted(set(re.findall(r"`([\w/]+(?:\.py|/))`", prose(PAGE))))


def _names(part: str) -> set[str]:
    files = [path for path in FILES if re.match(rf"fleetkey/{part}(/|\.py$)", path)]
    nodes = [node for path in files for node in ast.walk(ast.parse((ROOT / path).read_text()))]
    return {node.name for node in nodes if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_part_has_a_row() -> None:
    """The table has every part of the package, and no other."""
    assert {cells[0].strip("`") for cells in rows(section(PAGE, "Parts"))} == PARTS


def test_every_part_is_in_the_picture() -> None:
    """So has the picture."""
    picture = section(PAGE, "Parts").split("```")[1]
    for part in PARTS | ALONE:
        assert re.search(rf"(?<!\w){part}(?!\w)", picture), part


@pytest.mark.parametrize("cells", rows(section(PAGE, "Parts")), ids=lambda cells: cells[0])
def test_where_to_start_reading(cells: list[str]) -> None:
    """A part has the classes and functions at which to start."""
    named = re.findall(r"`(\w+)`", cells[1])
    assert named
    assert set(named) <= _names(cells[0].strip("`"))


@pytest.mark.parametrize("path", PATHS)
def test_path_of_the_page(path: str) -> None:
    """A file or folder that the page names is there, by its path from the package, the repository or a part."""
    pattern = re.compile(rf"(?:^|/){re.escape(path)}" + ("$" if path.endswith(".py") else ""))
    assert any(pattern.search(file) for file in FILES), path
