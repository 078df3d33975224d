"""What clients with TLS 1.2 may choose from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.operations import load_pair
from tests.support.certificates import make_certificate

if TYPE_CHECKING:
    from pathlib import Path


def test_ciphers(tmp_path: Path) -> None:
    """They authenticate what they encrypt, and every key is exchanged on an elliptic curve."""
    made = make_certificate(tmp_path)
    ciphers = load_pair(made.certificate, made.key).get_ciphers()
    assert all(cipher["aead"] for cipher in ciphers)
    assert {cipher["kea"] for cipher in ciphers} <= {"kx-any", "kx-ecdhe"}
    assert {cipher["protocol"] for cipher in ciphers} == {"TLSv1.2", "TLSv1.3"}
