"""Patterns for serials: they mean what `re` means by them, and take linear time whatever they are."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetkey.config import PatternError, SerialPattern
from fleetkey.config.serial_pattern import MAX_REMEMBERED_STATES

ALPHABET = "abc01-."
ATOMS = st.sampled_from(["a", "b", "c", "0", r"\-", r"\.", ".", "[abc]", "[^a-b]", "[0-9a]", r"\d", r"\w", r"[\d.]"])


def _repeated(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    counts = st.sampled_from(["*", "+", "?", "{0}", "{2}", "{1,}", "{0,2}", "{1,3}"])
    groups = inner.map("({})".format) | inner.map("(?:{})".format)
    return st.tuples(groups | ATOMS, counts).map("".join)


PATTERNS = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner, min_size=1, max_size=4).map("".join)
        | st.lists(inner, min_size=2, max_size=3).map(lambda parts: f"({'|'.join(parts)})")
        | _repeated(inner)
    ),
    max_leaves=8,
)


@given(pattern=PATTERNS, serial=st.text(ALPHABET, max_size=10))
def test_matches_as_re_does(pattern: str, serial: str) -> None:
    """A pattern that is taken means what everyone knows it to mean, for the whole serial."""
    try:
        compiled = SerialPattern(pattern)
    except PatternError:
        # Too many states, which only repetitions of repetitions can be.
        assert "{" in pattern
        return
    assert compiled.matches(serial) == (re.fullmatch(pattern, serial) is not None)


@given(st.text("ab|()[]{}*+?^$.\\,-019", max_size=20))
def test_anything_is_taken_or_refused(text: str) -> None:
    """Whatever is written, it is a pattern or a `PatternError`; what is taken, `re` takes as well."""
    try:
        SerialPattern(text)
    except PatternError:
        return
    re.compile(text)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        pytest.param("", "is empty", id="empty"),
        pytest.param("a" * 257, "257 characters", id="too_long"),
        pytest.param("^a", r"leave \^ out.*character 1 ", id="anchor_at_begin"),
        pytest.param("a$", r"leave \$ out.*character 2 ", id="anchor_at_end"),
        pytest.param("*a", "nothing stands before.*character 1 ", id="nothing_to_repeat"),
        pytest.param("a**", "behind another repetition.*character 3 ", id="repeated_twice"),
        pytest.param("a*?", "behind another repetition.*character 3 ", id="lazy"),
        pytest.param("a(b", r"no \) for this \(.*character 2 ", id="open_group"),
        pytest.param("a)", r"no \( for this \).*character 2 ", id="closed_group"),
        pytest.param("[ab", r"no \] for this.*character 1 ", id="open_class"),
        pytest.param("[]", "is empty.*character 1 ", id="empty_class"),
        pytest.param("[z-a]", "wrong way round.*character 2 ", id="backward_range"),
        pytest.param(r"[\d-z]", "from one character to another", id="range_of_a_class"),
        pytest.param(r"(a)\1", r"\\1 is not known.*character 4 ", id="back_reference"),
        pytest.param(r"\bword", r"\\b is not known.*character 1 ", id="word_boundary"),
        pytest.param("(?=a)", r"only \(\?: is known.*character 1 ", id="look_ahead"),
        pytest.param("(?i)a", r"only \(\?: is known.*character 1 ", id="flags"),
        pytest.param("a{3,1}", "no greater than m", id="counts_swapped"),
        pytest.param("a{129}", "from 0 to 128", id="count_too_high"),
        pytest.param("a{", "from 0 to 128", id="open_count"),
        pytest.param("((a{100}){100}){100}", "states", id="too_many_states"),
        pytest.param("(" * 21 + "a" + ")" * 21, "brackets within", id="too_deep"),
        pytest.param("a\\", "ends too early", id="ends_in_backslash"),
    ],
)
def test_pattern_refused(pattern: str, reason: str) -> None:
    """What isn't in the language is refused, with the reason and the place."""
    with pytest.raises(PatternError, match=reason):
        SerialPattern(pattern)


@pytest.mark.parametrize(
    "pattern", ["(a|a)*b", "(a*)*b", "(a|aa)*b", ".*.*.*.*.*b", "(a?){64}a{64}b", "((a|.)*(.|a)*)*b"]
)
def test_matches_hostile_patterns_in_time(pattern: str) -> None:
    """Patterns that keep `re` busy for ages are decided at once."""
    compiled = SerialPattern(pattern)
    began = time.perf_counter()
    assert not compiled.matches("a" * 128)
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize("pattern", [".*", "(.*a){8}(b?){50}.*"])
def test_matches_remembers_a_bounded_amount(pattern: str) -> None:
    """Serials from strangers can't make a pattern grow."""
    compiled = SerialPattern(pattern)
    for number in range(12_000):
        compiled.matches(f"aaaaaaaa{chr(0x4E00 + number)}")
        assert sum(len(states) for states in compiled._moves.values()) <= MAX_REMEMBERED_STATES
