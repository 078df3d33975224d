"""`fleetkey serials`: the allow-list."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO

import typer

from fleetkey.cli.errors import CommandError, InterruptedCommandError, RefusedError, UsageError
from fleetkey.cli.option_groups import with_option_groups
from fleetkey.cli.options import (
    FleetOptions,
    LocalOptions,
    actor,
)
from fleetkey.cli.output import as_fields, note, print_json, print_list, say, say_aside
from fleetkey.cli.progress import reading
from fleetkey.management import AuditAction, Management, SerialFileError, SerialFilter, SerialFormat, prove_serial
from fleetkey.registry import AuditFilter

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fleetkey.cli.options import Fleet
    from fleetkey.management.schemas import AddedAnswer

__all__ = ["app"]

HELP = """The allow-list: which serials may register.

Examples:
- `fleetkey serials add SN-0001 SN-0002`
- `fleetkey serials import batch.csv`
"""
app = typer.Typer(help=HELP, no_args_is_help=True)

NOTHING_IMPORTED = "nothing was imported"
LOOK = "see `fleetkey serials list`"
SerialArgument = Annotated[str, typer.Argument(metavar="SERIAL", help="The serial.")]
COLUMNS = (("serial", 24), ("name", 24), ("profile", 16), ("tags", 32), ("attributes", 32))


@app.command("add")
@with_option_groups
def add(
    serials: Annotated[list[str], typer.Argument(metavar="SERIAL…", help="Serials to add: all of them or none.")],
    *,
    options: FleetOptions,
) -> None:
    """Add serials to the allow-list.

    Example: fleetkey serials add SN-0001 SN-0002
    """
    with options.fleet(makes_registry=True) as fleet:
        _print_added(fleet.serials.add(serials, actor=actor()), as_json=options.as_json)


@app.command("import")
@with_option_groups
def import_file(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A list of serials, UTF-8; `-` reads standard input.")],
    serial_format: Annotated[
        SerialFormat | None,
        typer.Option("--format", help="Default: `csv` for a file whose name ends in .csv, otherwise `text`."),
    ] = None,
    *,
    options: FleetOptions,
) -> None:
    """Add the serials in a file: all of them or none.

    Text: one serial per line; empty lines are ignored. CSV: a header with `serial` and any of `name`, `profile`,
    `tag:NAME` and `attribute:NAME`, which a device gets when it is created.

    Examples:
    - `fleetkey serials import serials.txt`
    - `fleetkey serials import batch.csv`
    - `cut -d, -f1 batch.csv | tail -n +2 | fleetkey serials import -`
    """
    name = "standard input" if str(file) == "-" else str(file)
    chosen = serial_format or (SerialFormat.CSV if file.suffix.lower() == ".csv" else SerialFormat.TEXT)
    with options.fleet(makes_registry=True) as fleet, _opened(file) as stream:
        try:
            with reading(file, stream) as on_progress, _says_what_is_left(fleet):
                added = fleet.serials.import_file(stream, chosen, actor=actor(), on_progress=on_progress)
        except (SerialFileError, RefusedError) as error:
            said = str(error)
            if isinstance(error, RefusedError) and not said.endswith(NOTHING_IMPORTED):
                said = f"{said}; {NOTHING_IMPORTED}"
            msg = f"{name}{', ' if said.startswith('line ') else ': '}{said}"
            raise CommandError(msg) from None
    if not added.added + added.known:
        note(f"{name} contains no serials", as_json=options.as_json)
    _print_added(added, as_json=options.as_json)


@app.command("list")
@with_option_groups
def list_serials(
    details: Annotated[
        bool, typer.Option("--details", help="Include what each device will get; JSON: an array of objects.")
    ] = False,
    serial_pattern: Annotated[
        str | None,
        typer.Option("--serial-pattern", metavar="PATTERN", help="Only serials that match this pattern as a whole."),
    ] = None,
    used: Annotated[bool, typer.Option("--used", help="Only serials that a device has registered with.")] = False,
    unused: Annotated[bool, typer.Option("--unused", help="Only serials that no device has registered with.")] = False,
    *,
    options: FleetOptions,
) -> None:
    """List the serials, in order. JSON: an array of strings.

    Examples:
    - `fleetkey serials list --json`
    - `fleetkey serials list --unused --serial-pattern 'SN-2026-.*'`
    """
    if used and unused:
        msg = "--used and --unused exclude each other"
        raise UsageError(msg)
    wanted = SerialFilter(serial_pattern=serial_pattern, used=used if used or unused else None)
    nothing = "No serials match." if wanted != SerialFilter() else "No serials."
    with options.fleet() as fleet:
        found = fleet.serials.iterate(wanted)
        if details:
            print_list(found, COLUMNS, nothing=nothing, as_json=options.as_json)
        elif options.as_json:
            print_list((listed.serial for listed in found), (), nothing=nothing, as_json=True)
        else:
            is_empty = True
            for listed in found:
                say(listed.serial)
                is_empty = False
            if is_empty:
                # Not among the serials, for scripts that read a line each.
                say_aside(nothing)


@app.command("prove")
@with_option_groups
def prove(
    serial: SerialArgument,
    group: Annotated[
        str | None,
        typer.Option("--group", metavar="NAME", help="Which group secret to use; required if there are several."),
    ] = None,
    *,
    options: LocalOptions,
) -> None:
    """Print the proof that a serial needs to register under the `hmac` verifier, for the factory to put on the device.

    This runs on the server's machine only; there is no --url.

    Example: fleetkey serials prove SN-0001 --group factory-2026
    """
    chosen, proof = prove_serial(options.settings().registration.hmac, serial, group=group)
    if options.as_json:
        print_json({"serial": serial, "group": chosen, "proof": proof.reveal()})
    else:
        say(proof.reveal())


@app.command("remove")
@with_option_groups
def remove(
    serial: SerialArgument,
    *,
    options: FleetOptions,
) -> None:
    """Remove a serial from the allow-list. A device that registered with it stays; see `fleetkey devices disable`.

    Example: fleetkey serials remove SN-0001
    """
    with options.fleet() as fleet:
        fleet.serials.remove(serial, actor=actor())
    if options.as_json:
        print_json({"removed": serial})
    else:
        say(f"removed {serial}")


def _print_added(result: AddedAnswer, *, as_json: bool) -> None:
    if as_json:
        print_json(as_fields(result))
    else:
        others = f", {result.replaced} updated" if result.replaced else ""
        say(f"added {result.added}, {result.known} already listed{others}")


@contextlib.contextmanager
def _says_what_is_left(fleet: Fleet) -> Iterator[None]:
    """Say at Ctrl-C whether anything was imported; a remote fleet says it by itself."""
    before = _newest_import(fleet)
    try:
        yield
    except KeyboardInterrupt:
        if _newest_import(fleet) == before:
            msg = f"interrupted; {NOTHING_IMPORTED}"
        else:
            msg = f"interrupted; the serials were imported at that moment: {LOOK}"
        raise InterruptedCommandError(msg) from None


def _newest_import(fleet: Fleet) -> int:
    """Return the position of the newest import in the audit; it is written in the same transaction."""
    if not isinstance(fleet, Management):
        return 0
    newest = fleet.audit.newest(AuditFilter(action=AuditAction.SERIALS_ADDED), limit=1).items
    return newest[0].seq if newest else 0


@contextlib.contextmanager
def _opened(file: Path) -> Iterator[BinaryIO]:
    if str(file) == "-":
        yield sys.stdin.buffer
        return
    try:
        with file.open("rb") as stream:
            yield stream
    except OSError as error:
        if error.filename is None:
            raise
        msg = f"can't read {file}: {error.strerror}"
        raise CommandError(msg) from None
