"""The list of the standard's statements: complete, and true about its tests."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

FOLDER = Path(__file__).parent
PAGE = FOLDER.parents[1] / "docs/reference/mqtt-conformance.md"
# Appendix B: how many statements each section has; they are numbered from 1.
SECTIONS = {
    "1.5.3": 3, "2.2.2": 2, "2.3.1": 7,
    "3.1.0": 2, "3.1.2": 24, "3.1.3": 11, "3.1.4": 5, "3.2.0": 1, "3.2.2": 6,
    "3.3.1": 12, "3.3.2": 3, "3.3.4": 1, "3.3.5": 2, "3.6.1": 1,
    "3.8.1": 1, "3.8.3": 4, "3.8.4": 6, "3.9.3": 2, "3.10.1": 1, "3.10.3": 2, "3.10.4": 6,
    "3.12.4": 1, "3.14.1": 1, "3.14.4": 3,
    "4.1.0": 2, "4.3.1": 1, "4.3.2": 2, "4.3.3": 2, "4.4.0": 1, "4.5.0": 2, "4.6.0": 6,
    "4.7.1": 3, "4.7.2": 1, "4.7.3": 4, "4.8.0": 2,
    "6.0.0": 4, "7.0.0": 2, "7.1.1": 1, "7.1.2": 1,
}  # fmt: skip
STATEMENTS = [f"{section}-{number + 1}" for section, count in SECTIONS.items() for number in range(count)]
WITHOUT_A_TEST = {
    "2.3.1-2", "2.3.1-3", "3.1.2-23", "3.1.3-7", "3.14.4-1", "3.14.4-2", "4.5.0-2", "7.0.0-1", "7.1.2-1",
}  # fmt: skip
"""They bind clients only, and the server has no answer to their breach; or what they are about doesn't exist here."""
WAYS_TO_SKIP = {"skip", "skipif", "xfail", "importorskip", "soak"}
ROW = re.compile(r"^\| MQTT-(\S+) \| (.+) \| (server|client|both) \| (.+) \|$", re.MULTILINE)
TEST = re.compile(r"`(test_mqtt_\w+\.py)::(test_\w+)`")


class Row(NamedTuple):
    """A statement as the page has it."""

    number: str
    statement: str
    binds: str
    shown_by: str

    @property
    def tests(self) -> list[tuple[str, str]]:
        """Files and names of its tests."""
        return TEST.findall(self.shown_by)


ROWS = [Row(*found) for found in ROW.findall(PAGE.read_text())]


def _tree(file: str) -> ast.Module:
    return ast.parse((FOLDER / file).read_text())


def _functions(file: str) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    return {node.name: node for node in _tree(file).body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_every_statement_once() -> None:
    """The page has every statement of the standard exactly once, in the standard's order, and no other row."""
    assert len(STATEMENTS) == 141
    assert [row.number for row in ROWS] == STATEMENTS
    assert PAGE.read_text().count("\n| MQTT-") == len(STATEMENTS)


@pytest.mark.parametrize("row", ROWS, ids=[row.number for row in ROWS])
def test_statement(row: Row) -> None:
    """It has tests that exist and cite it, or is one that can have none, and then says why."""
    assert bool(row.tests) == (row.number not in WITHOUT_A_TEST)
    assert row.tests or len(row.shown_by) >= 10
    assert row.shown_by.count("`") == 2 * len(row.tests), "something is quoted that is no test"
    assert not [test for test, count in Counter(row.tests).items() if count > 1]
    for file, name in row.tests:
        assert (FOLDER / file).exists(), file
        function = _functions(file).get(name)
        assert function is not None, f"{file}::{name}"
        cited = re.findall(r"(?<![\d.-])\d+\.\d+\.\d+-\d+", ast.get_docstring(function) or "")
        assert row.number in cited, f"{name} doesn't say that it shows {row.number}"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_nothing_is_skipped(path: Path) -> None:
    """No test here is skipped, expected to fail, or left for later."""
    names = {node.attr for node in ast.walk(_tree(path.name)) if isinstance(node, ast.Attribute)}
    assert not names & WAYS_TO_SKIP


@pytest.mark.parametrize("path", sorted(FOLDER.glob("test_mqtt_*.py")), ids=lambda path: path.stem)
def test_citations(path: Path) -> None:
    """Every number that a test cites is one of the standard's."""
    for name, function in _functions(path.name).items():
        text = ast.get_docstring(function) or ""
        assert text or not name.startswith("test_"), name
        assert set(re.findall(r"\d+\.\d+\.\d+-\d+", text)) <= set(STATEMENTS), name
