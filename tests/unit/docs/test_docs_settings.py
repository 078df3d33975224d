"""The settings in the documentation are the settings in the code."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import annotated_types
import pytest
from amqtt.utils import read_yaml_config
from pydantic import BaseModel

from fleetkey.access import TopicTemplates
from fleetkey.auth_plugin import FleetkeyAuthPlugin
from fleetkey.config import ProfileSettings, Settings, WebhookSettings, load_settings
from tests.unit.docs.docs_pages import DOCS, PAGES, ROOT, Block, blocks, page_id, rows, section

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

PAGE = DOCS / "reference/settings.md"
EXAMPLE = ROOT / "examples/fleetkey.toml"
PLUGIN = "fleetkey.auth_plugin.FleetkeyAuthPlugin"


NAMED: dict[str, type[BaseModel]] = {"profiles": ProfileSettings, "webhooks": WebhookSettings}
"""Tables of tables with names of the operator's."""


def _walk(model: type[BaseModel] = Settings, table: str = "") -> Iterator[tuple[str, str, FieldInfo]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _walk(field.annotation, f"{table}.{name}".strip("."))
        elif name in NAMED:
            yield table, name, field
            yield from _walk(NAMED[name], f"{name}.NAME")
        else:
            yield table, name, field


def _as_toml(value: object) -> str:
    match value:
        case None:
            return "*none*"
        case bool():
            return f"`{str(value).lower()}`"
        case Mapping():
            return "`{}`"
        case tuple() | list():
            return f"`[{', '.join(_as_toml(item).strip('`') for item in value)}]`"
        case str() | Path():
            return f'`"{value}"`'
        case _:
            return f"`{value}`"


def _bounds_of(field: FieldInfo) -> set[str]:
    found = set()
    for item in field.metadata:
        for kind, attribute in (
            (annotated_types.Ge, "ge"),
            (annotated_types.Gt, "gt"),
            (annotated_types.Le, "le"),
            (annotated_types.Lt, "lt"),
        ):
            if isinstance(item, kind):
                found.add(str(getattr(item, attribute)))
    return found


def _toml_blocks() -> list[Block]:
    return [block for page in PAGES for block in blocks(page) if block.language == "toml"]


SETTINGS = list(_walk())


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in list(os.environ):
        if variable.upper().startswith("FLEETKEY_"):
            monkeypatch.delenv(variable)


@pytest.mark.parametrize(("table", "name", "field"), SETTINGS, ids=[f"{table}.{name}" for table, name, _ in SETTINGS])
def test_setting_in_the_reference(table: str, name: str, field: FieldInfo) -> None:
    """Every setting has a row in its table, with its default, its bounds and its meaning."""
    found = rows(section(PAGE, f"`[{table}]`" if table else "Without a table"))
    row = next((cells for cells in found if cells[0] == f"`{name}`"), None)
    assert row, f"{table}.{name} is not in the reference"
    _, kind, default, bounds, meaning = row
    assert kind
    assert default == ("required" if field.is_required() else _as_toml(field.get_default(call_default_factory=True)))
    assert meaning
    for bound in _bounds_of(field):
        assert bound in bounds.replace(",", " ").split(), f"{bound} in {bounds!r}"


def test_rows_of_the_reference() -> None:
    """The reference names no setting that isn't there."""
    tables = {table for table, _, _ in SETTINGS}
    for table in tables:
        named = {cells[0].strip("`") for cells in rows(section(PAGE, f"`[{table}]`" if table else "Without a table"))}
        assert named == {name for other, name, _ in SETTINGS if other == table}
    headings = {line for line in PAGE.read_text().splitlines() if line.startswith("## `[")}
    assert headings == {f"## `[{table}]`" for table in tables if table}


def test_example_settings() -> None:
    """The example loads, shows every default as it is, and leaves out only what has none."""
    assert load_settings(EXAMPLE).model_dump() == Settings.model_construct().model_dump()
    shown: dict[str, Any] = tomllib.loads(EXAMPLE.read_text())
    for table, name, field in SETTINGS:
        if table.endswith(".NAME"):
            # Shown as a comment: there is none by default.
            assert re.search(rf"^# {name} = ", EXAMPLE.read_text(), re.MULTILINE), name
            continue
        place = shown
        for part in filter(None, table.split(".")):
            place = place[part]
        if field.get_default(call_default_factory=True) is not None:
            assert name in place, f"{table}.{name} is not in the example"
        else:
            assert f"# {name} = " in EXAMPLE.read_text()


@pytest.mark.parametrize("block", _toml_blocks(), ids=lambda block: page_id(block.page))
def test_settings_snippet(block: Block, tmp_path: Path) -> None:
    """Every TOML snippet loads as settings, and its topic patterns can be used."""
    file = tmp_path / "fleetkey.toml"
    file.write_text(block.text)
    settings = load_settings(file)
    assert TopicTemplates.from_settings(settings.topics, settings.profiles)


def _broker_configurations() -> list[str]:
    shown = [
        block.text
        for page in PAGES
        for block in blocks(page)
        if block.language == "yaml" and not block.text.startswith("scrape_configs:")
    ]
    return [(ROOT / "examples/amqtt.yaml").read_text(), *shown]


@pytest.mark.parametrize("text", _broker_configurations())
def test_broker_configuration(text: str, tmp_path: Path) -> None:
    """Every configuration of another broker names the plugin, with options that it has."""
    file = tmp_path / "amqtt.yaml"
    file.write_text(text)
    configuration = read_yaml_config(file)
    assert configuration
    options = configuration["plugins"][PLUGIN]
    assert FleetkeyAuthPlugin.Config(**options)
    assert f"{FleetkeyAuthPlugin.__module__.rpartition('.')[0]}.{FleetkeyAuthPlugin.__name__}" == PLUGIN
