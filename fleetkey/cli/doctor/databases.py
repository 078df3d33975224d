"""Whether the fleet's databases are whole, and the broker's is one that this version can use."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

from fleetkey.cli.doctor.findings import Finding, Verdict
from fleetkey.operations import BackupError, FleetFiles, check_in_place
from fleetkey.registry import StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fleetkey.config import Settings

__all__ = ["databases"]

CHECK_SECONDS = 5.0
"""How long each database is checked; what is left of a larger one isn't."""
RESTORE = "Stop the server and restore a backup: fleetkey restore FILE --overwrite"
ABANDON = f"{RESTORE}. Or move the file away: clients then lose their sessions, and queued and retained messages."
UPGRADE = "Upgrade this installation, or restore a backup."


def databases(settings: Settings) -> Iterator[Finding]:
    """Check each database that exists, read-only and for at most `CHECK_SECONDS`."""
    try:
        files = FleetFiles.from_settings(settings)
    except StoreError:
        # Reported with the registry.
        return
    if _has_content(files.registry):
        yield from _damage("store", files.registry, RESTORE)
    if not _has_content(files.broker):
        return
    yield from (_damage("broker store", files.broker, ABANDON) or _form(files.broker))


def _has_content(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except OSError:
        return False


def _damage(check: str, path: Path, advice: str) -> list[Finding]:
    try:
        is_complete = check_in_place(path, max_seconds=CHECK_SECONDS)
    except BackupError as error:
        return [Finding(check, Verdict.FAILED, str(error), advice)]
    if is_complete:
        return []
    detail = f"{path} is large; no damage was found in {CHECK_SECONDS:.0f} s, which was not enough for all of it"
    return [Finding(check, Verdict.OK, detail)]


def _form(path: Path) -> list[Finding]:
    from fleetkey.broker import check_broker_database  # noqa: PLC0415 - slow to import; only needed if there is one

    try:
        check_broker_database(path)
    except sqlite3.Error as error:
        return [Finding("broker store", Verdict.FAILED, f"{path} can't be used: {error}", UPGRADE)]
    return [Finding("broker store", Verdict.OK, f"{path} is whole")]
