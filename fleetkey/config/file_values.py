"""The values in a settings file: which of them apply, and whether they have the right types."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeGuard, get_args, get_origin

from pydantic import BaseModel
from pydantic_settings import TomlConfigSettingsSource

from fleetkey.config.fields import AS_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["FileSource", "WrongTypeError", "check_types", "is_table", "name_of"]


NAMES: dict[type, str] = {bool: "true or false", int: "an integer", float: "a number"}
OTHER_NAMES: dict[type, str] = {**NAMES, str: "text", list: "a list", dict: "a table"}


class WrongTypeError(Exception):
    """A value in a settings file has the wrong type, although it could be converted.

    Attributes:
        key: the setting, dotted.
    """

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(reason)
        self.key = key


class FileSource(TomlConfigSettingsSource):
    """The settings file, without the tables of names that a source with higher precedence sets.

    Sources are merged table by table. But a table of names, such as `[registration.hmac.secrets]`, is one setting: if
    it were merged, a name removed from it elsewhere would come back from the file.
    """

    def __call__(self) -> dict[str, Any]:
        """Return the values in the file that apply."""
        values = super().__call__()
        for path in _tables_of_names(self.settings_cls):
            if _holds(self.current_state, path):
                values = _without(values, path)
        return values


def is_table(annotation: object) -> TypeGuard[type[BaseModel]]:
    """Return whether a setting's type is a table with fixed names."""
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def check_types(values: Mapping[str, Any], model: type[BaseModel], table: tuple[str, ...] = ()) -> None:
    """Check that numbers and booleans in a file are not strings; the values of variables always are.

    Other errors are found when the settings are built.

    Raises:
        WrongTypeError: for the first value with the wrong type.
    """
    for name, value in values.items():
        field = model.model_fields.get(name)
        if field is None:
            continue
        path = (*table, name)
        if is_table(field.annotation):
            if isinstance(value, Mapping):
                check_types(value, field.annotation, path)
        elif get_origin(field.annotation) is Mapping:
            _check_named(value, get_args(field.annotation)[1], path)
        wanted = _wanted(field.annotation)
        if AS_BYTES in field.metadata and isinstance(value, str):
            continue
        if wanted is not None and not _is_of(wanted, value):
            raise WrongTypeError(".".join(path), f"must be {NAMES[wanted]}, not {name_of(value)}")


def _check_named(values: object, model: object, path: tuple[str, ...]) -> None:
    if is_table(model) and isinstance(values, Mapping):
        for name, table in values.items():
            if isinstance(table, Mapping):
                check_types(table, model, (*path, name))


def _wanted(annotation: object) -> type | None:
    """Return bool, int or float if a setting must be one of them. Other types are checked strictly anyway."""
    of_values = {type(one) for one in get_args(annotation) if not isinstance(one, type)}
    kinds = {annotation, *get_args(annotation), *of_values}
    return next((kind for kind in (bool, int, float) if kind in kinds), None)


def _is_of(wanted: type, value: object) -> bool:
    # A bool is an int in Python, but not in TOML.
    if isinstance(value, bool):
        return wanted is bool
    return isinstance(value, int | float) if wanted is float else isinstance(value, wanted)


def name_of(value: object) -> str:
    """Return the type of a value in a settings file, in words."""
    return OTHER_NAMES.get(type(value), "a date or time")


def _tables_of_names(model: type[BaseModel], table: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, field in model.model_fields.items():
        if is_table(field.annotation):
            yield from _tables_of_names(field.annotation, (*table, name))
        elif get_origin(field.annotation) is Mapping:
            yield (*table, name)


def _holds(values: Any, path: tuple[str, ...]) -> bool:
    for name in path:
        if not isinstance(values, Mapping) or name not in values:
            return False
        values = values[name]
    return True


def _without(values: dict[str, Any], path: tuple[str, ...]) -> dict[str, Any]:
    name, *rest = path
    if not rest:
        return {key: value for key, value in values.items() if key != name}
    below = values.get(name)
    return {**values, name: _without(below, tuple(rest))} if isinstance(below, dict) else values
