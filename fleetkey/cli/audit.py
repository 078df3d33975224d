"""`fleetkey audit`: who did what, and how it ended."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Annotated

import typer

from fleetkey.cli.options import ConfigOption, DataDirOption, JsonOption, opened_store
from fleetkey.cli.output import audit_fields, print_json, print_list

if TYPE_CHECKING:
    from fleetkey.registry import AuditRecord, Store

__all__ = ["audit"]

POLL_SECONDS = 0.3
PAGE = 500
COLUMNS = (
    ("at", 24),
    ("actor", 14),
    ("action", 20),
    ("outcome", 8),
    ("reason", 24),
    ("serial", 20),
    ("device_id", 24),
    ("address", 15),
)


def audit(
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on and print what is added, until Ctrl-C.")
    ] = False,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=0, max=1_000_000, help="How many of the newest to print.")
    ] = 100,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Print the newest audit entries, oldest first.

    JSON: an array; with `--follow`, one object a line.

    Example: fleetkey audit --follow --json
    """
    with opened_store(config, data_dir) as store:
        newest = store.last_audit(limit) if limit else []
        if not follow:
            print_list((audit_fields(record) for record in newest), COLUMNS, as_json=as_json)
            return
        with contextlib.suppress(KeyboardInterrupt):
            _follow(store, newest, as_json=as_json)


def _follow(store: Store, newest: list[AuditRecord], *, as_json: bool) -> None:
    position = newest[-1].seq if newest else max((record.seq for record in store.last_audit(1)), default=0)
    page = newest
    while True:
        for record in page:
            _print_record(record, as_json=as_json)
            position = record.seq
        if len(page) < PAGE:
            time.sleep(POLL_SECONDS)
        page = store.list_audit(after=position, limit=PAGE)


def _print_record(record: AuditRecord, *, as_json: bool) -> None:
    fields = audit_fields(record)
    if as_json:
        print_json(fields)
        return
    named = " ".join(
        f"{name}={fields[name]}" for name in ("reason", "serial", "device_id", "key", "address") if fields[name]
    )
    print(f"{fields['at']}  {fields['actor']}  {fields['action']}  {fields['outcome']}  {named}", flush=True)
