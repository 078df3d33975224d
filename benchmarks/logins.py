"""An authenticator in this process, and how long its decisions take."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fleetkey.access import Authenticator, ConnectAttempt, Granted, build_authenticator, build_worker_pool
from fleetkey.config import load_settings
from fleetkey.registry import open_store

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from benchmarks.fleet import Credential

__all__ = ["opened_authenticator", "seconds_per_login"]


@contextmanager
def opened_authenticator(
    runner: asyncio.Runner, data_dir: Path, *, cache_seconds: int = 3_600
) -> Iterator[Authenticator]:
    """Open a registry as `fleetkey serve` does, with its defaults but for the cache."""
    settings = load_settings(None, {"data_dir": data_dir, "access.cache_seconds": cache_seconds})
    store = open_store(settings)
    pool = build_worker_pool(settings)
    authenticator = build_authenticator(settings, store, pool)
    try:
        yield authenticator
    finally:
        runner.run(authenticator.close())
        pool.close()
        store.close()


def seconds_per_login(runner: asyncio.Runner, authenticator: Authenticator, credentials: Sequence[Credential]) -> float:
    """Log every device in, one after the other, and return the time each took. Raises if one is refused."""
    attempts = [
        ConnectAttempt(
            client_id=credential.device_id,
            username=credential.key,
            password=credential.secret,
            address="127.0.0.1",
        )
        for credential in credentials
    ]
    return runner.run(_log_in(authenticator, attempts)) / len(attempts)


async def _log_in(authenticator: Authenticator, attempts: Sequence[ConnectAttempt]) -> float:
    start = time.perf_counter()
    outcomes = [await authenticator.authenticate(attempt) for attempt in attempts]
    seconds = time.perf_counter() - start
    assert all(isinstance(outcome, Granted) for outcome in outcomes), "a measured device was refused"
    return seconds
