"""Identifiers: generating and checking them."""

from __future__ import annotations

import re
import secrets

from fleetkey.registry.errors import InvalidSerialError

__all__ = [
    "MAX_SERIAL_CHARACTERS",
    "is_access_key",
    "is_device",
    "is_device_id",
    "new_access_key",
    "new_device_id",
    "parse_serial",
]

MAX_SERIAL_CHARACTERS = 128
DEVICE_ID_CHARACTERS = 24
_ACCESS_KEY_LIKE = re.compile(r"[0-9a-f]{32}\Z")
_DEVICE_ID_LIKE = re.compile(r"[0-9a-fA-F]{24}\Z")


def new_device_id() -> str:
    """Return 24 random lower-case hex digits, which are not special in any broker's topics."""
    return secrets.token_hex(12)


def new_access_key() -> str:
    """Return 32 random lower-case hex digits, the public half of a credential."""
    return secrets.token_hex(16)


def is_access_key(text: str) -> bool:
    """Whether a user name looks like an access key: 32 lower-case hex digits."""
    return _ACCESS_KEY_LIKE.match(text) is not None


def is_device_id(text: str) -> bool:
    """Whether a client id looks like a device id (Losant: 24 hex digits, either case)."""
    return _DEVICE_ID_LIKE.match(text) is not None


def is_device(owner: str) -> bool:
    """Whether an owner is a device and not an application key; only for our own ids and keys, never for claims."""
    return len(owner) == DEVICE_ID_CHARACTERS


def parse_serial(text: str) -> str:
    """Return `text` if it is a valid serial: 1 to 128 printable characters, no whitespace at either end.

    Raises:
        InvalidSerialError: says what is wrong, without repeating the serial.
    """
    if not text:
        msg = "the serial is empty"
        raise InvalidSerialError(msg)
    if len(text) > MAX_SERIAL_CHARACTERS:
        msg = f"the serial has {len(text)} characters; at most {MAX_SERIAL_CHARACTERS} are allowed"
        raise InvalidSerialError(msg)
    if not text.isprintable():
        msg = "the serial contains a character that is not printable"
        raise InvalidSerialError(msg)
    if text[0].isspace() or text[-1].isspace():
        msg = "the serial begins or ends with whitespace"
        raise InvalidSerialError(msg)
    return text
