"""The remaining length: one way to spell each, and nothing but `MalformedPacketError` for the others."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetkey.broker.codec import MalformedPacketError
from fleetkey.broker.codec.frame import ONE_BYTE_LENGTH, encode_length, is_two_byte_length, read_length

LONGEST = 268_435_455
LENGTHS = st.integers(0, LONGEST)
LONG_LENGTHS = st.integers(ONE_BYTE_LENGTH + 1, LONGEST)
FIRST = b"\x30"


@pytest.mark.parametrize(
    ("length", "encoded"),
    [
        # The limits of each size (MQTT 3.1.1, table 2.4).
        (0, "00"),
        (127, "7f"),
        (128, "8001"),
        (16_383, "ff7f"),
        (16_384, "808001"),
        (2_097_151, "ffff7f"),
        (2_097_152, "80808001"),
        (268_435_455, "ffffff7f"),
    ],
)
def test_encode_length(length: int, encoded: str) -> None:
    """As the standard's table has it, and read back the same."""
    assert encode_length(length) == bytes.fromhex(encoded)
    if length > ONE_BYTE_LENGTH:
        assert read_length(FIRST + bytes.fromhex(encoded), 0) == (length, 1 + len(encoded) // 2)


@given(LONG_LENGTHS, st.binary(max_size=5), st.binary(max_size=5))
def test_read_length_of_encoded(length: int, before: bytes, after: bytes) -> None:
    """What was written is read, wherever in the data it is."""
    head = before + FIRST + encode_length(length)
    assert read_length(head + after, len(before)) == (length, len(head))


@given(LONG_LENGTHS)
def test_read_length_incomplete(length: int) -> None:
    """While a byte is missing, more are needed."""
    head = FIRST + encode_length(length)
    for size in range(1, len(head)):
        assert read_length(head[:size], 0) == (0, -1)


@pytest.mark.parametrize(
    "encoded",
    [
        pytest.param("80808080", id="no_end"),
        pytest.param("8080808001", id="five_bytes"),
        pytest.param("8000", id="two_bytes_for_0"),
        pytest.param("ff00", id="two_bytes_for_127"),
        pytest.param("80808000", id="four_bytes_for_0"),
    ],
)
def test_read_length_malformed(encoded: str) -> None:
    """Too many bytes, or more than it needs."""
    with pytest.raises(MalformedPacketError):
        read_length(FIRST + bytes.fromhex(encoded), 0)


@given(st.binary(max_size=8), st.integers(0, 9))
def test_read_length_anything(data: bytes, position: int) -> None:
    """Any bytes are a length, need more, or are malformed; a length is spelt as it would be written."""
    try:
        length, start = read_length(data, position)
    except MalformedPacketError:
        return
    if start >= 0:
        assert data[position + 1 : start] == encode_length(length)


@given(LENGTHS, LENGTHS)
def test_is_two_byte_length(length: int, other: int) -> None:
    """Of two bytes, and this one."""
    data = FIRST + encode_length(length) + b"\0\0"
    assert is_two_byte_length(data, length) == (127 < length <= 16_383)
    if other != length:
        assert not is_two_byte_length(data, other)
