r"""The language of serial patterns: parse a pattern, bound its size and translate it for the engine (ADR 0016).

Characters, `.`, `[a-z]`, `[^a-z]`, `\d`, `\w`, `\` before a punctuation mark, `( )`, `(?: )`, `|`, `*`, `+`, `?`,
`{n}`, `{n,}` and `{n,m}`. Anything else is refused, since the engine would give it a meaning that isn't documented.
"""

from __future__ import annotations

import re
import string
from dataclasses import dataclass

__all__ = ["MAX_PATTERN_CHARACTERS", "MAX_STATES", "PatternError", "to_rust"]

MAX_PATTERN_CHARACTERS = 256
MAX_STATES = 1000
"""Maximum size of a pattern with its repetitions expanded; it bounds the engine's work for compiling and matching.

A character or class counts 2, a group or alternative 1.
"""
MAX_REPEATS = 128
"""The highest number in `{n,m}`; no serial is longer."""
MAX_DEPTH = 20
"""Maximum nesting of groups."""

CHARACTER_STATES = 2
GROUP_STATES = 1
CLASS_CHARACTERS_PER_STATE = 4
"""Maximum number of non-ASCII characters in a class; each is up to four bytes that the engine distinguishes."""
TOKEN = re.compile(
    r"""(?P<escape>\\.)
      | (?P<class>\[\^?(?:\\.|[^\]\\])*\])
      | (?P<open>\((?:\?:)?(?!\?))
      | (?P<close>\))
      | (?P<branch>\|)
      | (?P<repeat>[*+?]|\{(?P<least>[0-9]{1,3})(?:,(?P<most>[0-9]{1,3})?)?\})
      | (?P<any>\.)
      | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)
CLASS_ITEM = re.compile(r"(\\.|[^\\])(?:-(\\.|[^\\]))?", re.DOTALL)
SETS = {r"\d": "0-9", r"\w": "0-9A-Z_a-z"}
"""Spelled out, because the engine's own classes are Unicode's: hundreds of other digits would match."""
MISUSED = {
    "\\": "the pattern ends with a backslash",
    "[": "missing ] for this [",
    "(": "(?: is the only group that may begin with (?",
    "^": "leave out ^: a pattern always matches the whole serial",
    "$": "leave out $: a pattern always matches the whole serial",
    "{": f"write {{n}}, {{n,}} or {{n,m}}, with numbers from 0 to {MAX_REPEATS} and n no greater than m",
    "]": r"write \] for the character itself",
    "}": r"write \} for the character itself",
}


class PatternError(ValueError):
    """A pattern that can't be used; the message says why and where."""


@dataclass(slots=True)
class _Group:
    """An open group; the pattern itself is the outermost one."""

    opened_at: int
    states: int = GROUP_STATES
    last_states: int = 0
    """States of the item that a repetition would repeat; 0 = there is none."""
    is_repeated: bool = False
    """Whether that item already has a repetition."""

    def add(self, states: int) -> None:
        """Append a character, class or group."""
        self.states += states
        self.last_states, self.is_repeated = states, False


def to_rust(text: str) -> str:
    """Return the pattern in the syntax of the `regex` crate, unanchored, to be compiled with the flag `s`.

    Raises:
        PatternError: the pattern is empty, too long, too large, or contains something unsupported.
    """
    if not text:
        msg = "the pattern is empty; to match every serial, write .*"
        raise PatternError(msg)
    if len(text) > MAX_PATTERN_CHARACTERS:
        msg = f"the pattern has {len(text)} characters; at most {MAX_PATTERN_CHARACTERS} are allowed"
        raise PatternError(msg)
    groups = [_Group(0)]
    written = []
    for token in TOKEN.finditer(text):
        part, at, group = token[0], token.start(), groups[-1]
        match token.lastgroup:
            case "open":
                if len(groups) > MAX_DEPTH:
                    raise _error(f"groups are nested more than {MAX_DEPTH} deep", at)
                groups.append(_Group(at))
                part = "(?:"
            case "close":
                if len(groups) == 1:
                    raise _error("missing ( for this )", at)
                groups.pop()
                groups[-1].add(group.states)
            case "branch":
                group.states += GROUP_STATES
                group.last_states = 0
            case "repeat":
                _repeat(group, token)
            case kind:
                group.add(_states(part))
                part = _character(kind, part, at)
        if groups[-1].states > MAX_STATES:
            msg = f"the pattern needs more than {MAX_STATES} states; use fewer or smaller repetitions"
            raise PatternError(msg)
        written.append(part)
    if len(groups) > 1:
        raise _error("missing ) for this (", groups[-1].opened_at)
    return "".join(written)


def _error(reason: str, at: int) -> PatternError:
    return PatternError(f"{reason} (character {at + 1} of the pattern)")


def _repeat(group: _Group, token: re.Match[str]) -> None:
    """Count the repeated item as often as it may occur."""
    if not group.last_states:
        raise _error(f"nothing to repeat before {token[0][0]!r}", token.start())
    if group.is_repeated:
        raise _error(f"{token[0][0]!r} follows another repetition", token.start())
    group.is_repeated = True
    if token["least"] is None:
        return
    least = int(token["least"])
    most = int(token["most"]) if token["most"] else least
    if not least <= most <= MAX_REPEATS:
        raise _error(MISUSED["{"], token.start())
    group.states += group.last_states * (max(most, 1) - 1)


def _states(part: str) -> int:
    return CHARACTER_STATES + sum(not character.isascii() for character in part) // CLASS_CHARACTERS_PER_STATE


def _character(kind: str | None, part: str, at: int) -> str:
    """Translate an element that matches a single character."""
    if kind == "any":
        return "."
    if kind == "class":
        return _class(part, at)
    if kind == "escape":
        return f"[{_escaped(part, at)}]"
    if part in MISUSED:
        raise _error(MISUSED[part], at)
    return _literal(part)


def _class(part: str, at: int) -> str:
    begin = "[^" if part.startswith("[^") else "["
    if len(part) == len(begin) + 1:
        raise _error("this class is empty", at)
    written = [begin]
    for item in CLASS_ITEM.finditer(part, len(begin), len(part) - 1):
        low, high = item[1], item[2]
        item_at = at + item.start()
        if "[" in {low, high}:
            raise _error(r"write \[ for the character itself", at + item.start(1 if low == "[" else 2))
        if high is None:
            written.append(_escaped(low, item_at))
            continue
        if low in SETS or high in SETS:
            raise _error("a range needs a single character at each end", item_at)
        written.append(f"{_escaped(low, item_at)}-{_escaped(high, at + item.start(2))}")
        if low[-1] > high[-1]:
            raise _error(f"the range {low[-1]}-{high[-1]} is reversed", item_at)
    return "".join([*written, "]"])


def _escaped(part: str, at: int) -> str:
    """Translate an item of a class: a character, or an escape."""
    character = part[-1]
    if len(part) == 1 or character in string.punctuation or character == " ":
        return _literal(character)
    if part in SETS:
        return SETS[part]
    raise _error(rf"{part} is not supported; only \d, \w and \ before a punctuation mark or a space are", at)


def _literal(character: str) -> str:
    # As its code point unless it is a letter or a digit, since `&&`, `--` and `\<` are special to the engine.
    return character if character.isalnum() else rf"\x{{{ord(character):x}}}"
