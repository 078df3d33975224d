"""What is shown of a serial of the allow-list, and what is taken to add some."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Self

import msgspec

from fleetkey.management.schemas.values import MAX_POSTED, Labels

if TYPE_CHECKING:
    from fleetkey.registry import ListedSerial, SerialsAdded

__all__ = ["AddedAnswer", "SerialAnswer", "SerialEntry", "SerialPage", "SerialsBody"]


class SerialAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A serial of the allow-list, and what its device gets."""

    serial: str
    name: str
    profile: str | None
    tags: dict[str, str]
    attributes: dict[str, str]

    @classmethod
    def of(cls, listed: ListedSerial) -> Self:
        """Return what is shown of a serial of the registry."""
        return cls(
            serial=listed.serial,
            name=listed.name,
            profile=listed.profile,
            tags=dict(listed.tags),
            attributes=dict(listed.attributes),
        )


class SerialPage(msgspec.Struct):
    """Serials in order. `next_cursor` null: that was all."""

    items: list[SerialAnswer]
    next_cursor: str | None


class SerialEntry(msgspec.Struct, forbid_unknown_fields=True):
    """A serial with what its device gets."""

    serial: str
    name: str = ""
    profile: str | None = None
    tags: Labels = {}
    attributes: Labels = {}


class SerialsBody(msgspec.Struct, forbid_unknown_fields=True):
    """Serials to add, all of them or none."""

    serials: Annotated[list[str | SerialEntry], msgspec.Meta(min_length=1, max_length=MAX_POSTED)]


class AddedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """How an addition to the allow-list went: so many new ones, listed already, and of these with other details now."""

    added: int
    known: int
    replaced: int

    @classmethod
    def of(cls, result: SerialsAdded) -> Self:
        """Return what is shown of an addition to the registry."""
        return cls(added=result.added, known=result.known, replaced=result.replaced)
