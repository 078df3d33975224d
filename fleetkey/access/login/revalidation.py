"""Revalidate principals in use after a change that may affect them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from fleetkey.registry import KeyKind, RefusalReason, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from fleetkey.access.decisions.principal import Principal
    from fleetkey.access.decisions.scope import TopicScope
    from fleetkey.access.login.verification import RescopedApplication, Verification, VerifiedLogin
    from fleetkey.registry import ApplicationScope

__all__ = ["Revalidation"]

log = structlog.get_logger(__name__)

MAX_CHANGED_DEVICES = 10_000
"""Changed devices that are followed one by one in each scope; beyond it, all applications are revalidated."""
REVALIDATION_BATCH = 500
"""Device keys that are revalidated in one call of a thread; an application key gets a call of its own."""


class Revalidation:
    """Keys that wait to be revalidated, each at most once, so never more than there are principals in use.

    Application keys go first: one decision covers the changes of many devices, and it doesn't wait behind the devices'
    own. Belongs to one event loop.

    Args:
        verification: decides; its calls block.
        applications: returns the applications in use whose scope depends on devices.
        on_decided: called on the event loop with each key and the decision. A key that can't be decided is refused.
        on_followed: called on the event loop with each application whose scope changes as devices do.
    """

    def __init__(
        self,
        verification: Verification,
        applications: Callable[[], Sequence[Principal]],
        on_decided: Callable[[str, VerifiedLogin | RefusalReason], None],
        on_followed: Callable[[Principal, RescopedApplication], None],
    ) -> None:
        self._verification = verification
        self._applications = applications
        self._on_decided = on_decided
        self._on_followed = on_followed
        self._changed_devices: dict[str, None] = {}
        self._application_keys: dict[str, None] = {}
        self._device_keys: dict[str, None] = {}
        self._task: asyncio.Task[None] | None = None

    def schedule(self, principals: Iterable[Principal]) -> None:
        """Schedule principals to be revalidated against what is committed by then."""
        for principal in principals:
            waiting = self._application_keys if principal.kind is KeyKind.APPLICATION else self._device_keys
            waiting[principal.key] = None
        self._start()

    def schedule_for_devices(self, device_ids: Iterable[str]) -> None:
        """Schedule the applications whose scope may change because these devices were tagged or deleted."""
        self._changed_devices.update(dict.fromkeys(device_ids))
        if len(self._changed_devices) > MAX_CHANGED_DEVICES:
            self._changed_devices.clear()
            self.schedule(self._applications())
        self._start()

    async def close(self) -> None:
        """Stop, and drop what waits."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def _start(self) -> None:
        is_idle = self._task is None or self._task.done()
        if is_idle and (self._changed_devices or self._application_keys or self._device_keys):
            self._task = asyncio.get_running_loop().create_task(self._run(), name="fleetkey-revalidation")

    async def _run(self) -> None:
        while self._changed_devices or self._application_keys or self._device_keys:
            if self._changed_devices:
                await self._follow(_take(self._changed_devices, MAX_CHANGED_DEVICES))
            keys = _take(self._application_keys, 1) or _take(self._device_keys, REVALIDATION_BATCH)
            for key, found in await asyncio.to_thread(self._decide, keys) if keys else ():
                try:
                    self._on_decided(key, found)
                except Exception:
                    # A failing listener must not keep the other keys from being decided.
                    log.exception("recheck_failed", key=key)

    async def _follow(self, device_ids: Sequence[str]) -> None:
        """Change the scopes of applications as devices changed; revalidate those for which that can't be done."""
        applications = self._applications()
        before = [one.scope for one in applications]
        reaches = [(one.reach, one.scope) for one in applications]
        for one, scope, found in zip(
            applications, before, await asyncio.to_thread(self._followed, reaches, device_ids), strict=True
        ):
            if one.scope is not scope or isinstance(found, RefusalReason):
                # It logged in meanwhile, or isn't valid any more.
                self.schedule([one])
            elif found is not None:
                try:
                    self._on_followed(one, found)
                except Exception:
                    # A failing listener must not keep the others from following.
                    log.exception("recheck_failed", key=one.key)

    def _followed(
        self, applications: Sequence[tuple[ApplicationScope | None, TopicScope]], device_ids: Sequence[str]
    ) -> Sequence[RescopedApplication | RefusalReason | None]:
        try:
            return self._verification.follow_devices(applications, device_ids)
        except StoreError:
            # Fail closed: revalidate all of them, which also logs what is wrong.
            return [RefusalReason.STORE_UNAVAILABLE] * len(applications)
        except Exception:
            log.exception("recheck_failed", devices=len(device_ids))
            return [RefusalReason.STORE_UNAVAILABLE] * len(applications)

    def _decide(self, keys: Sequence[str]) -> list[tuple[str, VerifiedLogin | RefusalReason]]:
        return [(key, self._decide_one(key)) for key in keys]

    def _decide_one(self, key: str) -> VerifiedLogin | RefusalReason:
        # Fail closed: a key that can't be shown to be valid isn't, whatever went wrong.
        try:
            return self._verification.revalidate(key)
        except StoreError as error:
            log.error("registry_unreadable", error=str(error))  # noqa: TRY400 - the message says it all
        except Exception:
            log.exception("recheck_failed", key=key)
        return RefusalReason.STORE_UNAVAILABLE


def _take(waiting: dict[str, None], count: int) -> list[str]:
    """Remove and return the entries that have waited longest."""
    taken = [key for key, _ in zip(waiting, range(count), strict=False)]
    for key in taken:
        del waiting[key]
    return taken
