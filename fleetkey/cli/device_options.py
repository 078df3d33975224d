"""The devices that a command applies to: those named, or those that match."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from fleetkey.cli.options import parse_labels
from fleetkey.management import DeviceSelection

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "AttributeOption",
    "DeviceOptions",
    "MatchOptions",
    "SerialPatternOption",
    "TagOption",
    "names_one",
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
    typer.Option("--serial-pattern", metavar="PATTERN", help="Only devices whose whole serial matches this pattern."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchOptions:
    """The devices that a command applies to: those that match every given option."""

    tag: TagOption = None
    attribute: AttributeOption = None
    serial_pattern: SerialPatternOption = None

    def selection(self, device_ids: Sequence[str] = ()) -> DeviceSelection:
        """Return the selection of devices, optionally limited to named ones. Raises `UsageError`."""
        return DeviceSelection(
            device_ids=tuple(dict.fromkeys(device_ids)),
            tags=parse_labels(self.tag),
            attributes=parse_labels(self.attribute, "attribute"),
            serial_pattern=self.serial_pattern,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceOptions(MatchOptions):
    """The devices that a command applies to: those named, or those that match."""

    device_ids: DeviceIdsArgument = None

    def selected(self) -> DeviceSelection:
        """Return the selection of devices. Raises `UsageError`."""
        return self.selection(self.device_ids or ())


def names_one(selection: DeviceSelection) -> bool:
    """Whether the selection is just one named device; the service refuses contradictory selections."""
    has_more = selection.tags or selection.attributes or selection.serial_pattern
    return len(selection.device_ids) == 1 and not has_more
