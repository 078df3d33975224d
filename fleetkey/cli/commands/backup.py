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
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A new file.")],
    *,
    options: LocalOptions,
) -> None:
    """Write the whole fleet into one file, while the server runs: registry, sessions, retained messages.

    Every key that was answered before is in it. Keep it encrypted: it says which devices exist, and has what waits for
    them in clear.

    It works on the server's machine alone and takes no --url.

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
        # The backup is whole, and on a full disk it may be what is needed most.
        note(f"the backup is written, but not noted in the audit: {error}")
    if options.as_json:
        print_json({"file": str(file), "bytes": made.size, "made_at": made.made_at, "has_broker": made.has_broker})
    else:
        say(f"wrote {file}, {made.size:,} bytes")
