"""Identifiers, and which text may be a serial."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetkey.registry import InvalidSerialError, is_device_id, new_access_key, new_device_id, parse_serial


def test_new_ids() -> None:
    """Ids and keys are lower-case hex of their length, and no two are the same."""
    ids, keys = {new_device_id() for _ in range(1_000)}, {new_access_key() for _ in range(1_000)}
    assert len(ids) == len(keys) == 1_000
    assert all(re.fullmatch(r"[0-9a-f]{24}", device_id) and is_device_id(device_id) for device_id in ids)
    assert all(re.fullmatch(r"[0-9a-f]{32}", key) and not is_device_id(key) for key in keys)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0123456789abcdef01234567", True),
        ("0123456789ABCDEF01234567", True),
        ("0123456789abcdef0123456", False),
        ("0123456789abcdef012345678", False),
        ("0123456789abcdef0123456g", False),
        ("0123456789abcdef01234567\n", False),
        ("\uff10123456789abcdef01234567", False),
        ("", False),
    ],
)
def test_is_device_id(text: str, expected: bool) -> None:  # noqa: FBT001 - a table
    """24 hex digits in either case look like a device id; nothing else does."""
    assert is_device_id(text) is expected


@given(st.text(max_size=140))
def test_parse_serial_any_text(text: str) -> None:
    """A text comes back as it is or is refused, by the rule: 1 to 128 printable, no white space at the ends."""
    expected = 1 <= len(text) <= 128 and text.isprintable() and text == text.strip()
    try:
        assert parse_serial(text) == text
    except InvalidSerialError:
        assert not expected
    else:
        assert expected
