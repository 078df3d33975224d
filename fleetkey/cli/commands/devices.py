"""`fleetkey devices`: the registered devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from fleetkey.cli.bulk_changes import BulkOptions, change_many
from fleetkey.cli.commands.last_events import last_events
from fleetkey.cli.commands.stale_presence import note_stale_presence
from fleetkey.cli.device_options import (
    AttributeOption,
    DeviceOptions,
    MatchOptions,
    SerialPatternOption,
    TagOption,
    names_one,
)
from fleetkey.cli.errors import UsageError
from fleetkey.cli.option_groups import with_option_groups
from fleetkey.cli.options import (
    FleetOptions,
    actor,
    parse_labels,
)
from fleetkey.cli.output import as_fields, is_interactive, note, print_json, print_list, print_one, say
from fleetkey.management import DECISIONS, MAX_PAGE, BulkChange, DeviceFilter, KeyFilter, Management
from fleetkey.management.schemas import BulkAction
from fleetkey.registry import DeviceOrder, DeviceState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from fleetkey.cli.options import Fleet
    from fleetkey.management import Decision
    from fleetkey.management.schemas import DeviceAnswer

__all__ = ["app"]

HELP = """Devices: list, show, approve, reject, disable, enable, tag, describe, delete.

Examples:
- `fleetkey devices list --state pending`
- `fleetkey devices approve --tag site=north`
"""
app = typer.Typer(help=HELP, no_args_is_help=True)

MAX_LIMIT = 1_000_000
"""The highest `--limit` of a list."""
COLUMNS = (
    ("device_id", 24),
    ("state", 8),
    ("online", 6),
    ("serial", 24),
    ("name", 24),
    ("tags", 24),
    ("created_at", 24),
)

DeviceIdArgument = Annotated[str, typer.Argument(metavar="ID", help="Device id, 24 hex digits.")]


@app.command("list")
@with_option_groups
def list_devices(
    state: Annotated[DeviceState | None, typer.Option("--state", help="Only devices in this state.")] = None,
    tag: TagOption = None,
    attribute: AttributeOption = None,
    serial: Annotated[
        str | None, typer.Option("--serial", metavar="SERIAL", help="Only the device with this serial.")
    ] = None,
    serial_pattern: SerialPatternOption = None,
    online: Annotated[bool, typer.Option("--online", help="Only devices that are connected.")] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Only devices that aren't connected.")] = False,
    sort: Annotated[
        DeviceOrder | None,
        typer.Option("--sort", help=f"By serial, newest first, or last seen first; at most {MAX_PAGE:,} devices."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", metavar="N", min=1, max=MAX_LIMIT, help="Only the first N devices.")
    ] = None,
    count: Annotated[bool, typer.Option("--count", help="Print only how many devices match.")] = False,
    *,
    options: FleetOptions,
) -> None:
    """List the devices, ordered by id unless sorted.

    Examples:
    - `fleetkey devices list --sort seen --limit 20`
    - `fleetkey devices list --state pending --count`
    - `fleetkey devices list --state pending --json`
    - `fleetkey devices list --tag site=north --attribute batch=7`
    - `fleetkey devices list --online`
    """
    if online and offline:
        msg = "--online and --offline exclude each other"
        raise UsageError(msg)
    if count and (sort or limit):
        msg = "--count counts all devices that match; leave out --sort and --limit"
        raise UsageError(msg)
    if sort and (limit or 0) > MAX_PAGE:
        msg = f"--sort lists at most {MAX_PAGE} devices; lower --limit"
        raise UsageError(msg)
    wanted = DeviceFilter(
        state=state,
        tags=parse_labels(tag),
        attributes=parse_labels(attribute, "attribute"),
        serial=serial,
        serial_pattern=serial_pattern,
        online=online if online or offline else None,
        sort=sort,
    )
    with options.fleet() as fleet:
        if isinstance(fleet, Management) and not offline:
            note_stale_presence(fleet, options.settings())
        if count:
            number = _count(fleet, wanted)
            print_json({"count": number}) if options.as_json else say(str(number))
            return
        nothing = "No devices match." if wanted != DeviceFilter(sort=sort) else "No devices."
        found: Iterable[DeviceAnswer] = fleet.devices.iterate(
            wanted, limit=MAX_PAGE if sort and limit is None else limit
        )
        if sort and limit is None:
            found = list(found)
            if len(found) == MAX_PAGE:
                note(f"only the first {MAX_PAGE:,} devices are listed", as_json=options.as_json)
        print_list(found, COLUMNS, nothing=nothing, as_json=options.as_json)


def _count(fleet: Fleet, wanted: DeviceFilter) -> int:
    answer = fleet.devices.count(wanted)
    number = answer.count
    while answer.next_cursor is not None:
        answer = fleet.devices.count(wanted, cursor=answer.next_cursor)
        number += answer.count
    return number


@app.command("show")
@with_option_groups
def show(
    device_id: DeviceIdArgument,
    *,
    options: FleetOptions,
) -> None:
    """Show one device, its active keys, its last refusal and its last success.

    Example: fleetkey devices show 5f0c1d2e3a4b5c6d7e8f9a0c
    """
    with options.fleet() as fleet:
        fields = as_fields(fleet.devices.get(device_id))
        if isinstance(fleet, Management) and fields["online"]:
            note_stale_presence(fleet, options.settings())
        fields["keys"] = [as_fields(key) for key in fleet.keys.iterate(KeyFilter(device_id=device_id))]
        fields |= last_events(fleet, fields["device_id"], as_json=options.as_json)
    if not options.as_json:
        fields["keys"] = [key["key"] for key in fields["keys"]]
    print_one(fields, as_json=options.as_json)


def _deciding(decision: Decision) -> Callable[..., None]:
    """Return the command for a decision about devices."""

    @with_option_groups
    def decide(
        devices: DeviceOptions,
        bulk: BulkOptions,
        *,
        options: FleetOptions,
    ) -> None:
        selection = devices.selected()
        with options.fleet() as fleet:
            if names_one(selection) and not bulk.dry_run:
                print_one(
                    fleet.devices.decide(decision, selection.device_ids[0], actor=actor()), as_json=options.as_json
                )
                return
            change = BulkChange(action=decision.action)
            change_many(fleet, change, selection, bulk, done=decision.done, as_json=options.as_json)

    return decide


for _decision in DECISIONS.values():
    app.command(_decision.action.value, help=_decision.help)(_deciding(_decision))


@app.command("delete")
@with_option_groups
def delete(
    devices: DeviceOptions,
    bulk: BulkOptions,
    *,
    options: FleetOptions,
) -> None:
    """Delete devices and retire their keys: those named, or all that match.

    More than one is deleted only with --yes, or after a question on a terminal.

    While a serial is on the allow-list, it can register again as a new device.

    Examples:
    - `fleetkey devices delete 5f0c1d2e3a4b5c6d7e8f9a0c`
    - `fleetkey devices delete --tag site=closed --dry-run`
    - `fleetkey devices delete --tag site=closed --yes`
    """
    selection = devices.selected()
    if not (names_one(selection) or bulk.yes or bulk.dry_run or is_interactive()):
        msg = "this may delete many devices for good: check them with --dry-run, then add --yes"
        raise UsageError(msg)
    with options.fleet() as fleet:
        if not names_one(selection) or bulk.dry_run:
            change = BulkChange(action=BulkAction.DELETE)
            change_many(fleet, change, selection, bulk, done="deleted", max_unasked=0, as_json=options.as_json)
            return
        device_id = selection.device_ids[0]
        fleet.devices.delete(device_id, actor=actor())
    if options.as_json:
        print_json({"deleted": device_id})
    else:
        say(f"deleted {device_id}")


@app.command("tag")
@with_option_groups
def tag(
    words: Annotated[
        list[str],
        typer.Argument(metavar="[ID…] NAME=VALUE…", help="Device ids, and tags to set; `NAME=` removes one."),
    ],
    match: MatchOptions,
    bulk: BulkOptions,
    *,
    options: FleetOptions,
) -> None:
    """Set or remove tags of devices: those named, or all that match.

    Examples:
    - `fleetkey devices tag 5f0c1d2e3a4b5c6d7e8f9a0c site=north line=3`
    - `fleetkey devices tag --tag site=north --serial-pattern 'SN-2026-.*' site=south`
    """
    selection = match.selection([word for word in words if "=" not in word])
    texts = [word for word in words if "=" in word]
    if not texts:
        msg = "name the tags to set, as NAME=VALUE"
        raise UsageError(msg)
    changes = {name: value or None for name, value in parse_labels(texts).items()}
    with options.fleet() as fleet:
        if names_one(selection) and not bulk.dry_run:
            print_one(fleet.devices.tag(selection.device_ids[0], changes, actor=actor()), as_json=options.as_json)
            return
        change = BulkChange(action=BulkAction.TAG, set_tags=changes)
        change_many(fleet, change, selection, bulk, done="tagged", as_json=options.as_json)


@app.command("describe")
@with_option_groups
def describe(
    device_id: DeviceIdArgument,
    attributes: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME=VALUE…]", help="Attributes to set; `NAME=` removes one.", show_default=False),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="TEXT", help="The device's name; empty removes it.")
    ] = None,
    *,
    options: FleetOptions,
) -> None:
    """Set a device's name, and set or remove attributes. No topic depends on them.

    Example: fleetkey devices describe 5f…c2 --name 'Pump 3' firmware=1.4.2
    """
    changes = {key: value or None for key, value in parse_labels(attributes, "attribute").items()}
    if name is None and not changes:
        msg = "nothing to set: give --name TEXT or NAME=VALUE"
        raise UsageError(msg)
    with options.fleet() as fleet:
        device = fleet.devices.describe(device_id, name=name, attributes=changes, actor=actor())
    print_one(device, as_json=options.as_json)
