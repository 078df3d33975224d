"""The lists of the standards' statements: complete, and true about their tests."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

FOLDER = Path(__file__).parent
PAGES = FOLDER.parents[1] / "docs/reference"
WAYS_TO_SKIP = {"skip", "skipif", "xfail", "importorskip", "soak"}
ROW = re.compile(r"^\| MQTT-(\S+) \| (.+) \| (server|client|both) \| (.+) \|$", re.MULTILINE)
TEST = re.compile(r"`(test_mqtt5?_\w+\.py)::(test_\w+)`")
NUMBER = re.compile(r"(?<![\d.-])\d+\.\d+\.\d+-\d+")
MARK = "MQTT 5:"
"""In a docstring, the numbers after it are those of MQTT 5.0; in `test_mqtt5_*.py`, all of them are."""


class Standard(NamedTuple):
    """A version of MQTT, and the page with its statements."""

    name: str
    page: str
    sections: dict[str, int]
    """Appendix B: the number of each section's last statement; they are numbered from 1."""
    total: int
    without_a_test: set[str]
    """They bind clients only, and the server has no answer to their breach; or what they are about doesn't exist."""
    without_a_statement: frozenset[str] = frozenset()
    """Numbers that the standard leaves out."""

    @property
    def statements(self) -> list[str]:
        """Every number, in the standard's order."""
        numbers = [f"{section}-{number + 1}" for section, last in self.sections.items() for number in range(last)]
        return [number for number in numbers if number not in self.without_a_statement]

    @property
    def text(self) -> str:
        """What the page says."""
        return (PAGES / self.page).read_text()

    @property
    def rows(self) -> list[Row]:
        """The statements as the page has them."""
        return [Row(self, *found) for found in ROW.findall(self.text)]


class Row(NamedTuple):
    """A statement as a page has it."""

    standard: Standard
    number: str
    statement: str
    binds: str
    shown_by: str

    @property
    def tests(self) -> list[tuple[str, str]]:
        """Files and names of its tests."""
        return TEST.findall(self.shown_by)


MQTT_3_1_1 = Standard(
    name="3.1.1",
    page="mqtt-conformance.md",
    sections={
        "1.5.3": 3, "2.2.2": 2, "2.3.1": 7,
        "3.1.0": 2, "3.1.2": 24, "3.1.3": 11, "3.1.4": 5, "3.2.0": 1, "3.2.2": 6,
        "3.3.1": 12, "3.3.2": 3, "3.3.4": 1, "3.3.5": 2, "3.6.1": 1,
        "3.8.1": 1, "3.8.3": 4, "3.8.4": 6, "3.9.3": 2, "3.10.1": 1, "3.10.3": 2, "3.10.4": 6,
        "3.12.4": 1, "3.14.1": 1, "3.14.4": 3,
        "4.1.0": 2, "4.3.1": 1, "4.3.2": 2, "4.3.3": 2, "4.4.0": 1, "4.5.0": 2, "4.6.0": 6,
        "4.7.1": 3, "4.7.2": 1, "4.7.3": 4, "4.8.0": 2,
        "6.0.0": 4, "7.0.0": 2, "7.1.1": 1, "7.1.2": 1,
    },
    total=141,
    without_a_test={
        "2.3.1-2", "2.3.1-3", "3.1.2-23", "3.1.3-7", "3.14.4-1", "3.14.4-2", "4.5.0-2", "7.0.0-1", "7.1.2-1",
    },
)  # fmt: skip
MQTT_5 = Standard(
    name="5.0",
    page="mqtt-5-conformance.md",
    sections={
        "1.5.4": 3, "1.5.5": 1, "1.5.7": 1, "2.1.3": 1, "2.2.1": 6, "2.2.2": 1,
        "3.1.0": 2, "3.1.2": 30, "3.1.3": 12, "3.1.4": 6, "3.2.0": 2, "3.2.2": 22,
        "3.3.1": 13, "3.3.2": 20, "3.3.4": 10, "3.4.2": 3, "3.5.2": 3, "3.6.1": 1, "3.6.2": 3, "3.7.2": 3,
        "3.8.1": 1, "3.8.3": 5, "3.8.4": 8, "3.9.2": 2, "3.9.3": 2,
        "3.10.1": 1, "3.10.3": 2, "3.10.4": 6, "3.11.2": 2, "3.11.3": 2,
        "3.12.4": 1, "3.14.0": 1, "3.14.1": 1, "3.14.2": 4, "3.14.4": 3, "3.15.1": 1, "3.15.2": 3,
        "4.1.0": 2, "4.2.0": 1, "4.3.1": 1, "4.3.2": 5, "4.3.3": 13, "4.4.0": 2, "4.5.0": 2, "4.6.0": 6,
        "4.7.0": 1, "4.7.1": 2, "4.7.2": 1, "4.7.3": 4, "4.8.2": 6, "4.9.0": 3,
        "4.12.0": 7, "4.12.1": 2, "4.13.1": 1, "4.13.2": 1, "6.0.0": 4,
    },
    total=251,
    without_a_test={"3.1.2-20", "3.2.2-4", "3.2.2-5", "3.3.2-10", "3.3.4-8", "4.5.0-2"},
    without_a_statement=frozenset({"2.2.1-1"}),
)  # fmt: skip
STANDARDS = [MQTT_3_1_1, MQTT_5]
ROWS = [row for standard in STANDARDS for row in standard.rows]
by_standard = pytest.mark.parametrize("standard", STANDARDS, ids=lambda standard: standard.name)


def _tree(file: str) -> ast.Module:
    return ast.parse((FOLDER / file).read_text())


def _functions(file: str) -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    return {node.name: node for node in _tree(file).body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def _cited(file: str, text: str, standard: Standard) -> list[str]:
    """Return the numbers of a standard that a docstring cites."""
    older, _, newer = ("", "", text) if file.startswith("test_mqtt5_") else text.partition(MARK)
    return NUMBER.findall(newer if standard is MQTT_5 else older)


@by_standard
def test_every_statement_once(standard: Standard) -> None:
    """The page has every statement of the standard exactly once, in the standard's order, and no other row."""
    assert len(standard.statements) == standard.total
    assert [row.number for row in standard.rows] == standard.statements
    assert standard.text.count("\n| MQTT-") == standard.total


@pytest.mark.parametrize("row", ROWS, ids=[f"{row.standard.name}:{row.number}" for row in ROWS])
def test_statement(row: Row) -> None:
    """It has tests that exist and cite it, or is one that can have none, and then says why."""
    assert bool(row.tests) == (row.number not in row.standard.without_a_test)
    assert row.tests or len(row.shown_by) >= 10
    assert row.shown_by.count("`") == 2 * len(row.tests), "something is quoted that is no test"
    assert not [test for test, count in Counter(row.tests).items() if count > 1]
    for file, name in row.tests:
        assert (FOLDER / file).exists(), file
        function = _functions(file).get(name)
        assert function is not None, f"{file}::{name}"
        cited = _cited(file, ast.get_docstring(function) or "", row.standard)
        assert row.number in cited, f"{name} doesn't say that it shows {row.number}"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_nothing_is_skipped(path: Path) -> None:
    """No test here is skipped, expected to fail, or left for later."""
    names = {node.attr for node in ast.walk(_tree(path.name)) if isinstance(node, ast.Attribute)}
    assert not names & WAYS_TO_SKIP


@by_standard
@pytest.mark.parametrize("path", sorted(FOLDER.glob("test_mqtt*_*.py")), ids=lambda path: path.stem)
def test_citations(path: Path, standard: Standard) -> None:
    """Every number that a test cites is one of the standard's."""
    for name, function in _functions(path.name).items():
        text = ast.get_docstring(function) or ""
        assert text or not name.startswith("test_"), name
        assert set(_cited(path.name, text, standard)) <= set(standard.statements), name
