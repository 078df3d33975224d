"""The limit on open files, and how it is divided.

Each connection is an open file, and so are the registry, the log and a request to your API. A process that has none
left can't even open its database, so clients get only what nothing else needs.
"""

from __future__ import annotations

import re
import resource
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fleetkey.operations.errors import TooFewFilesError

if TYPE_CHECKING:
    from fleetkey.config import Settings

__all__ = ["FilePlan", "open_file_limit", "plan_files", "raise_open_file_limit"]

RESERVED_FILES = 128
"""Reserved for the stores, the log, certificates, imports and the listeners themselves."""
FILES_PER_WEBHOOK = 2
"""One for a request, and one for the previous connection, which is about to close."""
MIN_CLIENT_FILES = 64
"""With fewer left for clients, starting is pointless."""
HTTP_SHARE = 8
"""If there are too few, at least one in this many is for HTTP, which serves registration and health checks."""
HTTP_ADDRESS_SHARE = 4
"""One address then gets at most one in this many of those, so that some are left for others."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FilePlan:
    """How many open files each purpose may have under a limit: as in the settings, if the limit is high enough."""

    limit: int
    wanted: int
    """How many files the settings need in total."""
    reserve: int
    """How many files clients never get."""
    mqtt_connections: int
    mqtt_pending: int
    mqtt_pending_per_address: int
    http_connections: int

    @property
    def is_lowered(self) -> bool:
        """Whether clients get fewer than the settings allow."""
        return self.wanted > self.limit

    def applied_to(self, settings: Settings) -> Settings:
        """Return the settings with the effective bounds, which are unchanged if the limit is high enough."""
        if not self.is_lowered:
            return settings
        mqtt = {
            "max_connections": self.mqtt_connections,
            "max_pending_connections": self.mqtt_pending,
            "max_pending_per_address": self.mqtt_pending_per_address,
        }
        http = {"max_connections": self.http_connections}
        # Only if HTTP gets fewer connections than the settings allow.
        if settings.http.max_connections_per_address and self.http_connections < settings.http.max_connections:
            share = max(1, self.http_connections // HTTP_ADDRESS_SHARE)
            http["max_connections_per_address"] = min(settings.http.max_connections_per_address, share)
        return settings.model_copy(
            update={"mqtt": settings.mqtt.model_copy(update=mqtt), "http": settings.http.model_copy(update=http)}
        )


def open_file_limit(pid: int | None = None) -> int | None:
    """Return a process's hard limit on open files; None if there is no limit, or if it can't be determined.

    Args:
        pid: another process; by default this one.
    """
    if pid is None:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        return None if hard == resource.RLIM_INFINITY else hard
    try:
        limits = Path(f"/proc/{pid}/limits").read_text()
    except OSError:
        return None
    found = re.search(r"^Max open files\s+\d+\s+(\d+)", limits, re.MULTILINE)
    return int(found[1]) if found else None


def raise_open_file_limit(wanted: int) -> int:
    """Raise this process's limit as far as needed and allowed; return the new limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted if soft == resource.RLIM_INFINITY else soft
    target = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
    except (OSError, ValueError):
        # Some systems have a lower, undocumented limit.
        return soft
    return target


def plan_files(settings: Settings, limit: int | None = None) -> FilePlan:
    """Divide the open files under a limit; without a limit, return what the settings need.

    Raises:
        TooFewFilesError: so few are left for clients that starting is pointless.
    """
    mqtt, http = settings.mqtt, settings.http
    verifier = settings.registration.http.max_concurrent if "http" in settings.registration.verifiers else 0
    reserve = RESERVED_FILES + verifier + FILES_PER_WEBHOOK * len(settings.webhooks)
    # A handshake is counted separately from the connection that follows.
    http_each = 2 if http.tls_cert is not None else 1
    is_tls = mqtt.tls_cert is not None
    pending = min(mqtt.max_pending_connections, mqtt.max_connections)
    for_mqtt = mqtt.max_connections + (pending if is_tls else 0)
    wanted = reserve + for_mqtt + http_each * http.max_connections
    limit = wanted if limit is None else limit
    room = limit - reserve
    if room < MIN_CLIENT_FILES:
        raise TooFewFilesError(limit=limit, least=reserve + MIN_CLIENT_FILES, wanted=wanted)
    if wanted <= limit:
        connections, http_connections, per_address = mqtt.max_connections, http.max_connections, None
        pending = mqtt.max_pending_connections
    else:
        share = max(http.max_connections * room // (wanted - reserve), room // HTTP_SHARE // http_each)
        http_connections = min(http.max_connections, share)
        for_mqtt_now = min(room - http_each * http_connections, for_mqtt)
        connections = max(1, mqtt.max_connections * for_mqtt_now // for_mqtt)
        pending = max(1, pending * for_mqtt_now // for_mqtt)
        per_address = max(1, mqtt.max_pending_per_address * for_mqtt_now // for_mqtt)
    return FilePlan(
        limit=limit,
        wanted=wanted,
        reserve=reserve,
        mqtt_connections=connections,
        mqtt_pending=pending,
        # 0 means no limit, and stays so.
        mqtt_pending_per_address=min(mqtt.max_pending_per_address, per_address or mqtt.max_pending_per_address),
        http_connections=http_connections,
    )
