"""What an operator asked for and can't have. The messages are for the operator, one sentence each."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ConflictError", "InvalidRequestError", "ManagementError", "SerialFileError"]


class ManagementError(Exception):
    """Nothing was changed; the message says what is wrong and what to do."""


class InvalidRequestError(ManagementError):
    """A value that can't be one (an HTTP face answers 400).

    Args:
        field: the name of the value, as in the request's dataclass; dotted inside one.
        reason: what is wrong with it.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field


class ConflictError(ManagementError):
    """What is asked for doesn't fit the state that something is in (an HTTP face answers 409)."""


class SerialFileError(ManagementError):
    """Lines of an import that can't be taken; nothing was imported."""

    def __init__(self, errors: Sequence[tuple[int, str]], *, has_more: bool) -> None:
        said = "; ".join(f"line {line}: {reason}" for line, reason in errors)
        super().__init__(f"{said}{'; and there are more' if has_more else ''}; nothing was imported")
        self.errors = tuple(errors)
        """Line numbers, counted from 1, with what is wrong there."""
        self.has_more = has_more
