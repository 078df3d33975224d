"""The schemas of serials on the allow-list and of requests to add them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Self

import msgspec

from fleetkey.management.schemas.values import MAX_POSTED, Labels

if TYPE_CHECKING:
    from fleetkey.registry import ListedSerial, SerialsAdded

__all__ = ["AddedAnswer", "SerialAnswer", "SerialEntry", "SerialPage", "SerialsBody"]


class SerialAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A serial on the allow-list, with what its device will get."""

    serial: str
    name: str
    profile: str | None
    tags: dict[str, str]
    attributes: dict[str, str]

    @classmethod
    def of(cls, listed: ListedSerial) -> Self:
        """Return a serial of the registry in this schema."""
        return cls(
            serial=listed.serial,
            name=listed.name,
            profile=listed.profile,
            tags=dict(listed.tags),
            attributes=dict(listed.attributes),
        )


class SerialPage(msgspec.Struct):
    """Serials, in order. A page may be short and still have a `next_cursor`; null means the list is complete."""

    items: list[SerialAnswer]
    next_cursor: str | None


class SerialEntry(msgspec.Struct, forbid_unknown_fields=True):
    """A serial with what its device will get."""

    serial: str
    name: str = ""
    profile: str | None = None
    tags: Labels = {}
    attributes: Labels = {}


class SerialsBody(msgspec.Struct, forbid_unknown_fields=True):
    """The serials to add: all of them or none."""

    serials: Annotated[list[str | SerialEntry], msgspec.Meta(min_length=1, max_length=MAX_POSTED)]


class AddedAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The result of adding serials: how many are new, were already listed, and were among those updated."""

    added: int
    known: int
    replaced: int

    @classmethod
    def of(cls, result: SerialsAdded) -> Self:
        """Return a result of the registry in this schema."""
        return cls(added=result.added, known=result.known, replaced=result.replaced)
