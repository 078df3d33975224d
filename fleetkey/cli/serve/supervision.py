"""Work in the background that must not end while the server runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["kept_running"]

log = structlog.get_logger(__name__)

RESTART_SECONDS = 1.0
"""Before work that broke begins again."""


async def kept_running(name: str, work: Callable[[], Awaitable[None]]) -> None:
    """Run work until it is cancelled; when it breaks, say so and begin again after `RESTART_SECONDS`.

    Keys that end and owners that are gone are found by such work: if it stopped without a word, they would stay.
    """
    while True:
        try:
            await work()
        except Exception:
            log.exception("background_work_failed", work=name)
        await asyncio.sleep(RESTART_SECONDS)
