"""Changing many devices with one command: what it would do, asking before it does it, and what it did."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated

import typer

from fleetkey.cli.errors import CommandError
from fleetkey.cli.options import actor
from fleetkey.cli.output import as_fields, ask, is_interactive, print_json, say
from fleetkey.management import DECISIONS
from fleetkey.management.schemas import BulkOutcome

if TYPE_CHECKING:
    from fleetkey.cli.options import Fleet
    from fleetkey.management import BulkChange, DeviceSelection
    from fleetkey.management.schemas import BulkAnswer, BulkDevice

__all__ = ["BulkOptions", "change_many"]

MAX_UNASKED = 10
"""How many devices a command on a terminal changes without asking."""

DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Change nothing; print how many devices would be changed, and the first ones.")
]
YesOption = Annotated[
    bool,
    typer.Option("--yes", help=f"Don't ask before changing more than {MAX_UNASKED} devices; only a terminal is asked."),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class BulkOptions:
    """How a command that can change many devices goes about it."""

    dry_run: DryRunOption = False
    yes: YesOption = False


def change_many(
    fleet: Fleet,
    change: BulkChange,
    selection: DeviceSelection,
    options: BulkOptions,
    *,
    done: str,
    max_unasked: int = MAX_UNASKED,
    as_json: bool,
) -> None:
    """Change devices, or say what would be changed, and print the result.

    Args:
        fleet: this machine's or another's.
        change: what to do.
        selection: the devices.
        options: whether to try it only, and whether to ask.
        done: the participle for the output, such as `approved`.
        max_unasked: how many devices are changed without asking.
        as_json: print JSON.

    Raises:
        CommandError: some of the named devices are in a state in which this isn't possible; the others were changed.
    """
    trial = replace(change, is_dry_run=True)
    if options.dry_run:
        _print(done, fleet.devices.change_many(trial, selection, actor=actor()), as_json=as_json, is_dry_run=True)
        return
    if not options.yes and is_interactive():
        affected = fleet.devices.change_many(trial, selection, actor=actor()).changed
        if affected > max_unasked and not ask(f"{affected:,} device(s) will be {done}. Continue?"):
            raise typer.Abort
    result = fleet.devices.change_many(change, selection, actor=actor())
    _print(done, result, as_json=as_json, is_dry_run=False)
    if result.refused:
        raise CommandError(_refusal(change, result))


def _print(done: str, result: BulkAnswer, *, as_json: bool, is_dry_run: bool) -> None:
    if as_json:
        fields = as_fields(result)
        counts = {done: result.changed, "unchanged": result.unchanged, "refused": result.refused}
        print_json({**({"dry_run": True} if is_dry_run else {}), **counts, "devices": fields["devices"]})
        return
    refused = f", {result.refused} refused" if result.refused else ""
    counted = f"{result.changed}, {result.unchanged} unchanged{refused}"
    say(f"would be {done}: {counted}; nothing was changed" if is_dry_run else f"{done} {counted}")
    for outcome in BulkOutcome:
        of_it = [device for device in result.devices if device.outcome is outcome]
        for device in of_it:
            say(_line(device, done))
        number = {"changed": result.changed, "unchanged": result.unchanged, "refused": result.refused}[outcome]
        if of_it and number > len(of_it):
            say(f"  and {number - len(of_it):,} more")


def _line(device: BulkDevice, done: str) -> str:
    said = {
        BulkOutcome.CHANGED: f"is {device.state}, would be {done}",
        BulkOutcome.UNCHANGED: f"is {device.state} already",
        BulkOutcome.REFUSED: f"is {device.state}, can't be {done}",
    }
    return f"  {device.device_id} ({device.serial}) {said[device.outcome]}"


def _refusal(change: BulkChange, result: BulkAnswer) -> str:
    decision = DECISIONS[change.action]
    first = next(device for device in result.devices if device.outcome is BulkOutcome.REFUSED)
    why = decision.instead.format(device_id=first.device_id, state=first.state)
    others = f" (and {result.refused - 1} more)" if result.refused > 1 else ""
    return f"{why}{others}; {result.changed} {decision.done}"
