"""`fleetkey backup`: the whole fleet in one file."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from fleetkey.cli.errors import CommandError
from fleetkey.cli.option_groups import with_option_groups
from fleetkey.cli.options import LocalOptions, actor
from fleetkey.cli.output import note, print_json, say
from fleetkey.cli.progress import counting
from fleetkey.operations import BackupError, FleetFiles, make_backup
from fleetkey.registry import AuditEntry, StoreError, open_store

__all__ = ["backup"]


@with_option_groups
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The file to create.")],
    *,
    options: LocalOptions,
) -> None:
    """Write the whole fleet to one file: registry, sessions and retained messages. The server may keep running.

    It includes every key issued before the backup began. Keep it encrypted: it lists the devices, and contains the
    messages queued for them in plain text.

    This runs on the server's machine only; there is no --url.

    Example: fleetkey backup fleet-2026-11-23.tar
    """
    settings = options.settings()
    files = FleetFiles.from_settings(settings)
    try:
        with counting("copying", "pages") as on_progress:
            made = make_backup(files, file, on_progress=on_progress)
    except BackupError as error:
        raise CommandError(str(error)) from None
    try:
        with closing(open_store(settings)) as store:
            store.record(AuditEntry(actor=actor(), action="backup_made", outcome="ok", reason=f"bytes={made.size}"))
    except StoreError as error:
        # The backup is complete, and on a full disk it may be needed more than ever.
        note(f"the backup was written, but could not be recorded in the audit log: {error}")
    if options.as_json:
        print_json({"file": str(file), "bytes": made.size, "made_at": made.made_at, "has_broker": made.has_broker})
    else:
        say(f"wrote {file}, {made.size:,} bytes")
