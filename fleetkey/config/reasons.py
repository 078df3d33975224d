"""What is wrong with a value, in the words of a settings file rather than of the library that reads it."""

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
"""By pydantic's types of errors."""
BOUNDS = {
    "greater_than_equal": ("ge", "at least "),
    "greater_than": ("gt", "more than "),
    "less_than_equal": ("le", "at most "),
    "less_than": ("lt", "less than "),
}
WORD = re.compile(r"[A-Za-z_.-]{1,24}")
"""What is shown of a value: a misspelt word, and nothing that could be a secret in the wrong place."""


def reason_of(error: ErrorDetails, keys: Sequence[str]) -> str:
    """Say what is wrong.

    Args:
        error: what pydantic says.
        keys: the setting.
    """
    kind, value, context = error["type"], error["input"], error.get("ctx", {})
    if kind in NEEDED:
        needed = NEEDED[kind]
        # A variable is text whatever is in it; that it is would explain nothing.
        other = "" if kind.endswith("_parsing") else f", not {name_of(value)}"
        advice = f"; write a table [{'.'.join(keys)}]" if needed == "a table" else ""
        return f"{needed} is needed{other}{advice}"
    if kind == "literal_error":
        words = ", ".join(re.findall(r"[^', ]+", re.sub(r" or (?=\S+$)", ", ", context["expected"])))
        shown = repr(value) if isinstance(value, str) and WORD.fullmatch(value) else "the value"
        return f"{shown} is none of {words}"
    if kind in BOUNDS:
        name, words = BOUNDS[kind]
        return f"it has to be {words}{context[name]}"
    if kind == "missing":
        return "it is needed and isn't set"
    return error["msg"].removeprefix("Value error, ")
