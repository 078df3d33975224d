"""Error messages in terms of a settings file rather than of the library that parses it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from fleetkey.config.file_values import name_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic_core import ErrorDetails

__all__ = ["reason_of"]

NEEDED = {
    "model_type": "a table",
    "model_attributes_type": "a table",
    "dict_type": "a table",
    "mapping_type": "a table",
    "string_type": "text",
    "path_type": "a path",
    "tuple_type": "a list",
    "list_type": "a list",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "int_type": "an integer",
    "int_parsing": "an integer",
    "int_parsing_size": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "float_parsing": "a number",
}
"""By pydantic's error types."""
BOUNDS = {
    "greater_than_equal": ("ge", "at least "),
    "greater_than": ("gt", "more than "),
    "less_than_equal": ("le", "at most "),
    "less_than": ("lt", "less than "),
}
WORD = re.compile(r"[A-Za-z_.-]{1,24}")
"""How much of a value is shown: enough for a misspelt word, but not for a misplaced secret."""


def reason_of(error: ErrorDetails, keys: Sequence[str]) -> str:
    """Return what is wrong with a setting.

    Args:
        error: pydantic's error.
        keys: the setting's key, in parts.
    """
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind in NEEDED:
        needed = NEEDED[kind]
        # A variable is always a string, so saying so would not help.
        other = "" if kind.endswith("_parsing") else f", not {name_of(value)}"
        advice = f"; write a table [{'.'.join(keys)}]" if needed == "a table" else ""
        return f"must be {needed}{other}{advice}"
    if kind == "literal_error":
        words = ", ".join(re.findall(r"[^', ]+", re.sub(r" or (?=\S+$)", ", ", context["expected"])))
        shown = repr(value) if isinstance(value, str) and WORD.fullmatch(value) else "the value"
        return f"{shown} is not one of {words}"
    if kind in BOUNDS:
        name, words = BOUNDS[kind]
        return f"must be {words}{context[name]}"
    if kind == "missing":
        return "required but not set"
    return error["msg"].removeprefix("Value error, ")
