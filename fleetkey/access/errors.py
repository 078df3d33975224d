"""What can go wrong in access, beyond a refusal."""

from __future__ import annotations

__all__ = ["AccessError", "OverloadedError", "SharedSecretError", "TemplateError", "UnsafeValueError"]


class AccessError(Exception):
    """Something is wrong with an access decision."""


class OverloadedError(AccessError):
    """Too many secrets wait to be hashed; answer CONNACK 3 or 503 at once."""


class TemplateError(AccessError):
    """A topic pattern in the settings or in a key that can't be used; the message says why."""


class UnsafeValueError(AccessError):
    """A value that must not become part of a topic; the key is refused."""

    def __init__(self, placeholder: str) -> None:
        super().__init__(
            f"the value of {{{placeholder}}} is missing or has a character that means something in a topic"
        )
        self.placeholder = placeholder


class SharedSecretError(AccessError):
    """A secret of the settings that can't be read or used; the message says where it is, never what."""
