"""What others need from the allow-list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from fleetkey.registry.model import ListedSerial, SerialConflict, SerialsAdded

__all__ = ["SerialLookup", "Serials"]


class SerialLookup(Protocol):
    """What a listed serial's device gets."""

    def find_serial(self, serial: str) -> ListedSerial | None:
        """Return a listed serial with what its device gets; None if it isn't listed."""
        ...


class Serials(SerialLookup, Protocol):
    """The allow-list."""

    def add_serials(
        self,
        serials: Iterable[str | ListedSerial | tuple[int, str | ListedSerial]],
        *,
        actor: str,
        on_progress: Callable[[int], None] | None = None,
        check: Callable[[Sequence[SerialConflict]], None] | None = None,
    ) -> SerialsAdded:
        """Add serials, all or none, in bounded memory.

        What an entry says of a serial that is listed already replaces what was said; a bare serial changes nothing.

        Args:
            serials: the entries; all of them may have numbers that grow, such as lines, otherwise they count from 1.
            actor: who adds them.
            on_progress: is told how many were read so far.
            check: is called once, when all are read and none is added, with the first conflicts if there are any;
                what it raises goes through, and none is added. Without it, a conflict is an error.

        Raises:
            InvalidSerialError: one of them can't be a serial; none was added.
            ConflictingSerialError: two of them say different things of one serial; none was added.
        """
        ...

    def has_serial(self, serial: str) -> bool:
        """Whether the serial may register."""
        ...

    def list_serials(self, *, after: str = "", limit: int = 100) -> list[ListedSerial]:
        """Return up to `limit` serials after `after`, in order."""
        ...

    def iter_serials(self) -> Iterator[str]:
        """Yield the serials in order, in bounded memory."""
        ...

    def remove_serial(self, serial: str, *, actor: str) -> None:
        """Take a serial off the list; a device that registered with it stays. Raises `NotFoundError`."""
        ...

    def count_serials(self) -> int:
        """Return how many serials are listed."""
        ...
