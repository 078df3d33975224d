"""Finding the ends of records and of a ClientHello."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetkey.tls.records import (
    MAX_HELLO_BYTES,
    MAX_RECORD_BYTES,
    NotTlsError,
    TlsBoundError,
    hello_end,
    is_hello_retry,
    record_end,
    records_end,
)

CHANGE_CIPHER_SPEC = b"\x14\x03\x03\x00\x01\x01"


def _record(content: bytes, kind: int = 22) -> bytes:
    return bytes([kind, 3, 3]) + len(content).to_bytes(2) + content


def _hello(length: int, announced: int | None = None) -> bytes:
    return b"\x01" + (length if announced is None else announced).to_bytes(3) + bytes(length)


def _split(message: bytes, size: int) -> bytes:
    return b"".join(_record(message[at : at + size]) for at in range(0, len(message), size))


def test_record_end() -> None:
    """A record ends where it says, if all of it is there."""
    data = _record(b"abc") + _record(b"")
    assert record_end(data, 0, len(data)) == 8
    assert record_end(data, 8, len(data)) == 13
    assert record_end(data, 0, 7) == 0
    assert record_end(data, 8, 12) == 0
    assert record_end(b"", 0, 0) == 0


@pytest.mark.parametrize("data", [b"GET / HTTP", b"\x16\x02\x00\x00\x01\x00", _record(bytes(MAX_RECORD_BYTES - 4))])
def test_not_a_record(data: bytes) -> None:
    """What no record begins with, or one that is too long, is refused from its header on."""
    with pytest.raises(NotTlsError):
        record_end(data[:6], 0, 6)
    with pytest.raises(NotTlsError):
        records_end(data[:6], 10, 1000)


def test_records_end() -> None:
    """No more than the most, and none that begins behind the most bytes."""
    data = _record(b"abc") * 10
    assert records_end(data, 100, 1000) == (80, 10)
    assert records_end(data[:-1], 100, 1000) == (72, 9)
    assert records_end(data, 3, 1000) == (24, 3)
    assert records_end(data, 100, 9) == (16, 2)
    assert records_end(b"", 100, 9) == (0, 0)
    assert records_end(data + b"GET / HTTP", 100, 1000) == (80, 10)


@given(length=st.integers(0, 2000), size=st.integers(100, 3000), cut=st.integers(1, 2000), ccs=st.booleans())
def test_hello_end(length: int, size: int, cut: int, *, ccs: bool) -> None:
    """A ClientHello ends with the record that completes it, however it is split, and what follows doesn't matter."""
    data = (CHANGE_CIPHER_SPEC if ccs else b"") + _split(_hello(length), size)
    assert hello_end(data) == len(data)
    assert hello_end(data + b"\x17\x03\x03whatever") == len(data)
    assert hello_end(data[: -min(cut, len(data))]) == 0


@pytest.mark.parametrize(
    "data",
    [
        _record(_hello(MAX_HELLO_BYTES)),
        _record(_hello(10, announced=MAX_HELLO_BYTES)),
        _split(_hello(10, announced=1 << 23)[:4], 1),
        _record(b"\x01") * 40,
        CHANGE_CIPHER_SPEC * 40,
        _record(b"") * 40,
    ],
    ids=["long", "announced", "announced_in_pieces", "pieces", "nothing_but_changes", "nothing"],
)
def test_hello_too_long(data: bytes) -> None:
    """One that is too long, says so, or has too many pieces is refused as soon as that can be told."""
    with pytest.raises(TlsBoundError):
        hello_end(data)


@pytest.mark.parametrize("data", [b"\x10\x0c\x00\x04MQTT", b"GET / HTTP/1.1", _record(b"\x02"), _record(b"x", kind=23)])
def test_not_a_hello(data: bytes) -> None:
    """Another protocol, another message and data are refused."""
    with pytest.raises(NotTlsError):
        hello_end(data)


def test_real_hello() -> None:
    """OpenSSL's own ClientHello is one."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        ssl.create_default_context().wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    data = outgoing.read()
    assert hello_end(data) == len(data)
    assert not is_hello_retry(data)
