"""A command that could not do what was asked."""

from __future__ import annotations

__all__ = ["CommandError"]


class CommandError(Exception):
    """The message is one sentence that says what to do."""
