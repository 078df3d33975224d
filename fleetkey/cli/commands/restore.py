"""`fleetkey restore`: a backup in place of the fleet."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fleetkey.cli.errors import CommandError
from fleetkey.cli.option_groups import with_option_groups
from fleetkey.cli.options import LocalOptions, actor
from fleetkey.cli.output import print_json, say
from fleetkey.operations import BackupError, FleetFiles, restore_backup

__all__ = ["restore"]


@with_option_groups
def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `fleetkey backup` wrote.")],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the fleet that is there. Its own state is gone then.")
    ] = False,
    *,
    options: LocalOptions,
) -> None:
    """Put a backup in place of the fleet. The server must not run.

    What was revoked or disabled after the backup works again; devices that registered after it register again.

    It works on the server's machine alone and takes no --url.

    Example: fleetkey restore fleet-2026-11-23.tar --data-dir /var/lib/fleetkey
    """
    from fleetkey.broker import check_broker_database  # noqa: PLC0415 - heavy; other commands do without

    settings = options.settings()
    try:
        restored = restore_backup(
            FleetFiles.from_settings(settings),
            file,
            check_broker=check_broker_database,
            overwrite=overwrite,
            actor=actor(),
        )
    except BackupError as error:
        raise CommandError(str(error)) from None
    if options.as_json:
        print_json(
            {
                "file": str(file),
                "made_at": restored.made_at,
                "version": restored.version,
                "devices": restored.devices,
                "keys": restored.keys,
            }
        )
    else:
        say(f"restored {restored.devices} devices and {restored.keys} keys as of {restored.made_at}")
