"""Patterns for serials: they mean what `re` means by them, and take linear time whatever they are."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetkey.config import PatternError, SerialPattern

ALPHABET = "abc01-.+&~<é٣ \n"
CHARACTERS = ["a", "b", "c", "0", "é", "&", "<", " ", r"\-", r"\.", r"\<", r"\ ", ".", r"\d", r"\w"]
CLASSES = ["[abc]", "[^a-b]", "[0-9a]", r"[\d.]", r"[^\w]", "[^é]", "[à-ü]", "[-a]", "[a-]", r"[\]\\]"]
SET_OPERATIONS = ["[a&&b]", "[+--0]", "[a~~b]"]
"""Of the engine's own syntax; to everyone else they are classes like others."""
ATOMS = st.sampled_from([*CHARACTERS, *CLASSES, *SET_OPERATIONS])
MAX_GROWN_BYTES = 16 * 1024 * 1024


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


def _python(pattern: str) -> re.Pattern[str]:
    with warnings.catch_warnings():
        # `re` announces that `&&` may mean more one day.
        warnings.simplefilter("ignore", FutureWarning)
        return re.compile(pattern, re.ASCII | re.DOTALL)


@given(pattern=PATTERNS, serial=st.text(ALPHABET, max_size=10))
def test_matches_as_re_does(pattern: str, serial: str) -> None:
    """A pattern that is accepted means what everyone knows it to mean, for the whole serial."""
    try:
        compiled = SerialPattern(pattern)
    except PatternError:
        # Too many states, which only repetitions of repetitions can be.
        assert "{" in pattern
        return
    assert compiled.matches(serial) == (_python(pattern).fullmatch(serial) is not None)


@given(st.text("ab|()[]{}*+?^$.\\,-019&é\ud800", max_size=20))
def test_anything_is_accepted_or_refused(text: str) -> None:
    """Whatever is written, it is a pattern or a `PatternError`; what is accepted, `re` accepts as well."""
    try:
        SerialPattern(text)
    except PatternError:
        return
    _python(text)


@pytest.mark.parametrize(
    ("pattern", "serial"),
    [
        pytest.param("a|b", "ax", id="alternative_anchored_at_begin"),
        pytest.param("a|b", "xb", id="alternative_anchored_at_end"),
        pytest.param("a", "a\n", id="line_end"),
        pytest.param(r"\d{3}", "٣٣٣", id="digits_beyond_ascii"),
        pytest.param(r"[\d]{3}", "٣٣٣", id="digits_beyond_ascii_in_a_class"),
        pytest.param(r"\w+", "é", id="letters_beyond_ascii"),
        pytest.param("sn", "SN", id="other_case"),
        pytest.param("[a&&b]", "c", id="no_set_operation"),
        pytest.param(r"\<a", "a", id="no_word_boundary"),
        pytest.param("a b # c", "ab", id="no_comment"),
    ],
)
def test_matches_nothing_more(pattern: str, serial: str) -> None:
    """What the engine could match by rules of its own isn't matched."""
    assert not SerialPattern(pattern).matches(serial)


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        pytest.param("", "is empty", id="empty"),
        pytest.param("a" * 257, "257 characters", id="too_long"),
        pytest.param("^a", r"leave out \^.*character 1 ", id="anchor_at_begin"),
        pytest.param("a$", r"leave out \$.*character 2 ", id="anchor_at_end"),
        pytest.param("*a", "nothing to repeat before.*character 1 ", id="nothing_to_repeat"),
        pytest.param("(a|+)", "nothing to repeat before.*character 4 ", id="nothing_to_repeat_in_an_alternative"),
        pytest.param("a**", "follows another repetition.*character 3 ", id="repeated_twice"),
        pytest.param("a*?", "follows another repetition.*character 3 ", id="lazy"),
        pytest.param("a{2}{3}", "follows another repetition.*character 5 ", id="counted_twice"),
        pytest.param("a(b", r"missing \) for this \(.*character 2 ", id="open_group"),
        pytest.param("a)", r"missing \( for this \).*character 2 ", id="closed_group"),
        pytest.param("a)|(b", r"missing \( for this \).*character 2 ", id="groups_swapped"),
        pytest.param("[ab", r"missing \] for this.*character 1 ", id="open_class"),
        pytest.param("[]", "is empty.*character 1 ", id="empty_class"),
        pytest.param("[^]", "is empty.*character 1 ", id="empty_negated_class"),
        pytest.param("[z-a]", "reversed.*character 2 ", id="reversed_range"),
        pytest.param(r"[\d-z]", "single character at each end", id="range_of_a_class"),
        pytest.param("[[:alpha:]]", r"write \\\[.*character 2 ", id="named_class"),
        pytest.param(r"(a)\1", r"\\1 is not supported.*character 4 ", id="back_reference"),
        pytest.param(r"\bword", r"\\b is not supported.*character 1 ", id="word_boundary"),
        pytest.param(r"\pL", r"\\p is not supported.*character 1 ", id="unicode_class"),
        pytest.param(r"[\D]", r"\\D is not supported.*character 2 ", id="negated_set"),
        pytest.param("(?=a)", r"\(\?: is the only group.*character 1 ", id="look_ahead"),
        pytest.param("(?i)a", r"\(\?: is the only group.*character 1 ", id="flags"),
        pytest.param("(?P<a>b)", r"\(\?: is the only group.*character 1 ", id="named_group"),
        pytest.param("a{3,1}", "no greater than m", id="counts_swapped"),
        pytest.param("a{129}", "from 0 to 128", id="count_too_high"),
        pytest.param("a{", "from 0 to 128", id="open_count"),
        pytest.param("((a{100}){100}){100}", "states", id="too_many_states"),
        pytest.param("(((|){128}){128}){128}", "states", id="too_many_states_without_a_character"),
        pytest.param("[" + "".join(map(chr, range(0x4E00, 0x5180, 8))) + "]{128}", "states", id="too_large_a_class"),
        pytest.param("(" * 21 + "a" + ")" * 21, "nested", id="too_deep"),
        pytest.param("a\\", "ends with a backslash", id="ends_with_a_backslash"),
        pytest.param("a\ud800", "can't be compiled", id="half_a_surrogate_pair"),
    ],
)
def test_pattern_refused(pattern: str, reason: str) -> None:
    """What isn't in the language is refused, with the reason and the place."""
    with pytest.raises(PatternError, match=reason):
        SerialPattern(pattern)


@pytest.mark.parametrize(
    "pattern",
    ["(a|a)*b", "(a*)*b", "(a|aa)*b", ".*.*.*.*.*b", "(a?){64}a{64}b", "((a|.)*(.|a)*)*b", "((.?){16}){20}b"],
)
def test_matches_hostile_patterns(pattern: str) -> None:
    """Patterns on which an engine that backtracks would outlive the test's time limit are decided at once."""
    assert not SerialPattern(pattern).matches("a" * 128)


def test_matches_in_bounded_memory() -> None:
    """Serials from strangers can't make a pattern grow without end."""
    compiled = SerialPattern("(.*a){8}(b?){50}.*")
    before = _resident_bytes()
    for number in range(20_000):
        compiled.matches(f"aaaaaaaa{chr(0x4E00 + number)}{number}")
    assert _resident_bytes() - before < MAX_GROWN_BYTES


def _resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
