"""Writing refusals into the audit, without what waits for the registry holding up anything else."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from fleetkey.access import HashPool, HashPoolFullError
from fleetkey.registry import StoreError

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleetkey.registry import AuditEntry

__all__ = ["RefusalAudit"]

log = structlog.get_logger(__name__)

MAX_WAITING_ENTRIES = 200
"""Entries that wait to be written at once; further ones are in the log alone."""
PATIENCE_SECONDS = 2.0
"""How long a refusal waits for its entry; it is written all the same when the registry can be written again."""


class RefusalAudit:
    """Records refusals in a thread of its own: a registry that is held by another process stalls no login with it.

    Args:
        record: writes an entry; blocks.
    """

    def __init__(self, record: Callable[[AuditEntry], None]) -> None:
        self._record = record
        self._pool = HashPool(workers=1, max_pending=MAX_WAITING_ENTRIES)

    async def note(self, entry: AuditEntry) -> None:
        """Record a refusal. When that fails, or takes long, the log says so and the refusal stands."""
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._pool.run(self._record, entry)
        except TimeoutError:
            log.warning("audit_late", action=entry.action, reason=entry.reason)
        except (HashPoolFullError, StoreError) as error:
            log.error("audit_failed", error=str(error))  # noqa: TRY400 - the message is the whole story

    async def close(self) -> None:
        """Write what is being written, and drop what waits."""
        await asyncio.to_thread(self._pool.close)
