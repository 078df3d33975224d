"""Serials on the allow-list."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


__all__ = ["ListedSerial", "SerialConflict", "SerialScan", "SerialsAdded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedSerial:
    """A serial on the allow-list, and what its device gets when it is created."""

    serial: str
    name: str = ""
    profile: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialScan:
    """Serials that a bounded search of the allow-list found, in order.

    `reached` is the last serial that was examined; None means the search is complete.
    """

    serials: tuple[ListedSerial, ...]
    reached: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialConflict:
    """Two added entries that contradict each other about a serial, by number."""

    serial: str
    first: int
    second: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialsAdded:
    """The result of adding serials; a serial that was added twice counts once."""

    added: int
    known: int
    """Already listed."""
    replaced: int = 0
    """Already listed, and now with other details."""
