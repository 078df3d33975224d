"""Every promise of the README and every threat of the security page names the tests that show it."""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import pytest

from tests.unit.docs.docs_pages import DOCS, ROOT, rows, section

if TYPE_CHECKING:
    from collections.abc import Iterable

PAGE = DOCS / "reference/promises.md"
SECURITY = DOCS / "explanation/security.md"
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
LEFT_OUT = {"skip", "skipif", "xfail", "soak", "servers"}
"""Marks of tests that `make test` doesn't run, or not everywhere, or whose failure it accepts."""
PROMISES = rows(section(PAGE, "Promises"))
THREATS = rows(section(PAGE, "Threats"))


def test_every_promise_has_a_row() -> None:
    """The page has the README's promises word for word, in its order, and no other."""
    promised = re.findall(r"^- (.+)$", section(ROOT / "README.md", "What it promises"), re.MULTILINE)
    assert promised
    assert [claim for claim, _ in PROMISES] == promised


def test_every_threat_has_a_row() -> None:
    """The page has the threats of the security page word for word, in its order, and no other."""
    listed = [threat for threat, _, _ in rows(section(SECURITY, "Threats and defences"))]
    assert listed
    assert [threat for threat, _ in THREATS] == listed


@pytest.mark.parametrize(("claim", "shown_by"), [*PROMISES, *THREATS])
def test_tests_of_a_row(claim: str, shown_by: str) -> None:
    """A row names tests that exist and that `make test` runs, each once, and nothing else."""
    tests = TEST.findall(shown_by)
    assert tests, claim
    assert "<br>".join(f"`{file}::{name}`" for file, name in tests) == shown_by
    assert len(set(tests)) == len(tests)
    for file, name in tests:
        path = ROOT / file
        assert path.exists(), file
        tree = ast.parse(path.read_text())
        found = [
            node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name
        ]
        assert found, f"{file} has no {name}"
        assert not (_attributes(found[0].decorator_list) | _module_marks(tree)) & LEFT_OUT, f"{name} isn't always run"


def _attributes(nodes: Iterable[ast.AST]) -> set[str]:
    return {node.attr for root in nodes for node in ast.walk(root) if isinstance(node, ast.Attribute)}


def _module_marks(tree: ast.Module) -> set[str]:
    marks = [
        node
        for node in tree.body
        if isinstance(node, ast.Assign) and any(ast.unparse(target) == "pytestmark" for target in node.targets)
    ]
    return _attributes(marks)


@pytest.mark.parametrize("cells", rows(section(SECURITY, "Threats and defences")), ids=lambda cells: cells[0])
def test_files_of_a_defence(cells: list[str]) -> None:
    """The security page says where each defence is, in files that are there."""
    files = re.findall(r"`([^`]+)`", cells[2])
    assert files
    for file in files:
        assert (ROOT / "fleetkey" / file).exists(), file
