"""The protocols for the allow-list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from fleetkey.registry.model import ListedSerial, Scan, SerialConflict, SerialsAdded

__all__ = ["SerialLookup", "Serials"]


class SerialLookup(Protocol):
    """Looking up listed serials."""

    def find_serial(self, serial: str) -> ListedSerial | None:
        """Return a listed serial with what its device gets; None if it is not listed."""
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

        An entry with details replaces those of an already listed serial; an entry without details changes nothing.

        Args:
            serials: the entries; all may have increasing numbers, such as lines, otherwise they are numbered from 1.
            actor: who adds them.
            on_progress: called with how many have been read.
            check: called once, after all are read and before any is added, with the first conflicts; if it raises,
                none is added. Without it, a conflict is an error.

        Raises:
            InvalidSerialError: one of them is invalid; none was added.
            ConflictingSerialError: two of them contradict each other about a serial; none was added.
        """
        ...

    def has_serial(self, serial: str) -> bool:
        """Whether the serial may register."""
        ...

    def list_serials(self, *, after: str = "", limit: int = 100) -> list[ListedSerial]:
        """Return up to `limit` serials after `after`, in order."""
        ...

    def scan_serials(
        self,
        *,
        after: str = "",
        limit: int = 100,
        max_scanned: int,
        used: bool | None = None,
        matches: Callable[[str], bool] | None = None,
        max_seconds: float | None = None,
    ) -> Scan[ListedSerial]:
        """Look at up to `max_scanned` serials after `after` and return up to `limit` that match, in order.

        Args:
            after: the serial after which the search begins.
            limit: how many to return at most.
            max_scanned: how many to look at.
            used: only serials that a device has registered with (True), or that none has (False).
            matches: called with each serial.
            max_seconds: when to stop earlier; at least one is examined.
        """
        ...

    def iter_serials(self) -> Iterator[str]:
        """Yield the serials in order, in bounded memory."""
        ...

    def remove_serial(self, serial: str, *, actor: str) -> None:
        """Remove a serial from the list; a device that registered with it stays. Raises `NotFoundError`."""
        ...

    def count_serials(self) -> int:
        """Return how many serials are listed."""
        ...
