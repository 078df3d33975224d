"""Protocols are told by their first bytes."""

from __future__ import annotations

import pytest

from fleetkey.tls import Spoken, spoken


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (b"\x16\x03\x01\x02\x00\x01", Spoken.TLS),
        (b"\x16\x03", Spoken.TLS),
        (b"\x10\x10\x00\x04MQTT\x04", Spoken.MQTT),
        (b"GET / HTTP/1.1\r\n", Spoken.HTTP),
        (b"GE", Spoken.HTTP),
        (b"POST /register", Spoken.HTTP),
        (b"PRI * HTTP/2.0", Spoken.HTTP),
        (b"", None),
        (b"G", None),
        (b"GETX", None),
        (b"\x16\x02", None),
        (b"SSH-2.0", None),
        (b"\x00" * 10, None),
    ],
)
def test_spoken(first: bytes, expected: Spoken | None) -> None:
    """A few bytes are enough; what isn't known is nothing."""
    assert spoken(first) is expected
    assert spoken(bytearray(first)) is expected
