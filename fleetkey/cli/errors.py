"""A command that could not do what was asked."""

from __future__ import annotations

__all__ = ["CommandError", "RefusedError", "UsageError"]


class CommandError(Exception):
    """The message is one sentence that says what to do; exit status 1."""


class UsageError(CommandError):
    """What was asked for can't be, whatever the fleet is like; exit status 2."""


class RefusedError(CommandError):
    """A server refused a request."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
