"""What can go wrong in `access`, apart from a refusal."""

from __future__ import annotations

__all__ = ["AccessError", "OverloadedError", "SharedSecretError", "TemplateError", "UnsafeValueError"]


class AccessError(Exception):
    """Base class of the errors of this part."""


class OverloadedError(AccessError):
    """Too much work is waiting; answer CONNACK 3 or 503 at once."""


class TemplateError(AccessError):
    """A topic pattern, from the settings or a key, can't be used; the message says why."""


class UnsafeValueError(AccessError):
    """A value must not become part of a topic, so the key is refused."""

    def __init__(self, placeholder: str) -> None:
        super().__init__(f"the value of {{{placeholder}}} is missing or contains a character that is special in topics")
        self.placeholder = placeholder


class SharedSecretError(AccessError):
    """A secret from the settings can't be read or used; the message says where it is, never what it is."""
