"""How commands fail."""

from __future__ import annotations

__all__ = ["CommandError", "InterruptedCommandError", "RefusedError", "UsageError"]


class CommandError(Exception):
    """A command failed. The message is one sentence that says what to do; exit status 1."""


class UsageError(CommandError):
    """The command was used wrongly, whatever the state of the fleet; exit status 2."""


class InterruptedCommandError(CommandError):
    """Ctrl-C ended the command; the message says what it has done until then; exit status 130."""


class RefusedError(CommandError):
    """A server refused a request."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
