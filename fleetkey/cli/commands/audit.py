"""`fleetkey audit`: who did what, and with what outcome."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleetkey.cli.commands.audit_export import ExportFormat, export_audit
from fleetkey.cli.errors import UsageError
from fleetkey.cli.option_groups import with_option_groups
from fleetkey.cli.options import FleetOptions
from fleetkey.cli.output import as_fields, print_json, print_list, say
from fleetkey.management import (
    AuditAction,
    InvalidRequestError,
    PositionList,
    parse_moment,
    position_cursor,
)
from fleetkey.registry import AuditFilter

if TYPE_CHECKING:
    from fleetkey.cli.options import Fleet
    from fleetkey.management.schemas import AuditAnswer

__all__ = ["app"]

POLL_SECONDS = 0.3
PAGE = 500
COLUMNS = (
    ("at", 24),
    ("actor", 14),
    ("action", 20),
    ("outcome", 8),
    ("serial", 8),
    ("device_id", 24),
    ("key", 32),
    ("address", 9),
    ("reason", 24),
)

app = typer.Typer(invoke_without_command=True)

PANEL = "Filters"
ActorOption = Annotated[
    str | None,
    typer.Option(
        "--actor",
        metavar="WHO",
        help="Who did it: `device`, `application`, `server`, `cli:USER` or `api:NAME:ID`; `cli` and `api` match any.",
        rich_help_panel=PANEL,
    ),
]
ActionOption = Annotated[
    str | None,
    typer.Option(
        "--action",
        metavar="WHAT",
        help=f"What was done: {', '.join(f'`{word}`' for word in AuditAction)}.",
        rich_help_panel=PANEL,
    ),
]
OutcomeOption = Annotated[
    str | None, typer.Option("--outcome", metavar="HOW", help="`ok`, `refused` or `pending`.", rich_help_panel=PANEL)
]
AddressOption = Annotated[
    str | None,
    typer.Option("--address", metavar="ADDRESS", help="Only requests from this IP address.", rich_help_panel=PANEL),
]
SerialOption = Annotated[
    str | None,
    typer.Option("--serial", metavar="SERIAL", help="Only entries about this serial.", rich_help_panel=PANEL),
]
DeviceOption = Annotated[
    str | None, typer.Option("--device", metavar="ID", help="Only entries about this device.", rich_help_panel=PANEL)
]
KeyOption = Annotated[
    str | None, typer.Option("--key", metavar="KEY", help="Only entries about this key.", rich_help_panel=PANEL)
]
SinceOption = Annotated[
    str | None,
    typer.Option(
        "--since", metavar="WHEN", help="Only entries since then: `24h` ago, or a date.", rich_help_panel=PANEL
    ),
]
UntilOption = Annotated[
    str | None,
    typer.Option(
        "--until", metavar="WHEN", help="Only entries before then, in the same format.", rich_help_panel=PANEL
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class FilterOptions:
    """The audit entries that a command applies to."""

    actor: ActorOption = None
    action: ActionOption = None
    outcome: OutcomeOption = None
    address: AddressOption = None
    serial: SerialOption = None
    device: DeviceOption = None
    key: KeyOption = None
    since: SinceOption = None
    until: UntilOption = None

    def wanted(self) -> AuditFilter:
        """Return the filter. Raises `InvalidRequestError`."""
        return AuditFilter(
            actor=self.actor,
            action=self.action,
            outcome=self.outcome,
            address=self.address,
            serial=self.serial,
            device_id=self.device,
            key=self.key,
            since=_moment(self.since, "since"),
            until=_moment(self.until, "until"),
        )


@app.callback()
@with_option_groups
def audit(
    context: typer.Context,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing new entries until Ctrl-C.")] = False,
    limit: Annotated[
        int,
        typer.Option(
            "--limit", "-n", metavar="N", min=0, max=1_000_000, help="How many of the newest entries to print."
        ),
    ] = 100,
    filters: FilterOptions,
    options: FleetOptions,
) -> None:
    """Print the newest audit entries that match, oldest first.

    JSON: an array; with `--follow`, one object per line.

    Examples:
    - `fleetkey audit --follow --json`
    - `fleetkey audit --action register --outcome refused --since 24h`
    """
    if context.invoked_subcommand is not None:
        if options.url is not None or options.token_file is not None:
            msg = f"put --url and --token-file after {context.invoked_subcommand}"
            raise UsageError(msg)
        return
    wanted = filters.wanted()
    if follow and filters.until is not None:
        raise InvalidRequestError("until", "--follow has no end; leave out --until")
    with options.fleet() as fleet:
        last = fleet.audit.newest(limit=1).items if follow else ()
        newest = _newest(fleet, wanted, limit)
        if not follow:
            nothing = "No entries match." if wanted != AuditFilter() else "No entries."
            print_list(newest, COLUMNS, nothing=nothing, as_json=options.as_json)
            return
        position = max((record.seq for record in (*last, *newest[-1:])), default=0)
        for record in newest:
            _print_record(record, as_json=options.as_json)
        with contextlib.suppress(KeyboardInterrupt):
            _follow(fleet, wanted, position_cursor(PositionList.AUDIT, position), as_json=options.as_json)


@app.command("export")
@with_option_groups
def export(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file, or - for standard output.")],
    *,
    export_format: Annotated[
        ExportFormat | None,
        typer.Option("--format", help="Default: `csv` for a file whose name ends in .csv, otherwise `jsonl`."),
    ] = None,
    filters: FilterOptions,
    options: FleetOptions,
) -> None:
    """Write audit entries to a new file, oldest first: all of them, or those that match.

    In CSV, values that a spreadsheet would treat as formulas are prefixed with an apostrophe, and control characters
    are escaped; JSON lines are exact.

    Examples:
    - `fleetkey audit export audit.jsonl --since 2026-11-01 --until 2026-12-01`
    - `fleetkey audit export - --format csv --actor cli`
    """
    wanted = filters.wanted()
    chosen = export_format or (ExportFormat.CSV if file.suffix.lower() == ".csv" else ExportFormat.JSONL)
    with options.fleet() as fleet:
        count = export_audit(fleet.audit, wanted, file, chosen)
    if str(file) == "-":
        return
    if options.as_json:
        print_json({"exported": count, "file": str(file), "format": chosen.value})
    else:
        say(f"exported {count} entries to {file}")


def _moment(text: str | None, field: str) -> int | None:
    return None if text is None else parse_moment(text, now=datetime.now(UTC), field=field)


def _newest(fleet: Fleet, wanted: AuditFilter, limit: int) -> list[AuditAnswer]:
    """Return the newest entries that match, oldest first."""
    found: list[AuditAnswer] = []
    cursor: str | None = None
    while len(found) < limit:
        page = fleet.audit.newest(wanted, cursor=cursor, limit=min(PAGE, limit - len(found)))
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    return found[::-1]


def _follow(fleet: Fleet, wanted: AuditFilter, cursor: str, *, as_json: bool) -> None:
    while True:
        page = fleet.audit.oldest(wanted, cursor=cursor, limit=PAGE)
        for record in page.items:
            _print_record(record, as_json=as_json)
        is_behind = page.next_cursor not in {None, cursor}
        cursor = page.next_cursor or cursor
        if not is_behind:
            time.sleep(POLL_SECONDS)


def _print_record(record: AuditAnswer, *, as_json: bool) -> None:
    fields = as_fields(record)
    if as_json:
        print_json(fields)
        return
    named = " ".join(
        f"{name}={fields[name]}" for name in ("reason", "serial", "device_id", "key", "address") if fields[name]
    )
    say(f"{fields['at']}  {fields['actor']}  {fields['action']}  {fields['outcome']}  {named}", flush=True)
