"""Patterns for serials: a part of regular expressions, matched in linear time whatever the pattern (ADR 0007).

A pattern becomes an automaton (Thompson, 1968) and is never tried in more than one way at once: each character of the
serial moves a set of states on. So the work is at most characters times states, and no pattern makes it more.
"""

from __future__ import annotations

from fleetkey.config.pattern_syntax import (
    MAX_PATTERN_CHARACTERS,
    MAX_STATES,
    Automaton,
    PatternError,
    compile_pattern,
)

__all__ = ["MAX_PATTERN_CHARACTERS", "MAX_STATES", "PatternError", "SerialPattern"]

MAX_REMEMBERED_STATES = 20_000
"""States in the moves that one pattern remembers, about a megabyte; then it begins anew."""


class SerialPattern:
    """A compiled pattern. It matches whole serials: `SN-[0-9]{6}` doesn't match `SN-1234567`.

    Raises:
        PatternError: says what in the pattern can't be used, and at which character.
    """

    __slots__ = ("_automaton", "_moves", "_remembered", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        self._automaton: Automaton = compile_pattern(text)
        self._moves: dict[tuple[frozenset[int], str], frozenset[int]] = {}
        self._remembered = 0

    def matches(self, serial: str) -> bool:
        """Whether the pattern matches the whole serial. Safe to call from any thread."""
        states = self._automaton.begin
        for character in serial:
            states = self._move(states, character)
            if not states:
                return False
        return self._automaton.end in states

    def _move(self, states: frozenset[int], character: str) -> frozenset[int]:
        found = self._moves.get((states, character))
        if found is None:
            found = self._automaton.move(states, character)
            self._remembered += len(found) + 1
            if self._remembered > MAX_REMEMBERED_STATES:
                self._moves, self._remembered = {}, len(found) + 1
            self._moves[states, character] = found
        return found

    def __repr__(self) -> str:
        """Return the pattern's text."""
        return f"SerialPattern({self.text!r})"
