"""What waits to be written: at most one note for each row, however often that changes meanwhile."""

from __future__ import annotations

from enum import Enum, auto
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Hashable

__all__ = ["Effect", "Note", "PendingNotes"]


class Effect(Enum):
    """What a note does to its row, so that what has no effect together needn't be written at all."""

    ADDS = auto()
    """The row isn't in the file before."""
    CHANGES = auto()
    """It writes the whole row, which may be in the file or not."""
    REMOVES = auto()


Note = tuple[str, tuple[Any, ...], int, int, Effect, int]
"""SQL, its parameters, the bytes it takes in memory, the store's position after it, its effect, and how many of the
bytes something else keeps as well."""


class PendingNotes:
    """Notes in order. One that writes the same row as an earlier one takes its place, at the end."""

    def __init__(self) -> None:
        self._notes: dict[Hashable, Note] = {}
        self.size = 0
        """Bytes of all notes in memory."""
        self.shared = 0
        """How many of them something else keeps as well."""

    def __len__(self) -> int:
        """Return the number of notes."""
        return len(self._notes)

    def all(self) -> list[Note]:
        """Return all notes, in order."""
        return list(self._notes.values())

    def add(self, key: Hashable, note: Note) -> None:
        """Add a note; `key` stands for the row that it writes."""
        notes = self._notes
        if key in notes:
            older = notes.pop(key)
            self._uncount(older)
            merged = _merged(older, note)
            if merged is None:
                return
            note = merged
        notes[key] = note
        self.size += note[2]
        self.shared += note[5]

    def discard(self, key: Hashable) -> None:
        """Discard the note about a row, if there is one."""
        note = self._notes.pop(key, None)
        if note is not None:
            self._uncount(note)

    def unshare(self, key: Hashable) -> None:
        """Record that nothing else keeps what is in the note about a row, if there is one."""
        note = self._notes.get(key)
        if note is not None and note[5]:
            self.shared -= note[5]
            self._notes[key] = (*note[:5], 0)

    def extend(self, later: PendingNotes) -> None:
        """Add all notes of `later`, which isn't to be used any more."""
        notes, others = self._notes, later._notes
        for key in notes.keys() & others.keys():
            older, note = notes.pop(key), others[key]
            self._uncount(older)
            merged = _merged(older, note)
            if merged is None:
                del others[key]
                later._uncount(note)
            else:
                others[key] = merged
        notes.update(others)
        self.size += later.size
        self.shared += later.shared

    def discard_oldest(self, most: int) -> int:
        """Discard the oldest notes beyond `most` bytes; return the position of the last of them, 0 if there is none."""
        position = 0
        if self.size > most:
            for key, note in list(self._notes.items()):
                del self._notes[key]
                self._uncount(note)
                position = note[3]
                if self.size <= most:
                    break
        return position

    def _uncount(self, note: Note) -> None:
        self.size -= note[2]
        self.shared -= note[5]


def _merged(older: Note, newer: Note) -> Note | None:
    """Return a note with the effect of both, of the size of the newer one; None if they have no effect."""
    sql, parameters, size, position, effect, shared = newer
    if older[4] is Effect.ADDS:
        return None if effect is Effect.REMOVES else (sql, parameters, size, position, Effect.ADDS, shared)
    return newer if effect is not Effect.ADDS else (sql, parameters, size, position, Effect.CHANGES, shared)
