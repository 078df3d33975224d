"""Adapting the limits on connections to the limit on open files, before anything is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from fleetkey.cli.errors import CommandError
from fleetkey.operations import TooFewFilesError, plan_files, raise_open_file_limit

if TYPE_CHECKING:
    from fleetkey.config import Settings
    from fleetkey.operations import FilePlan

__all__ = ["fit_to_open_files", "log_lowered"]

log = structlog.get_logger(__name__)


def fit_to_open_files(settings: Settings) -> FilePlan:
    """Raise the process's limit as far as the settings need, and plan the connections that fit under it.

    Raises:
        CommandError: the limit is too low for any server.
    """
    try:
        return plan_files(settings, raise_open_file_limit(plan_files(settings).wanted))
    except TooFewFilesError as error:
        raise CommandError(str(error)) from None


def log_lowered(files: FilePlan) -> None:
    """Log it if fewer connections are possible than the settings allow, and what to do about it."""
    if not files.is_lowered:
        return
    log.warning(
        "open_file_limit_low",
        limit=files.limit,
        needed=files.wanted,
        mqtt_max_connections=files.mqtt_connections,
        mqtt_max_pending_connections=files.mqtt_pending,
        http_max_connections=files.http_connections,
        advice=f"raise the limit: `ulimit -n {files.wanted}`, or LimitNOFILE={files.wanted}; or lower these settings",
    )
