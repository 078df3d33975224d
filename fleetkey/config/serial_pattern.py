"""Patterns for serials: a subset of regular expressions, always matched in linear time (ADR 0016).

They are matched by the `regex` crate in pydantic-core, which never backtracks: the work is at most the length of the
serial times the number of states in the pattern. pydantic-core can't limit the states, and matching holds the GIL, so
`to_rust` limits them before the crate sees a pattern.
"""

from __future__ import annotations

from pydantic_core import SchemaError, SchemaValidator, core_schema

from fleetkey.config.pattern_syntax import MAX_PATTERN_CHARACTERS, MAX_STATES, PatternError, to_rust

__all__ = ["MAX_PATTERN_CHARACTERS", "MAX_STATES", "PatternError", "SerialPattern"]


class SerialPattern:
    """A compiled pattern. It matches whole serials: `SN-[0-9]{6}` doesn't match `SN-1234567`.

    Raises:
        PatternError: says what is wrong with the pattern, and at which character.
    """

    __slots__ = ("_validator", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        whole = rf"\A(?s:{to_rust(text)})\z"
        try:
            # Explicit although it is the default: the alternative is Python's `re`.
            schema = core_schema.str_schema(pattern=whole, regex_engine="rust-regex", strict=True)
            self._validator = SchemaValidator(schema)
        except SchemaError as error:
            # A lone surrogate, as may come from a command line; or a stricter version of the engine.
            msg = f"the pattern can't be compiled: {str(error).splitlines()[-1].strip()}"
            raise PatternError(msg) from None

    def matches(self, serial: str) -> bool:
        """Whether the pattern matches the whole serial. Safe to call from any thread."""
        return self._validator.isinstance_python(serial)

    def __repr__(self) -> str:
        """Return the pattern as a string."""
        return f"SerialPattern({self.text!r})"
