"""Reading settings from file, environment and flags, with one clear error when something is wrong."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError
from pydantic_settings import SettingsConfigDict
from pydantic_settings import SettingsError as EnvironmentDecodeError

from fleetkey.config.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["DEFAULT_FILE", "SettingsError", "load_settings"]

DEFAULT_FILE = Path("fleetkey.toml")
PREFIX = "FLEETKEY_"
CONFIG_VARIABLE = "FLEETKEY_CONFIG"
MAX_FILE_BYTES = 1024 * 1024


class SettingsError(Exception):
    """Settings that can't be used; the message names the key and where it was set."""


def load_settings(config_file: Path | None = None, flags: Mapping[str, Any] | None = None) -> Settings:
    """Read the settings: `fleetkey.toml`, then `FLEETKEY_*` variables, then flags; the later wins.

    Args:
        config_file: the file to read, which must exist. None: `fleetkey.toml` in the current folder, if there is one.
        flags: dotted keys to values, such as `{"http.bind": "127.0.0.1:0"}`; None values are passed over.

    Raises:
        SettingsError: unreadable file, unknown key or value of the wrong type; says which and where.
    """
    path = config_file or (DEFAULT_FILE if DEFAULT_FILE.exists() else None)
    file_values = _read_file(path) if path else {}
    flag_values = _nest({key: value for key, value in (flags or {}).items() if value is not None})
    _refuse_unknown_variables()

    class LoadedSettings(Settings):
        model_config = SettingsConfigDict(toml_file=path, title="Settings")

    try:
        loaded = LoadedSettings(**flag_values)
    except EnvironmentDecodeError as error:
        msg = f"a {PREFIX}* variable can't be read: {error}"
        raise SettingsError(msg) from None
    except ValidationError as error:
        raise SettingsError(_explain(error, file_values, flag_values, path)) from None
    return loaded


def _read_file(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        msg = f"can't read the settings file {path}: {error.strerror}"
        raise SettingsError(msg) from None
    if len(content) > MAX_FILE_BYTES:
        msg = f"the settings file {path} is over {MAX_FILE_BYTES} bytes"
        raise SettingsError(msg)
    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        msg = f"the settings file {path} is not UTF-8 (byte {error.start})"
        raise SettingsError(msg) from None
    except tomllib.TOMLDecodeError as error:
        msg = f"the settings file {path} is not valid TOML: {error}"
        raise SettingsError(msg) from None


def _refuse_unknown_variables() -> None:
    """Refuse a variable that no setting reads: a misspelt limit must not pass for a set one."""
    tables = {name.upper() for name in Settings.model_fields}
    for variable in os.environ:
        name = variable.upper()
        if not name.startswith(PREFIX) or name == CONFIG_VARIABLE:
            continue
        if name.removeprefix(PREFIX).split("__", 1)[0] not in tables:
            msg = f"unknown setting in the environment: {variable}"
            raise SettingsError(msg)


def _nest(dotted: Mapping[str, Any]) -> dict[str, Any]:
    nested: dict[str, Any] = {}
    for key, value in dotted.items():
        *tables, name = key.split(".")
        table = nested
        for part in tables:
            table = table.setdefault(part, {})
        table[name] = value
    return nested


def _explain(
    error: ValidationError, file_values: dict[str, Any], flag_values: dict[str, Any], path: Path | None
) -> str:
    """Say what is wrong with the first bad key, and where it was set."""
    first = error.errors(include_url=False, include_input=False)[0]
    location = [str(part) for part in first["loc"]]
    key = ".".join(part for part in location if not part.isdigit())
    where = _source_of(location, file_values, flag_values, path)
    if first["type"] == "extra_forbidden":
        return f"unknown setting {key}{where}"
    reason = first["msg"].removeprefix("Value error, ")
    return f"setting {key}{where}: {reason}" if key else f"settings{where}: {reason}"


def _source_of(location: list[str], file_values: dict[str, Any], flag_values: dict[str, Any], path: Path | None) -> str:
    keys = [part for part in location if not part.isdigit()]
    if _holds(flag_values, keys):
        return " (given as a flag)"
    variable = PREFIX + "__".join(keys).upper()
    set_variables = {name.upper(): name for name in os.environ}
    if keys and variable in set_variables:
        return f" in the variable {set_variables[variable]}"
    if _holds(file_values, keys):
        return f" in {path}"
    return ""


def _holds(values: Any, keys: list[str]) -> bool:
    if not keys:
        return False
    for key in keys:
        if not isinstance(values, dict) or key not in values:
            return False
        values = values[key]
    return True
