"""Patterns for serials: a part of regular expressions, matched in linear time whatever the pattern (ADR 0016).

The `regex` crate matches them, which pydantic-core ships. It never backtracks: the work is at most the characters of
the serial times the states of the pattern. pydantic-core has no setting for the states, and a pattern runs without
giving up the interpreter's lock, so `to_rust` bounds them before the crate sees a pattern.
"""

from __future__ import annotations

from pydantic_core import SchemaError, SchemaValidator, core_schema

from fleetkey.config.pattern_syntax import MAX_PATTERN_CHARACTERS, MAX_STATES, PatternError, to_rust

__all__ = ["MAX_PATTERN_CHARACTERS", "MAX_STATES", "PatternError", "SerialPattern"]


class SerialPattern:
    """A compiled pattern. It matches whole serials: `SN-[0-9]{6}` doesn't match `SN-1234567`.

    Raises:
        PatternError: says what in the pattern can't be used, and at which character.
    """

    __slots__ = ("_validator", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        whole = rf"\A(?s:{to_rust(text)})\z"
        try:
            # Named although it is the default: the other one is Python's `re`.
            schema = core_schema.str_schema(pattern=whole, regex_engine="rust-regex", strict=True)
            self._validator = SchemaValidator(schema)
        except SchemaError as error:
            # Half of a surrogate pair, as a command line may have in it; or the engine got stricter than it was.
            msg = f"the pattern can't be compiled: {str(error).splitlines()[-1].strip()}"
            raise PatternError(msg) from None

    def matches(self, serial: str) -> bool:
        """Whether the pattern matches the whole serial. Safe to call from any thread."""
        return self._validator.isinstance_python(serial)

    def __repr__(self) -> str:
        """Return the pattern's text."""
        return f"SerialPattern({self.text!r})"
