"""Which ClientHellos cost too much to answer."""

from __future__ import annotations

import ssl
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetkey.tls.client_hello import check_key_shares
from fleetkey.tls.records import NotTlsError, TlsBoundError

X25519 = 0x001D
KEY_SHARE = b"\x00\x33\x00\x26\x00\x24" + X25519.to_bytes(2)
"""How the extension begins in OpenSSL's ClientHello: its type, three lengths, and the group."""


def _hello() -> bytes:
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    with suppress(ssl.SSLWantReadError):
        context.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    return outgoing.read()


HELLO = _hello()


def _with_group(group: int) -> bytes:
    assert HELLO.count(KEY_SHARE) == 1
    return HELLO.replace(KEY_SHARE, KEY_SHARE[:-2] + group.to_bytes(2))


def _split(hello: bytes, size: int) -> bytes:
    message = hello[5:]
    parts = [message[at : at + size] for at in range(0, len(message), size)]
    return b"".join(b"\x16\x03\x01" + len(part).to_bytes(2) + part for part in parts)


@pytest.mark.parametrize("group", [X25519, 0x0017, 0x0018, 0x001E, 0x11EC, 0x0A0A])
def test_cheap_group(group: int) -> None:
    """Elliptic curves, what is combined with them, and unknown groups are OpenSSL's to take or not."""
    check_key_shares(_with_group(group), len(HELLO))


@pytest.mark.parametrize("group", [0x0100, 0x0101, 0x0102, 0x0103, 0x0104, 0x01FC])
@pytest.mark.parametrize("size", [1000, 50])
def test_finite_field(group: int, size: int) -> None:
    """A key share in a finite field is refused, in however many records it comes."""
    hello = _split(_with_group(group), size)
    with pytest.raises(TlsBoundError, match="tls_key_share"):
        check_key_shares(hello, len(hello))


def test_without_extensions() -> None:
    """A ClientHello may end after its compression methods (RFC 5246, 7.4.1.2)."""
    body = b"\x03\x03" + bytes(32) + b"\x00" + b"\x00\x02\xc0\x2b" + b"\x01\x00"
    message = b"\x01" + len(body).to_bytes(3) + body
    record = b"\x16\x03\x01" + len(message).to_bytes(2) + message
    check_key_shares(record, len(record))


@given(at=st.integers(5, len(HELLO) - 1), byte=st.integers(0, 255))
def test_mutated(at: int, byte: int) -> None:
    """Whatever is in it, the answer is one of three."""
    mutated = bytearray(HELLO)
    mutated[at] = byte
    with suppress(NotTlsError):
        check_key_shares(mutated, len(mutated))


def test_malformed() -> None:
    """A length that extends past the end is refused."""
    mutated = bytearray(HELLO)
    mutated[5 + 4 + 2 + 32] = 255
    with pytest.raises(NotTlsError, match="malformed"):
        check_key_shares(mutated, len(mutated))
