"""Deciding again about principals in use, after something was changed that they may depend on."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from fleetkey.access.login.outcome import Refusal
from fleetkey.registry import KeyKind, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from fleetkey.access.decisions.principal import Principal
    from fleetkey.access.login.verification import Verification, Verified

__all__ = ["Revalidation"]

log = structlog.get_logger(__name__)

MAX_MOVED = 10_000
"""Devices whose tags changed that are held against the applications one by one; beyond it all of these are decided."""
REVALIDATION_BATCH = 500
"""Devices' keys that are decided again in one call of a thread; an application's key has a call of its own."""


class Revalidation:
    """Keys that wait to be decided again, each once: never more than there are principals in use.

    Application keys come first, each time: what many devices' changes mean for one of them is decided once, and it
    doesn't wait behind the devices themselves. Lives on one event loop.

    Args:
        verification: decides; blocks.
        followers: returns the applications in use whose scope comes from the devices.
        on_decided: told of each key and what was found, on the event loop. What could not be decided is a refusal.
    """

    def __init__(
        self,
        verification: Verification,
        followers: Callable[[], Sequence[Principal]],
        on_decided: Callable[[str, Verified | Refusal], None],
    ) -> None:
        self._verification = verification
        self._followers = followers
        self._on_decided = on_decided
        self._moved: dict[str, None] = {}
        self._applications: dict[str, None] = {}
        self._devices: dict[str, None] = {}
        self._task: asyncio.Task[None] | None = None

    def ask(self, principals: Iterable[Principal]) -> None:
        """Have principals decided again, from what is committed now or later."""
        for principal in principals:
            waiting = self._applications if principal.kind is KeyKind.APPLICATION else self._devices
            waiting[principal.key] = None
        self._begin()

    def ask_about(self, device_ids: Iterable[str]) -> None:
        """Have those applications decided again whose scope these devices may change, for their tags, or as gone."""
        self._moved.update(dict.fromkeys(device_ids))
        if len(self._moved) > MAX_MOVED:
            self._moved.clear()
            self.ask(self._followers())
        self._begin()

    async def close(self) -> None:
        """Stop; what waits is not decided any more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _begin(self) -> None:
        is_idle = self._task is None or self._task.done()
        if is_idle and (self._moved or self._applications or self._devices):
            self._task = asyncio.get_running_loop().create_task(self._run(), name="fleetkey-rechecks")

    async def _run(self) -> None:
        while self._moved or self._applications or self._devices:
            if self._moved:
                device_ids = _take(self._moved, MAX_MOVED)
                followers = self._followers()
                has_moved = await asyncio.to_thread(self._have_moved, followers, device_ids)
                self.ask(one for one, moved in zip(followers, has_moved, strict=True) if moved)
            keys = _take(self._applications, 1) or _take(self._devices, REVALIDATION_BATCH)
            for key, found in await asyncio.to_thread(self._decide, keys) if keys else ():
                try:
                    self._on_decided(key, found)
                except Exception:
                    # Who is told of one key must not keep the others from being decided.
                    log.exception("recheck_failed", key=key)

    def _have_moved(self, followers: Sequence[Principal], device_ids: Sequence[str]) -> list[bool]:
        try:
            return self._verification.moved([one.reach for one in followers], device_ids)
        except StoreError:
            # Fail closed: all of them are decided again, and that says what is wrong.
            return [True] * len(followers)
        except Exception:
            log.exception("recheck_failed", devices=len(device_ids))
            return [True] * len(followers)

    def _decide(self, keys: Sequence[str]) -> list[tuple[str, Verified | Refusal]]:
        return [(key, self._decide_one(key)) for key in keys]

    def _decide_one(self, key: str) -> Verified | Refusal:
        # Fail closed: what can't be shown to be valid is not, whatever went wrong.
        try:
            return self._verification.recheck(key)
        except StoreError as error:
            log.error("registry_unreadable", error=str(error))  # noqa: TRY400 - the message is the whole story
        except Exception:
            log.exception("recheck_failed", key=key)
        return Refusal.STORE_UNAVAILABLE


def _take(waiting: dict[str, None], count: int) -> list[str]:
    """Take out the keys that have waited longest."""
    taken = [key for key, _ in zip(waiting, range(count), strict=False)]
    for key in taken:
        del waiting[key]
    return taken
