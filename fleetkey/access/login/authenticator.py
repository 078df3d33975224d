"""The one place where a CONNECT becomes a principal, and where a principal stops being one."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import structlog

from fleetkey.access.decisions.principal import Principal
from fleetkey.access.errors import OverloadedError
from fleetkey.access.login.outcome import Granted, Refusal, Refused
from fleetkey.access.login.principal_index import PrincipalIndex
from fleetkey.access.login.revalidation import Revalidation
from fleetkey.access.login.verification import KEY_SHAPE, Verified, check_claims
from fleetkey.access.protection.fair_queue import FairQueue
from fleetkey.access.protection.rate_limits import ExponentialBackoff, RateLimiter, address_bucket
from fleetkey.access.protection.refusal_timing import RefusalTiming
from fleetkey.registry import ChangeKind, StoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from fleetkey.access.login.credential_cache import CredentialCache
    from fleetkey.access.login.outcome import ConnectAttempt
    from fleetkey.access.login.verification import Verification
    from fleetkey.access.worker_pool import WorkerPool
    from fleetkey.registry import Change

__all__ = ["Authenticator"]

log = structlog.get_logger(__name__)

NOT_THE_CLIENTS_FAULT = frozenset({Refusal.OVERLOADED, Refusal.STORE_UNAVAILABLE})
FIRST_DELAY_SECONDS = 0.1
"""How long the first refusal over a limit of failures waits; each further one waits twice as long."""
MAX_DELAY_SECONDS = 5.0
MAX_TURN_SECONDS = 5.0
"""How long an attempt over a limit waits for its turn, so that its CONNACK comes in time."""
MAX_DELAYED = 1_000
"""Refusals that wait at once; further ones are answered at once."""
MAX_STALE_RETRIES = 3
HARMLESS = frozenset(
    {
        ChangeKind.DEVICE_APPROVED,
        ChangeKind.DEVICE_CREATED,
        ChangeKind.DEVICE_DESCRIBED,
        ChangeKind.DEVICE_ENABLED,
        ChangeKind.DEVICE_PENDING,
        ChangeKind.KEY_CONNECTED,
        ChangeKind.KEY_ISSUED,
    }
)
"""Changes that take nothing away from anyone."""


class _InFlight:
    """A verification that runs in a thread while changes may be committed."""

    __slots__ = ("is_stale", "key")

    def __init__(self, key: str) -> None:
        self.key = key
        self.is_stale = False


class Authenticator:
    """Decides who may connect, remembers whom it verified, and forgets them when the registry changes.

    Lives on one event loop; `apply` and `authenticate` are called there. It knows no broker: whoever keeps connections
    asks to be told of revocations with `on_revoked`.
    """

    def __init__(
        self,
        verification: Verification,
        pool: WorkerPool,
        verified: CredentialCache,
        failures: RateLimiter,
        key_failures: RateLimiter | None = None,
    ) -> None:
        self._verification = verification
        self._pool = pool
        self._verified = verified
        self._failures = failures
        self._key_failures = (
            key_failures if key_failures is not None else RateLimiter(limit=0, window_seconds=60, max_tracked=1)
        )
        self._delays = ExponentialBackoff(
            first_seconds=FIRST_DELAY_SECONDS, most_seconds=MAX_DELAY_SECONDS, max_tracked=failures.max_tracked
        )
        self._delayed = 0
        self._timing = RefusalTiming()
        self._index = PrincipalIndex()
        self.counts: Counter[str] = Counter()
        """Decided CONNECTs by outcome: `remembered`, `verified`, or the reason of the refusal."""
        self._in_flight: set[_InFlight] = set()
        self._queue = FairQueue()
        self._listeners: list[Callable[[Principal], None]] = []
        self._rescope_listeners: list[Callable[[], None]] = []
        self._ending_listeners: list[Callable[[str], None]] = []
        self._reset_listeners: list[Callable[[], None]] = []
        self._revalidation = Revalidation(verification, self._followers, self._on_rechecked)

    async def authenticate(self, attempt: ConnectAttempt) -> Granted | Refused:
        """Decide one CONNECT: `recall`, and if that says nothing, `verify`."""
        return self.recall(attempt) or await self.verify(attempt)

    async def verify(self, attempt: ConnectAttempt) -> Granted | Refused:
        """Decide one CONNECT in the pool. Never raises for anything that a client can send.

        Every refusal costs the same and leaves at a time that its reason has no part in.
        """
        came_at = self._timing.now()
        bucket, key = address_bucket(attempt.address), attempt.username or ""
        limited = self._limited(bucket, key)
        outcome = await (self._check(attempt) if limited is None else self._in_turn(attempt, limited))
        if isinstance(outcome, Refused):
            self.counts[outcome.reason.value] += 1
            self._note_refusal(attempt, outcome, bucket, is_limited=limited is not None)
            await self._delay(outcome, bucket, key)
            if outcome.reason not in NOT_THE_CLIENTS_FAULT:
                await self._timing.wait(came_at)
        else:
            self.counts["verified"] += 1
        return outcome

    def _limited(self, bucket: str, key: str) -> str | None:
        """Return what of an attempt is over its limit of failures: its address, or if that is not, its key."""
        if self._failures.wait_seconds(bucket):
            return f"address {bucket}"
        return f"key {key}" if self._key_failures.wait_seconds(key) else None

    def _note_refusal(self, attempt: ConnectAttempt, outcome: Refused, bucket: str, *, is_limited: bool) -> None:
        if outcome.reason not in NOT_THE_CLIENTS_FAULT:
            self._failures.count(bucket)
            # What can't be a key isn't remembered: it may be as long as a packet.
            if attempt.username and KEY_SHAPE.match(attempt.username):
                self._key_failures.count(attempt.username)
        if is_limited:
            # A flood must not become a flood of log lines; the line that said the limit was reached stands for it.
            return
        log.info("login_refused", reason=outcome.reason.value, address=attempt.address, code=outcome.return_code)
        if self._failures.wait_seconds(bucket):
            log.warning("login_failures_limited", address=bucket)

    async def _delay(self, refused: Refused, bucket: str, key: str) -> None:
        """Let a refusal over a limit wait, twice as long each time; a good key waits for nothing of this."""
        delay = 0.0
        for limiter, kind, name in ((self._failures, "address", bucket), (self._key_failures, "key", key)):
            if refused.reason not in NOT_THE_CLIENTS_FAULT and limiter.wait_seconds(name):
                delay = max(delay, self._delays.next_seconds(f"{kind} {name}"))
            else:
                self._delays.reset(f"{kind} {name}")
        if not delay or self._delayed >= MAX_DELAYED:
            return
        self._delayed += 1
        try:
            await asyncio.sleep(delay)
        finally:
            self._delayed -= 1

    def recall(self, attempt: ConnectAttempt) -> Granted | None:
        """Decide at once, without hashing or the registry, if the secret was verified lately; None: use `verify`."""
        if attempt.username is None or attempt.password is None:
            return None
        principal = self._verified.find(attempt.username, attempt.password)
        if (
            principal is None
            or self._verification.is_over(principal.expires_at)
            or check_claims(attempt, device_id=principal.device_id, scope=principal.scope, sources=principal.sources)
        ):
            return None
        self.counts["remembered"] += 1
        return Granted(principal)

    def on_revoked(self, callback: Callable[[Principal], None]) -> None:
        """Tell `callback`, on the event loop, of each principal that stops being valid."""
        self._listeners.append(callback)

    def on_rescoped(self, callback: Callable[[], None]) -> None:
        """Tell `callback`, on the event loop, when a principal in use reaches other topics than before."""
        self._rescope_listeners.append(callback)

    def on_ended(self, callback: Callable[[str], None]) -> None:
        """Tell `callback`, on the event loop, of owners that won't come back, connected or not.

        It gets the id of each device that is deleted, and each application key that is retired.
        """
        self._ending_listeners.append(callback)

    def on_reset(self, callback: Callable[[], None]) -> None:
        """Tell `callback`, on the event loop, when changes were missed, so that anything may have ended."""
        self._reset_listeners.append(callback)

    def apply(self, changes: Sequence[Change]) -> None:
        """Take in committed changes: forget, revoke or look again. Call on the event loop."""
        moved: dict[str, None] = {}
        for change in changes:
            self._mark_stale(change)
            match change.kind:
                case ChangeKind.KEY_RETIRED if change.key is not None:
                    self._revoke(self._index.by_key(change.key), change.key, change.kind)
                    if change.device_id is None:
                        self._end(change.key)
                case ChangeKind.DEVICE_REJECTED | ChangeKind.DEVICE_DISABLED | ChangeKind.DEVICE_DELETED if (
                    change.device_id is not None
                ):
                    for principal in self._index.of_device(change.device_id):
                        self._revoke(principal, principal.key, change.kind)
                    if change.kind is ChangeKind.DEVICE_DELETED:
                        self._end(change.device_id)
                        # Another device may come to have its serial, and so its topics.
                        moved[change.device_id] = None
                case ChangeKind.KEY_EXPIRING if change.key is not None:
                    self._verified.forget(change.key)
                    self._revalidation.ask(filter(None, [self._index.by_key(change.key)]))
                case ChangeKind.DEVICE_TAGGED if change.device_id is not None:
                    tagged = self._index.of_device(change.device_id)
                    self._revalidation.ask(principal for principal in tagged if principal.follows_devices)
                    moved[change.device_id] = None
                case ChangeKind.RESET:
                    self._verified.clear()
                    self._revalidation.ask(self._index.all())
                    for listener in self._reset_listeners:
                        listener()
                case _:
                    pass
        if moved:
            self._revalidation.ask_about(moved)

    async def close(self) -> None:
        """Stop looking again; the pool and the store belong to whoever made them."""
        self._timing.close()
        await self._revalidation.close()

    async def _in_turn(self, attempt: ConnectAttempt, limited: str) -> Granted | Refused:
        """Check an attempt that is over a limit: one of them at a time, so they can't keep the pool busy.

        A good key gets in from there, too, only later; what an address sends keeps no other waiting.
        """
        try:
            async with asyncio.timeout(MAX_TURN_SECONDS) as patience, self._queue.of(limited):
                patience.reschedule(None)
                return await self._check(attempt)
        except (OverloadedError, TimeoutError):
            return Refused(Refusal.OVERLOADED)

    async def _check(self, attempt: ConnectAttempt) -> Granted | Refused:
        flight = _InFlight(attempt.username or "")
        self._in_flight.add(flight)
        try:
            found = await self._pool.run(self._verification.verify, attempt)
            for _ in range(MAX_STALE_RETRIES):
                if isinstance(found, Refusal):
                    return Refused(found)
                if not flight.is_stale:
                    return Granted(self._take_in(found, attempt.password or b""))
                # Something was committed about this key while it was checked: the secret is right, but is the rest?
                flight.is_stale = False
                found = await self._pool.run(self._verification.recheck, found.login.key)
            return Refused(Refusal.OVERLOADED)
        except OverloadedError:
            return Refused(Refusal.OVERLOADED)
        except StoreError as error:
            log.error("registry_unreadable", error=str(error))  # noqa: TRY400 - the message is the whole story
            return Refused(Refusal.STORE_UNAVAILABLE)
        finally:
            self._in_flight.discard(flight)

    def _take_in(self, found: Verified, password: bytes) -> Principal:
        """Return the key's principal, one for all its connections, and remember the secret."""
        login = found.login
        principal = self._index.by_key(login.key)
        if principal is None or principal.is_revoked:
            principal = Principal(
                key=login.key,
                kind=login.kind,
                device_id=login.device_id,
                name=login.name,
                scope=found.scope,
                sources=found.sources,
                follows_devices=found.follows_devices,
            )
            principal.reach = found.reach
            self._index.add(principal)
        else:
            self._rescope(principal, found)
        principal.expires_at = login.expires_at
        self._verified.remember(principal, password)
        return principal

    def _rescope(self, principal: Principal, found: Verified) -> None:
        principal.reach = found.reach
        scope = found.scope
        if (scope.publish, scope.subscribe) == (principal.scope.publish, principal.scope.subscribe):
            return
        principal.scope = scope
        for listener in self._rescope_listeners:
            listener()

    def _mark_stale(self, change: Change) -> None:
        if change.kind in HARMLESS:
            return
        for flight in self._in_flight:
            # The device of a flight isn't known yet, so a change to any device makes it look again; that is a read.
            if change.key in {None, flight.key}:
                flight.is_stale = True

    def _revoke(self, principal: Principal | None, key: str, because: ChangeKind) -> None:
        self._verified.forget(key)
        if principal is None or principal.is_revoked:
            return
        principal.is_revoked = True
        principal.revoked_by = because
        log.info("principal_revoked", key=key, device_id=principal.device_id, because=because.value)
        for listener in self._listeners:
            listener(principal)

    def _end(self, owner: str) -> None:
        for listener in self._ending_listeners:
            listener(owner)

    def _followers(self) -> list[Principal]:
        """Return the applications in use whose scope comes from the devices."""
        return [principal for principal in self._index.applications() if principal.follows_devices]

    def _on_rechecked(self, key: str, found: Verified | Refusal) -> None:
        principal = self._index.by_key(key)
        if principal is None:
            return
        if isinstance(found, Verified):
            self._rescope(principal, found)
            principal.expires_at = found.login.expires_at
        else:
            self._revoke(principal, key, ChangeKind.KEY_RETIRED)
