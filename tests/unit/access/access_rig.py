"""For the tests of the authenticator: a fleet in a real store, and a bcrypt that counts and can be held up."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fleetkey.access import (
    Authenticator,
    ConnectAttempt,
    Granted,
    Principal,
    RateLimiter,
    TopicTemplates,
    WorkerPool,
    hash_secret,
    new_secret,
)
from fleetkey.access.login.credential_cache import CredentialCache
from fleetkey.access.login.verification import Verification
from fleetkey.access.protection.failure_throttle import FailureThrottle
from fleetkey.access.protection.rate_limits import ExponentialBackoff
from fleetkey.registry import ApplicationScope, ChangeFollower, SqliteStore, new_access_key
from tests.unit.registry.store_rig import FakeClock, issue

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from fleetkey.registry import Change

ADDRESS = "192.0.2.1"
ROUNDS = 4
SECONDS = 1.0
"""How long a committed change may take to reach the connections."""


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """The credentials of a client."""

    key: str
    secret: str
    client_id: str

    def attempt(self, **claims: Any) -> ConnectAttempt:
        """Return a CONNECT with these credentials, and with other claims as given."""
        values: dict[str, Any] = {
            "client_id": self.client_id,
            "username": self.key,
            "password": self.secret.encode(),
            "address": ADDRESS,
        }
        return ConnectAttempt(**{**values, **claims})


class Bcrypt:
    """Counts calls of the real `checkpw`, and can hold up those for one password."""

    def __init__(self, checkpw: Callable[[bytes, bytes], bool]) -> None:
        self._checkpw = checkpw
        self._held: bytes | None = None
        self._go = threading.Event()
        self._go.set()
        self.begun = threading.Semaphore(0)
        self.calls = 0

    def __call__(self, password: bytes, stored: bytes) -> bool:
        """Check a password."""
        self.calls += 1
        if password == self._held:
            self.begun.release()
            assert self._go.wait(timeout=10)
        return self._checkpw(password, stored)

    def hold(self, password: bytes) -> None:
        """Hold up calls for this password."""
        self._held = password
        self._go.clear()

    def release(self) -> None:
        """Let the held calls continue."""
        self._go.set()


@dataclass(kw_only=True)
class World:
    """A store and an authenticator that share a clock under the test's control."""

    store: SqliteStore
    clock: FakeClock
    pool: WorkerPool
    authenticator: Authenticator
    failures: RateLimiter
    revoked: list[Principal] = field(default_factory=list)
    _position: int = 0
    _follower: ChangeFollower | None = None

    @classmethod
    def build(
        cls,
        path: Path,
        *,
        pattern: str = "devices/{device_id}/#",
        cache_seconds: float = 3_600,
        max_failures: int = 0,
        max_key_failures: int = 0,
        first_delay_seconds: float = 0.001,
        max_tracked: int = 100,
        max_pending: int = 500,
        max_scope_devices: int = 10,
    ) -> World:
        """Open a store and build an authenticator on it."""
        clock = FakeClock()
        store = SqliteStore(path, clock=clock)
        pool = WorkerPool(workers=2, max_pending=max_pending)
        failures = RateLimiter(limit=max_failures, window_seconds=60, max_tracked=max_tracked, clock=clock)
        authenticator = Authenticator(
            Verification(
                store,
                TopicTemplates(publish=(pattern,), subscribe=(pattern,)),
                bcrypt_rounds=ROUNDS,
                max_scope_devices=max_scope_devices,
                clock=clock,
            ),
            pool,
            CredentialCache(seconds=cache_seconds, max_entries=1_000, clock=clock),
            FailureThrottle(
                failures,
                RateLimiter(limit=max_key_failures, window_seconds=60, max_tracked=max_tracked, clock=clock),
                ExponentialBackoff(
                    first_seconds=first_delay_seconds, max_seconds=10 * first_delay_seconds, max_tracked=max_tracked
                ),
            ),
        )
        world = cls(store=store, clock=clock, pool=pool, authenticator=authenticator, failures=failures)
        authenticator.on_revoked(world.revoked.append)
        return world

    def follow(self) -> None:
        """Pass committed changes to the authenticator as the server does."""
        loop = asyncio.get_running_loop()

        def tell(changes: Sequence[Change]) -> None:
            loop.call_soon_threadsafe(self.authenticator.apply, changes)

        self._follower = ChangeFollower(self.store, tell)
        self._follower.start()

    def apply_committed(self) -> None:
        """Pass everything committed since the last call to the authenticator, now."""
        changes = self.store.changes_after(self._position)
        self._position = changes[-1].seq
        self.authenticator.apply(changes)

    async def close(self) -> None:
        """Stop everything."""
        if self._follower is not None:
            await asyncio.to_thread(self._follower.stop)
        await self.authenticator.close()
        await asyncio.to_thread(self.pool.close)
        self.store.close()

    def device(self, serial: str = "S1", **request: Any) -> Credentials:
        """Register a device; with `secret_hash` another hash than its secret's is stored."""
        secret = new_secret()
        values = {"secret_hash": hash_secret(secret, ROUNDS), **request}
        key, device_id = issue(self.store, serial, **values)
        return Credentials(key=key, secret=secret.reveal(), client_id=device_id)

    def application(self, scope: ApplicationScope) -> Credentials:
        """Create an application key."""
        secret, key = new_secret(), new_access_key()
        self.store.create_application_key(
            key=key, secret_hash=hash_secret(secret, ROUNDS), name="back end", scope=scope, actor="cli"
        )
        return Credentials(key=key, secret=secret.reveal(), client_id="back-end")

    async def connect(self, credentials: Credentials) -> Principal:
        """Connect, and assert that it is granted."""
        outcome = await self.authenticator.authenticate(credentials.attempt())
        assert isinstance(outcome, Granted), outcome
        return outcome.principal


async def until(condition: Callable[[], bool], seconds: float = SECONDS) -> None:
    """Wait until a condition holds; fail if it takes too long."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what a thread does sets no event of this loop
            await asyncio.sleep(0.005)
