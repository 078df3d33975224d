"""A command that could not do what was asked."""

from __future__ import annotations

__all__ = ["CommandError", "UsageError"]


class CommandError(Exception):
    """The message is one sentence that says what to do; exit status 1."""


class UsageError(CommandError):
    """What was asked for can't be, whatever the fleet is like; exit status 2."""
