"""Which devices a command is about: those named, or those that match."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from fleetkey.cli.options import parse_labels
from fleetkey.cli.output import print_json, say
from fleetkey.management import DeviceSelection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fleetkey.management.schemas import BulkAnswer

__all__ = [
    "AttributeOption",
    "DeviceOptions",
    "MatchOptions",
    "SerialPatternOption",
    "TagOption",
    "names_one",
    "print_bulk",
]

DeviceIdsArgument = Annotated[
    list[str] | None, typer.Argument(metavar="[ID…]", help="Device ids, 24 hex digits each.", show_default=False)
]
TagOption = Annotated[
    list[str] | None, typer.Option("--tag", metavar="NAME=VALUE", help="Only devices with this tag; repeatable.")
]
AttributeOption = Annotated[
    list[str] | None,
    typer.Option("--attribute", metavar="NAME=VALUE", help="Only devices with this attribute; repeatable."),
]
SerialPatternOption = Annotated[
    str | None,
    typer.Option("--serial-pattern", metavar="PATTERN", help="Only devices whose whole serial has this pattern."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchOptions:
    """Which devices a command is about: those that match everything that is given."""

    tag: TagOption = None
    attribute: AttributeOption = None
    serial_pattern: SerialPatternOption = None

    def selection(self, device_ids: Sequence[str] = ()) -> DeviceSelection:
        """Return these devices, or the named ones. Raises `UsageError`."""
        return DeviceSelection(
            device_ids=tuple(dict.fromkeys(device_ids)),
            tags=parse_labels(self.tag),
            attributes=parse_labels(self.attribute, "attribute"),
            serial_pattern=self.serial_pattern,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceOptions(MatchOptions):
    """Which devices a command is about: those named, or those that match."""

    device_ids: DeviceIdsArgument = None

    def selected(self) -> DeviceSelection:
        """Return what is said. Raises `UsageError`."""
        return self.selection(self.device_ids or ())


def names_one(selection: DeviceSelection) -> bool:
    """Whether one device is named and nothing else is said; what contradicts that, the service refuses."""
    has_more = selection.tags or selection.attributes or selection.serial_pattern
    return len(selection.device_ids) == 1 and not has_more


def print_bulk(verb: str, result: BulkAnswer, *, as_json: bool) -> None:
    """Print how a change to many went."""
    if as_json:
        print_json({verb: result.changed, "unchanged": result.unchanged})
    else:
        say(f"{verb} {result.changed}, {result.unchanged} unchanged")
