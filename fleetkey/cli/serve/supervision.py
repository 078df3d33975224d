"""Background work that must not stop while the server runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["kept_running"]

log = structlog.get_logger(__name__)

RESTART_SECONDS = 1.0
"""Delay before failed work is restarted."""


async def kept_running(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run work until cancelled; if it fails, log that and restart it after `RESTART_SECONDS`.

    Such work retires expired keys and cleans up after deleted devices: if it silently stopped, they would stay.
    """
    while True:
        try:
            await work()
        except Exception:
            log.exception("background_work_failed", work=name)
        await asyncio.sleep(RESTART_SECONDS)
