"""The allow-list's serials."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


__all__ = ["ListedSerial", "SerialConflict", "SerialsAdded"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedSerial:
    """A serial of the allow-list, and what its device gets when it is created."""

    serial: str
    name: str = ""
    profile: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    attributes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialConflict:
    """Two entries of an addition that say different things of one serial, by their numbers."""

    serial: str
    first: int
    second: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SerialsAdded:
    """How an addition to the allow-list went, counted in serials; one that it has twice counts once."""

    added: int
    known: int
    """Listed already."""
    replaced: int = 0
    """Of the known ones: those of which it says something else than was said before."""
