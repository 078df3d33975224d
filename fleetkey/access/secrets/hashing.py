"""Generates, hashes and verifies access secrets."""

from __future__ import annotations

import secrets

import bcrypt

from fleetkey.access.secrets.secret import Secret

__all__ = [
    "MAX_ROUNDS",
    "MAX_SECRET_BYTES",
    "hash_secret",
    "is_hash_affordable",
    "is_secret_shape",
    "new_secret",
    "verify_secret",
]

MAX_SECRET_BYTES = 72
"""bcrypt ignores anything beyond; a longer password is refused, never truncated."""
MAX_ROUNDS = 14
"""The highest cost of a stored hash that is checked; above it, one login would occupy a thread for seconds."""
MIN_ROUNDS = 4
HASH_CHARACTERS = 60


def new_secret() -> Secret:
    """Return 256 random bits as 64 hex digits."""
    return Secret(secrets.token_hex(32))


def hash_secret(secret: Secret, rounds: int) -> str:
    """Return the bcrypt hash, with the prefix `2a` that other brokers' plugins can read as well.

    Takes 2**rounds units of work, about 1 ms at 4. Blocks, but releases the GIL.
    """
    return bcrypt.hashpw(secret.reveal().encode(), bcrypt.gensalt(rounds, prefix=b"2a")).decode()


def is_secret_shape(password: bytes) -> bool:
    """Return whether a password could be a secret at all: 1 to 72 bytes of UTF-8 without NUL."""
    if not 0 < len(password) <= MAX_SECRET_BYTES or 0 in password:
        return False
    try:
        password.decode()
    except UnicodeDecodeError:
        return False
    return True


def verify_secret(password: bytes, stored: str) -> bool:
    """Return whether a password matches a stored hash; False if the hash is invalid or costs more than `MAX_ROUNDS`."""
    if not is_secret_shape(password) or not is_hash_affordable(stored):
        return False
    try:
        return bcrypt.checkpw(password, stored.encode())
    except ValueError:
        return False


def is_hash_affordable(stored: str) -> bool:
    """Return whether a stored hash is from bcrypt and costs at most `MAX_ROUNDS`; only looks at `$2a$04$…`."""
    rounds = stored[4:6]
    return (
        len(stored) == HASH_CHARACTERS
        and stored[:4] in {"$2a$", "$2b$", "$2y$"}
        and rounds.isascii()
        and rounds.isdigit()
        and MIN_ROUNDS <= int(rounds) <= MAX_ROUNDS
    )
