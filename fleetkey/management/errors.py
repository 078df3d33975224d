"""Why an operator's request is refused. Each message is one sentence for the operator."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["ConflictError", "InvalidRequestError", "ManagementError", "SerialFileError"]


class ManagementError(Exception):
    """Nothing was changed; the message says what is wrong and what to do."""


class InvalidRequestError(ManagementError):
    """A value is invalid (over HTTP: 400).

    Args:
        field: the name of the value, as in the request's dataclass; dotted if nested.
        reason: what is wrong with it.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(reason)
        self.field = field


class ConflictError(ManagementError):
    """The request conflicts with the current state of something (over HTTP: 409)."""


class SerialFileError(ManagementError):
    """Some lines of an import are invalid; nothing was imported."""

    def __init__(self, errors: Sequence[tuple[int, str]], *, has_more: bool) -> None:
        said = "; ".join(f"line {line}: {reason}" for line, reason in errors)
        super().__init__(f"{said}{'; and there are more' if has_more else ''}; nothing was imported")
        self.errors = tuple(errors)
        """The invalid lines, by number from 1, with what is wrong with each."""
        self.has_more = has_more
