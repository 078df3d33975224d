"""The package's structure: no circle of imports, for type checking included, and amqtt in its place."""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import typer.main

from fleetkey.cli import app

PACKAGE = Path(__file__).resolve().parents[2] / "fleetkey"
AMQTT_PLACES = ("fleetkey.broker.amqtt", "fleetkey.auth_plugin")


def _modules() -> dict[str, Path]:
    """Return every module by name; a package's `__init__` is left out, since it only hands names on."""
    files = (path for path in PACKAGE.rglob("*.py") if path.name != "__init__.py")
    return {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in files}


def _imported(path: Path) -> set[str]:
    """Return what a module imports, wherever in it: modules, and names that may be modules."""
    names = set[str]()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


def test_no_circles() -> None:
    """Modules can be put in an order in which each imports only those before it."""
    modules = _modules()
    graph = {name: _imported(path) & modules.keys() - {name} for name, path in modules.items()}
    assert len(graph) > 200
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None


def test_commands_in_their_modules() -> None:
    """`fleetkey NAME`, and whatever commands it has, are in `fleetkey/cli/commands/NAME.py`."""
    commands: dict[str, Any] = getattr(typer.main.get_command(app), "commands", {})
    where = {name: _places(command) for name, command in commands.items()}
    assert where == {name: {f"fleetkey.cli.commands.{name}"} for name in commands}


def _places(command: Any) -> set[str]:
    """Return the modules in which a command and those inside it are written."""
    own = {command.callback.__module__} if command.callback is not None else set[str]()
    return own.union(*map(_places, getattr(command, "commands", {}).values()))


def test_amqtt_in_its_place() -> None:
    """Nothing but its host in the broker and the plugin imports amqtt."""
    outside = [
        name
        for name, path in _modules().items()
        if not name.startswith(AMQTT_PLACES) and any(part.split(".")[0] == "amqtt" for part in _imported(path))
    ]
    assert outside == []
