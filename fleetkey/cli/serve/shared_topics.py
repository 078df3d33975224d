"""Says at start if devices share topics and the settings don't say that they are meant to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from fleetkey.access import SharingKind, find_sharing

if TYPE_CHECKING:
    from fleetkey.config import Settings

__all__ = ["log_shared_topics"]

log = structlog.get_logger(__name__)

MAX_LOGGED = 5
"""How many pairs of patterns the line names, of each kind."""


def log_shared_topics(settings: Settings) -> None:
    """Log it once if the topic patterns don't isolate devices from each other, with what follows and what to do."""
    found = [sharing for sharing in find_sharing(settings.topics, settings.profiles) if not sharing.is_meant]
    heard = [f"{one.first} -> {one.second}" for one in found if one.kind is SharingKind.HEARD]
    impersonated = [
        one.first if one.first == one.second else f"{one.first}, {one.second}"
        for one in found
        if one.kind is SharingKind.IMPERSONATED
    ]
    if not heard and not impersonated:
        return
    log.warning(
        "topics_shared",
        heard=heard[:MAX_LOGGED],
        impersonated=impersonated[:MAX_LOGGED],
        meaning="devices can read each other's messages and send each other commands"
        if heard
        else "a device can publish in another's name",
        advice="put {device_id} into these patterns; if devices are meant to share topics, set [topics] shared = true",
    )
