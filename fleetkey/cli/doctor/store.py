"""Whether the registry can be used, and what it says about the clock, backups and webhooks."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from fleetkey.cli.doctor.findings import Finding, Verdict
from fleetkey.cli.doctor.permissions import private_store
from fleetkey.registry import AuditFilter, StoreError, SystemTime, open_store, store_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fleetkey.config import Settings
    from fleetkey.registry import ClockMark
    from fleetkey.registry.store import AuditReader, WebhookReader

__all__ = ["store"]

EARLIEST = datetime(2024, 1, 1, tzinfo=UTC).timestamp()
"""The system's clock is certainly wrong before this date."""
CLOCK_SLACK_SECONDS = 300
"""How far in the future the newest audit entry may be."""


def store(settings: Settings) -> Iterator[Finding]:
    """Open the registry, and check what depends on it. One that doesn't exist yet is fine if it can be created."""
    try:
        path = store_path(settings)
        if not path.exists():
            parent = next(folder for folder in path.absolute().parents if folder.exists())
            if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
                advice = "Choose another folder with --data-dir."
                yield Finding("store", Verdict.FAILED, f"{path} can't be created in {parent}", advice)
                return
            yield Finding("store", Verdict.OK, f"none yet; `fleetkey serve` will create {path} (in {parent})")
            yield _clock(None, None)
            return
        registry = open_store(settings)
    except StoreError as error:
        yield Finding(
            "store", Verdict.FAILED, str(error), "Choose another folder with --data-dir, or restore the file."
        )
        return
    try:
        newest = registry.last_audit(1)
        devices, serials, keys = registry.count_devices(), registry.count_serials(), registry.count_keys()
        yield Finding("store", Verdict.OK, f"{path}: {devices} devices, {serials} listed serials, {keys} keys")
        yield _clock(newest[-1].at / 1000 if newest else None, registry.clock_mark())
        yield from _backup_age(settings, registry)
        yield from _webhook_progress(settings, registry)
    except StoreError as error:
        yield Finding("store", Verdict.FAILED, str(error), "Restore the file from a backup.")
    finally:
        registry.close()
    yield from private_store(path)


def _clock(newest_audit: float | None, mark: ClockMark | None) -> Finding:
    now = time.time()
    if now < EARLIEST:
        return Finding("clock", Verdict.FAILED, "the clock is years behind", "Set the clock: keys expire by it.")
    if newest_audit is not None and newest_audit > now + CLOCK_SLACK_SECONDS:
        detail = "the registry's newest entry is in the future"
        return Finding(
            "clock", Verdict.WARNING, detail, "Set the clock and synchronize it with NTP: keys expire by it."
        )
    if mark is not None and (jump := mark.jump_seconds(SystemTime())):
        how_far = f"{timedelta(seconds=round(abs(jump)))} {'ahead of' if jump > 0 else 'behind'}"
        detail = f"the clock is {how_far} the time that the server keeps, or recorded when it stopped"
        advice = "Set it if it is wrong. The server adopts the new time once the clock has run steadily for 10 minutes."
        return Finding("clock", Verdict.WARNING, detail, advice)
    return Finding("clock", Verdict.OK, datetime.now(UTC).isoformat(timespec="seconds"))


def _backup_age(settings: Settings, audit: AuditReader) -> Iterator[Finding]:
    """Check the age of the newest backup, if `[store] backup_days` is set."""
    days = settings.store.backup_days
    if not days:
        return
    made = audit.last_audit(1, AuditFilter(action="backup_made"))
    if not made:
        yield Finding("backup", Verdict.WARNING, "the audit log records none", "Run: fleetkey backup FILE")
        return
    at = datetime.fromtimestamp(made[-1].at / 1000, UTC)
    detail = f"the newest was made at {at.isoformat(timespec='seconds')}"
    if datetime.now(UTC) - at > timedelta(days=days):
        advice = "Run: fleetkey backup FILE, and find out why the scheduled backups stopped."
        yield Finding("backup", Verdict.WARNING, detail, advice)
    else:
        yield Finding("backup", Verdict.OK, detail)


def _webhook_progress(settings: Settings, webhooks: WebhookReader) -> Iterator[Finding]:
    """Warn of events that webhooks did not deliver."""
    for state in webhooks.webhook_states():
        if state.name not in settings.webhooks:
            continue
        check = f"hook {state.name}"
        if state.missed or state.given_up:
            detail = f"{state.given_up} events could not be delivered, {state.missed} changes were missed"
            advice = "Compare the receiver's fleet with `fleetkey devices list --json`, and correct the receiver's."
            yield Finding(check, Verdict.WARNING, detail, advice)
        if state.last_error:
            yield Finding(check, Verdict.WARNING, f"the last request failed: {state.last_error}", "Fix the receiver.")
