"""Whether this machine has what a server needs: disk space and open files."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from fleetkey.cli.doctor.findings import Finding, Verdict
from fleetkey.operations import TooFewFilesError, open_file_limit, plan_files, serving_pid
from fleetkey.registry import store_path

if TYPE_CHECKING:
    from pathlib import Path

    from fleetkey.config import Settings

__all__ = ["disk_space", "open_files"]

MIN_FREE_BYTES = 100 * 1024 * 1024
"""Free disk space below which the check fails."""
LOW_FREE_BYTES = 1024 * 1024 * 1024
"""Free disk space below which the check warns."""
MIB = 1024 * 1024


def disk_space(data_dir: Path) -> Finding:
    """Check how much disk space is left for the registry."""
    folder = next(folder for folder in (data_dir.absolute(), *data_dir.absolute().parents) if folder.exists())
    free = shutil.disk_usage(folder).free
    detail = f"{free // MIB:,} MiB free for {data_dir}"
    advice = "Free some space: on a full disk nothing can register, and messages that must be stored are not accepted."
    if free < MIN_FREE_BYTES:
        return Finding("disk", Verdict.FAILED, detail, advice)
    return (
        Finding("disk", Verdict.WARNING, detail, advice)
        if free < LOW_FREE_BYTES
        else Finding("disk", Verdict.OK, detail)
    )


def open_files(settings: Settings) -> Finding:
    """Check that the running server, or one started from here, may open as many files as its settings need."""
    pid = serving_pid(store_path(settings))
    limit = open_file_limit(pid)
    whose = "the running server" if pid is not None else "a server started from here"
    try:
        plan = plan_files(settings, limit)
    except TooFewFilesError as error:
        return Finding("open files", Verdict.FAILED, f"{whose} can't run: {error}", "Raise the limit and restart.")
    if not plan.is_lowered:
        may = "any number" if limit is None else f"{limit:,}"
        return Finding("open files", Verdict.OK, f"{whose} may open {may}; the settings need {plan.wanted:,}")
    detail = (
        f"{whose} may open {plan.limit:,}, the settings need {plan.wanted:,}: it accepts {plan.mqtt_connections:,} "
        f"MQTT and {plan.http_connections:,} HTTP connections instead of {settings.mqtt.max_connections:,} and "
        f"{settings.http.max_connections:,}"
    )
    advice = (
        f"Raise it with `ulimit -n {plan.wanted}`, or LimitNOFILE={plan.wanted} in the unit, and restart, or lower "
        "mqtt.max_connections and http.max_connections."
    )
    return Finding("open files", Verdict.WARNING, detail, advice)
