"""`fleetkey restore`: replace the fleet with a backup."""

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
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A file written by `fleetkey backup`.")],
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the existing fleet; its current state is lost.")
    ] = False,
    *,
    options: LocalOptions,
) -> None:
    """Restore the fleet from a backup. The server must not be running.

    Whatever was revoked or disabled after the backup works again; devices that registered after it must register again.

    This runs on the server's machine only; there is no --url.

    Example: fleetkey restore fleet-2026-11-23.tar --data-dir /var/lib/fleetkey
    """
    from fleetkey.broker import check_broker_database  # noqa: PLC0415 - slow to import; only this command needs it

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
