"""What every command takes, and how it gets from there to settings and store."""

from __future__ import annotations

import getpass
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fleetkey.config import Settings, load_settings
from fleetkey.registry import Store, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["ConfigOption", "DataDirOption", "JsonOption", "actor", "opened_store", "settings_from"]

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        envvar="FLEETKEY_CONFIG",
        show_envvar=True,
        metavar="FILE",
        help="Settings file; without it, fleetkey.toml in this folder if there is one.",
        rich_help_panel="Common",
    ),
]
DataDirOption = Annotated[
    Path | None,
    typer.Option("--data-dir", metavar="DIR", help="Folder of the registry.", rich_help_panel="Common"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.", rich_help_panel="Common")]


def settings_from(config: Path | None, data_dir: Path | None, flags: Mapping[str, Any] | None = None) -> Settings:
    """Load the settings with the common flags. Raises `SettingsError`."""
    return load_settings(config, {**(flags or {}), "data_dir": data_dir})


@contextmanager
def opened_store(config: Path | None, data_dir: Path | None) -> Iterator[Store]:
    """Open the registry for one command. Raises `SettingsError` and `StoreError`."""
    store = open_store(settings_from(config, data_dir))
    try:
        yield store
    finally:
        store.close()


def actor() -> str:
    """Return who runs the command, for the audit."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):
        return "cli"
