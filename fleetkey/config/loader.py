"""Reading settings from file, environment and flags, with a clear error if something is wrong."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_origin

from pydantic import ValidationError
from pydantic_settings import SettingsConfigDict
from pydantic_settings import SettingsError as EnvironmentDecodeError

from fleetkey.config.file_values import WrongTypeError, check_types, is_table
from fleetkey.config.reasons import reason_of
from fleetkey.config.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel

__all__ = ["DEFAULT_FILE", "STARTER_VARIABLE", "SettingsError", "load_settings"]

DEFAULT_FILE = Path("fleetkey.toml")
PREFIX = "FLEETKEY_"
CONFIG_VARIABLE = "FLEETKEY_CONFIG"
STARTER_VARIABLE = "FLEETKEY_STARTED_BY"
NO_SETTINGS = frozenset({CONFIG_VARIABLE, "FLEETKEY_TOKEN", STARTER_VARIABLE})
"""Variables that are not settings: the settings file, the token for `--url`, and what started the server (`make`)."""
MAX_FILE_BYTES = 1024 * 1024


class SettingsError(Exception):
    """The settings are invalid; the message names the key and where it is set."""


def load_settings(config_file: Path | None = None, flags: Mapping[str, Any] | None = None) -> Settings:
    """Read the settings: `fleetkey.toml`, then `FLEETKEY_*` variables, then flags; the last one wins.

    Args:
        config_file: the file to read, which must exist. None: `fleetkey.toml` in the current directory, if it exists.
        flags: dotted keys to values, such as `{"http.bind": "127.0.0.1:0"}`; None values are ignored.

    Raises:
        SettingsError: the file is unreadable, a key is unknown or a value is invalid; says which and where.
    """
    path = config_file or (DEFAULT_FILE if DEFAULT_FILE.exists() else None)
    file_values = _read_file(path) if path else {}
    flag_values = _nest({key: value for key, value in (flags or {}).items() if value is not None})
    _refuse_unknown_variables()
    try:
        check_types(file_values, Settings)
    except WrongTypeError as error:
        msg = f"setting {error.key} (set in {path}): {error}"
        raise SettingsError(msg) from None

    class LoadedSettings(Settings):
        model_config = SettingsConfigDict(toml_file=path, title="Settings")

    try:
        loaded = LoadedSettings(**flag_values)
    except EnvironmentDecodeError:
        broken = ", ".join(name for name, keys in _variables().items() if not _is_readable(name, keys))
        msg = f"the variable {broken} can't be parsed: write a table as JSON"
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
        msg = f"the settings file {path} is larger than {MAX_FILE_BYTES} bytes"
        raise SettingsError(msg)
    try:
        return tomllib.loads(content.decode())
    except UnicodeDecodeError as error:
        msg = f"the settings file {path} is not UTF-8 (byte {error.start})"
        raise SettingsError(msg) from None
    except tomllib.TOMLDecodeError as error:
        msg = f"the settings file {path} is not valid TOML: {error}"
        raise SettingsError(msg) from None


def _variables() -> dict[str, list[str]]:
    """Return the `FLEETKEY_*` variables that are set, and the key that each sets."""
    return {
        name: name.upper().removeprefix(PREFIX).lower().split("__")
        for name in os.environ
        if name.upper().startswith(PREFIX) and name.upper() not in NO_SETTINGS
    }


def _refuse_unknown_variables() -> None:
    """Refuse variables that no setting uses, so that a misspelt limit isn't silently ignored."""
    for variable, keys in _variables().items():
        table: type[BaseModel] | None = Settings
        for key in keys:
            field = table.model_fields.get(key) if table is not None else None
            if field is None:
                msg = f"unknown setting in the environment: {variable}"
                raise SettingsError(msg)
            table = field.annotation if is_table(field.annotation) else None


def _is_readable(variable: str, keys: list[str]) -> bool:
    """Whether a variable that sets a whole table is valid JSON; others are plain strings."""
    table: type[BaseModel] | None = Settings
    annotation: object = Settings
    for key in keys:
        annotation = table.model_fields[key].annotation if table is not None else None
        table = annotation if is_table(annotation) else None
    if table is None and get_origin(annotation) is not Mapping:
        return True
    try:
        json.loads(os.environ[variable])
    except ValueError:
        return False
    return True


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
    """Describe what is wrong with the first invalid key, and where it is set."""
    first = error.errors(include_url=False)[0]
    # An int is a position in a list; a numeric key is a string.
    keys = [part for part in first["loc"] if isinstance(part, str)]
    key = ".".join(keys)
    where = _sources_of(keys, first["msg"], file_values, flag_values, path)
    if first["type"] == "extra_forbidden":
        return f"unknown setting {key}{where}"
    reason = reason_of(first, keys)
    return f"setting {key}{where}: {reason}" if key else f"settings{where}: {reason}"


def _sources_of(
    keys: list[str], message: str, file_values: dict[str, Any], flag_values: dict[str, Any], path: Path | None
) -> str:
    """Describe where a key is set.

    For a whole table, only the settings that the message mentions are named.
    """
    flags = [one for one in _leaves(flag_values) if _concerns(one, keys, message)]
    named = [name for name, one in _variables().items() if _concerns(one, keys, message)]
    # Flags and variables override the file, so the file is the cause only without them.
    if path is not None and _holds(file_values, keys) and not (flags or named):
        named = [str(path)]
    places = [*(["as a flag"] if flags else []), *([f"in {', '.join(named)}"] if named else [])]
    return f" (set {' and '.join(places)})" if places else ""


def _concerns(setting: list[str], keys: list[str], message: str) -> bool:
    """Whether an error at `keys` concerns a setting that a flag or a variable sets."""
    if len(setting) <= len(keys):
        return setting == keys[: len(setting)]
    if setting[: len(keys)] != keys:
        return False
    names = ".".join(setting), ".".join(setting[len(keys) :])
    return any(re.search(rf"(?<![\w.]){re.escape(name)}(?!\w)", message) for name in names)


def _leaves(values: Mapping[str, Any], table: tuple[str, ...] = ()) -> Iterator[list[str]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, (*table, name))
        else:
            yield [*table, name]


def _holds(values: Any, keys: list[str]) -> bool:
    for key in keys:
        if not isinstance(values, dict) or key not in values:
            return False
        values = values[key]
    return bool(values) or values is False or values == 0
