"""A text that must never be shown by accident."""

from __future__ import annotations

__all__ = ["Secret"]


class Secret:
    """Wraps a secret so that `repr`, `str`, format and logs show `***`; only `reveal` returns it."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the secret itself, for the one place that sends or checks it."""
        return self._value

    def __repr__(self) -> str:
        """Return the same text for every secret."""
        return "Secret('***')"

    def __str__(self) -> str:
        """Return the same text for every secret."""
        return "***"

    def __reduce__(self) -> str | tuple[object, ...]:
        """Refuse to be pickled or copied, which would expose it."""
        msg = "a secret can't be pickled"
        raise TypeError(msg)
