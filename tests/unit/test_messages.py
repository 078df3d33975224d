"""What is printed, logged or answered makes sense to who has only the installed package."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import fleetkey

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(fleetkey.__file__).parent
SOURCE_TREE = re.compile(r"\b(?:docs|examples|tests|deploy|benchmarks)/|Makefile|CONTRIBUTING|\.md\b")


def _texts(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield the strings of a module that aren't documentation."""
    documentation = {
        statement.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        for statement in node.body
        if isinstance(statement, ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in documentation:
            yield node.lineno, node.value


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_no_path_of_the_source_tree(file: Path) -> None:
    """No text names a file that is in a clone only."""
    found = [(line, text) for line, text in _texts(ast.parse(file.read_text())) if SOURCE_TREE.search(text)]
    assert found == []
