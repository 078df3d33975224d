r"""From a pattern's text to an automaton: the parts of regular expressions that need no going back.

Characters, `.`, `[a-z]`, `[^a-z]`, `\d`, `\w`, `\` before a punctuation mark, `( )`, `(?: )`, `|`, `*`, `+`, `?`,
`{n}`, `{n,}` and `{n,m}`. Anything else is refused rather than understood differently from what its writer means.
"""

from __future__ import annotations

import string
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MAX_PATTERN_CHARACTERS", "MAX_STATES", "Automaton", "PatternError", "compile_pattern"]

MAX_PATTERN_CHARACTERS = 256
MAX_STATES = 1000
"""States of one automaton; `{n,m}` multiplies what it stands behind."""
MAX_REPEATS = 128
"""The highest number in `{n,m}`; no serial has more characters."""
MAX_DEPTH = 20
"""Brackets within brackets."""
MAX_REPEAT_DIGITS = 3

Ranges = tuple[tuple[str, str], ...]
DIGITS: Ranges = (("0", "9"),)
WORD: Ranges = (("0", "9"), ("A", "Z"), ("_", "_"), ("a", "z"))


class PatternError(ValueError):
    """A pattern that can't be used; the message says why and where."""


@dataclass(frozen=True, slots=True)
class _Characters:
    """Which characters lead on: those in one of the ranges, or those in none of them."""

    ranges: Ranges
    is_negated: bool = False

    def has(self, character: str) -> bool:
        return any(low <= character <= high for low, high in self.ranges) != self.is_negated


ANY = _Characters((), is_negated=True)


@dataclass(slots=True)
class Automaton:
    """States with at most one character step each, and steps that take no character."""

    steps: list[tuple[_Characters, int] | None] = field(default_factory=list)
    free: list[list[int]] = field(default_factory=list)
    begin: frozenset[int] = frozenset()
    end: int = 0

    def add(self) -> int:
        """Add a state.

        Raises:
            PatternError: there are `MAX_STATES` already.
        """
        if len(self.steps) >= MAX_STATES:
            msg = f"the pattern needs over {MAX_STATES} states; repeat less in it"
            raise PatternError(msg)
        self.steps.append(None)
        self.free.append([])
        return len(self.steps) - 1

    def reach(self, states: set[int]) -> frozenset[int]:
        """Return the states and all that are reached from them without a character."""
        waiting = list(states)
        while waiting:
            for following in self.free[waiting.pop()]:
                if following not in states:
                    states.add(following)
                    waiting.append(following)
        return frozenset(states)

    def move(self, states: frozenset[int], character: str) -> frozenset[int]:
        """Return where a character leads."""
        following: set[int] = set()
        for state in states:
            step = self.steps[state]
            if step is not None and step[0].has(character):
                following.add(step[1])
        return self.reach(following)


Part = tuple[int, int]
"""The first and the last state of a part of the automaton."""


def compile_pattern(text: str) -> Automaton:
    """Return the automaton of a pattern.

    Raises:
        PatternError: the pattern is empty, too long, or has something that isn't known.
    """
    if not text:
        msg = "the pattern is empty; to match every serial, write .*"
        raise PatternError(msg)
    if len(text) > MAX_PATTERN_CHARACTERS:
        msg = f"the pattern has {len(text)} characters; at most {MAX_PATTERN_CHARACTERS} are allowed"
        raise PatternError(msg)
    return _Parser(text).automaton()


class _Parser:
    """Recursive descent. A part is kept as a function that builds it, so that a repetition can build it again."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._depth = 0
        self._automaton = Automaton()

    def automaton(self) -> Automaton:
        build = self._alternatives()
        if self._position < len(self._text):
            raise self._error("there is no ( for this )")
        first, last = build()
        self._automaton.begin = self._automaton.reach({first})
        self._automaton.end = last
        return self._automaton

    def _error(self, reason: str, at: int | None = None) -> PatternError:
        return PatternError(f"{reason} (character {(self._position if at is None else at) + 1} of the pattern)")

    def _peek(self) -> str:
        return self._text[self._position : self._position + 1]

    def _take(self) -> str:
        character = self._peek()
        if not character:
            raise self._error("the pattern ends too early")
        self._position += 1
        return character

    def _alternatives(self) -> Callable[[], Part]:
        branches = [self._sequence()]
        while self._peek() == "|":
            self._position += 1
            branches.append(self._sequence())
        if len(branches) == 1:
            return branches[0]

        def build() -> Part:
            first, last = self._automaton.add(), self._automaton.add()
            for branch in branches:
                inner_first, inner_last = branch()
                self._automaton.free[first].append(inner_first)
                self._automaton.free[inner_last].append(last)
            return first, last

        return build

    def _sequence(self) -> Callable[[], Part]:
        items: list[Callable[[], Part]] = []
        while self._peek() and self._peek() not in "|)":
            items.append(self._repeated())
        return lambda: self._in_a_row(items)

    def _in_a_row(self, items: list[Callable[[], Part]]) -> Part:
        first = last = self._automaton.add()
        for item in items:
            inner_first, inner_last = item()
            self._automaton.free[last].append(inner_first)
            last = inner_last
        return first, last

    def _repeated(self) -> Callable[[], Part]:
        item = self._item()
        least: int = 1
        most: int | None = None
        match self._peek():
            case "*":
                least = 0
            case "+":
                pass
            case "?":
                least, most = 0, 1
            case "{":
                least, most = self._counts()
            case _:
                return item
        self._position += 1
        if self._peek() and self._peek() in "*+?{":
            raise self._error(f"{self._peek()!r} stands behind another repetition")
        return lambda: self._build_repeated(item, least, most)

    def _build_repeated(self, item: Callable[[], Part], least: int, most: int | None) -> Part:
        automaton = self._automaton
        first, last = self._in_a_row([item] * least)
        if most is None:
            around = automaton.add()
            inner_first, inner_last = item()
            automaton.free[last].append(around)
            automaton.free[around].append(inner_first)
            automaton.free[inner_last].append(around)
            return first, around
        end = automaton.add()
        automaton.free[last].append(end)
        for _ in range(most - least):
            inner_first, inner_last = item()
            automaton.free[last].append(inner_first)
            automaton.free[inner_last].append(end)
            last = inner_last
        return first, end

    def _counts(self) -> tuple[int, int | None]:
        """Read `{n}`, `{n,}` or `{n,m}` up to its last character."""
        began = self._position
        self._position += 1
        least = self._count()
        most: int | None = least
        if self._peek() == ",":
            self._position += 1
            most = None if self._peek() == "}" else self._count()
        if self._peek() != "}" or (most is not None and most < least):
            raise self._error("write {n}, {n,} or {n,m} with n no greater than m", began)
        return least, most

    def _count(self) -> int:
        began = self._position
        while self._peek() and self._peek() in string.digits:
            self._position += 1
        digits = self._text[began : self._position]
        if not digits or len(digits) > MAX_REPEAT_DIGITS or int(digits) > MAX_REPEATS:
            raise self._error(f"a number from 0 to {MAX_REPEATS} is needed here", began)
        return int(digits)

    def _item(self) -> Callable[[], Part]:
        began = self._position
        character = self._take()
        match character:
            case "(":
                return self._group(began)
            case "[":
                return self._step(self._class(began))
            case ".":
                return self._step(ANY)
            case "\\":
                return self._step(_Characters(self._escaped()))
            case "^" | "$":
                raise self._error(f"leave {character} out: the whole serial is matched in any case", began)
            case "*" | "+" | "?" | "{":
                raise self._error(f"nothing stands before {character!r}", began)
            case "]" | "}":
                raise self._error(f"write \\{character} for the character itself", began)
            case _:
                return self._step(_Characters(((character, character),)))

    def _step(self, characters: _Characters) -> Callable[[], Part]:
        def build() -> Part:
            first, last = self._automaton.add(), self._automaton.add()
            self._automaton.steps[first] = (characters, last)
            return first, last

        return build

    def _group(self, began: int) -> Callable[[], Part]:
        if self._peek() == "?":
            if self._text[self._position : self._position + 2] != "?:":
                raise self._error("of the groups that begin with (? only (?: is known", began)
            self._position += 2
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(f"over {MAX_DEPTH} brackets within brackets", began)
        inner = self._alternatives()
        self._depth -= 1
        if self._peek() != ")":
            raise self._error("there is no ) for this (", began)
        self._position += 1
        return inner

    def _class(self, began: int) -> _Characters:
        is_negated = self._peek() == "^"
        self._position += is_negated
        ranges: list[tuple[str, str]] = []
        while self._peek() != "]":
            if not self._peek():
                raise self._error("there is no ] for this [", began)
            at = self._position
            lows = self._in_class()
            if self._peek() == "-" and self._text[self._position + 1 : self._position + 2] not in {"]", ""}:
                self._position += 1
                highs = self._in_class()
                low, high = lows[0][0], highs[0][1]
                if len(lows) > 1 or len(highs) > 1 or lows[0][0] != lows[0][1] or highs[0][0] != highs[0][1]:
                    raise self._error("a range goes from one character to another", at)
                if low > high:
                    raise self._error(f"the range {low}-{high} is the wrong way round", at)
                ranges.append((low, high))
            else:
                ranges += lows
        self._position += 1
        if not ranges:
            raise self._error("this [] is empty", began)
        return _Characters(tuple(ranges), is_negated)

    def _in_class(self) -> Ranges:
        at = self._position
        character = self._take()
        if character == "\\":
            return self._escaped()
        if character == "[":
            raise self._error("write \\[ for the character itself", at)
        return ((character, character),)

    def _escaped(self) -> Ranges:
        at = self._position - 1
        character = self._take()
        if character == "d":
            return DIGITS
        if character == "w":
            return WORD
        if character in string.punctuation or character == " ":
            return ((character, character),)
        raise self._error(f"\\{character} is not known; \\d, \\w and \\ before a punctuation mark are", at)
