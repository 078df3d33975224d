"""Generating, hashing and verifying secrets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import bcrypt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fleetkey.access import Secret, hash_secret, new_secret, verify_secret

if TYPE_CHECKING:
    pass

STORED = hash_secret(Secret("right"), 4)


def test_new_secret() -> None:
    """A secret is 256 random bits in 64 hex digits, under bcrypt's 72 bytes; no two are the same."""
    made = {new_secret().reveal() for _ in range(1_000)}
    assert len(made) == 1_000
    assert all(re.fullmatch(r"[0-9a-f]{64}", text) for text in made)


@pytest.mark.parametrize("rounds", [4, 5])
def test_hash_secret(rounds: int) -> None:
    """A hash has the prefix `2a` that other brokers' plugins read, its cost, and its own salt."""
    secret = new_secret()
    stored = hash_secret(secret, rounds)
    assert re.fullmatch(rf"\$2a\$0{rounds}\$[./A-Za-z0-9]{{53}}", stored)
    assert stored != hash_secret(secret, rounds)
    assert verify_secret(secret.reveal().encode(), stored)
    assert secret.reveal() not in stored


@pytest.mark.parametrize(
    ("secret", "password", "expected"),
    [
        pytest.param("right", b"right", True, id="right"),
        pytest.param("right", b"wrong", False, id="wrong"),
        pytest.param("right", b"", False, id="empty"),
        pytest.param("right", b"right\0", False, id="nul_after"),
        pytest.param("right", b"right\0more", False, id="nul_inside"),
        pytest.param("right", b"\xff\xfe", False, id="not_utf8"),
        pytest.param("é", "é".encode("latin-1"), False, id="other_encoding"),
        pytest.param("é", "é".encode(), True, id="utf8"),
        pytest.param("x" * 72, b"x" * 72, True, id="72_bytes"),
        pytest.param("x" * 72, b"x" * 73, False, id="73_bytes"),
        pytest.param("x" * 72, b"x" * 100_000, False, id="far_too_long"),
        pytest.param("x" * 72, b"x" * 71, False, id="cut"),
    ],
)
def test_verify_secret(secret: str, password: bytes, expected: bool) -> None:  # noqa: FBT001 - a table
    """Only the right secret matches; one that can't be hashed doesn't raise and isn't truncated."""
    assert verify_secret(password, hash_secret(Secret(secret), 4)) is expected


@pytest.mark.parametrize("rounds", ["15", "31", "99", "03", "00", "-1", "4", "\u0661\u0661", "x4"])
def test_verify_secret_unaffordable_cost(rounds: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stored cost over 14, or an invalid one, is refused before any hashing."""
    worked: list[bytes] = []
    monkeypatch.setattr(bcrypt, "checkpw", lambda password, _: worked.append(password))
    assert not verify_secret(b"right", f"$2a${rounds}${STORED[7:]}")
    assert worked == []


@pytest.mark.parametrize(
    "stored",
    [
        pytest.param("", id="empty"),
        pytest.param("right", id="clear_text"),
        pytest.param(STORED[:-1], id="cut"),
        pytest.param(STORED + "x", id="longer"),
        pytest.param(STORED[:7] + "*" * 53, id="other_alphabet"),
        pytest.param(STORED[:7] + "\u00e9" * 53, id="not_ascii"),
        pytest.param(STORED[:7] + "\ud800" * 53, id="surrogate"),
        pytest.param(STORED[:7] + "\0" * 53, id="nul"),
        pytest.param("$2x" + STORED[3:], id="other_prefix"),
        pytest.param("$6$" + "a" * 57, id="other_scheme"),
        pytest.param("$2a$04" + "a" * 54, id="no_third_dollar"),
    ],
)
def test_verify_secret_malformed_hash(stored: str) -> None:
    """No password matches an invalid hash."""
    assert verify_secret(b"right", stored) is False


@given(st.binary(max_size=80), st.text(max_size=53))
@example(b"right", STORED[7:])
def test_verify_secret_any_input(password: bytes, rest: str) -> None:
    """No password and no stored text raises; only the right pair matches."""
    stored = STORED[:7] + rest.ljust(53, ".")
    assert verify_secret(password, stored) is (password == b"right" and stored == STORED)


@pytest.mark.parametrize("prefix", ["$2a", "$2b", "$2y"])
def test_verify_secret_other_prefixes(prefix: str) -> None:
    """Hashes with the other prefixes of the same algorithm are accepted, too."""
    assert verify_secret(b"right", prefix + STORED[3:])
