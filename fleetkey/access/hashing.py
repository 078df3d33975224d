"""Secrets: made, hashed and verified, off the event loop and in bounded numbers."""

from __future__ import annotations

import asyncio
import secrets
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import bcrypt

from fleetkey.access.errors import HashPoolFullError
from fleetkey.access.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "MAX_ROUNDS",
    "MAX_SECRET_BYTES",
    "HashPool",
    "hash_secret",
    "is_secret_shape",
    "new_secret",
    "verify_secret",
]

MAX_SECRET_BYTES = 72
"""bcrypt looks at no more; a longer password is refused, never cut."""
MAX_ROUNDS = 14
"""A stored cost above this would let one login hold a thread for seconds."""
MIN_ROUNDS = 4
HASH_CHARACTERS = 60

P = ParamSpec("P")
R = TypeVar("R")


def new_secret() -> Secret:
    """Return 256 random bits as 64 hex digits."""
    return Secret(secrets.token_hex(32))


def hash_secret(secret: Secret, rounds: int) -> str:
    """Return the bcrypt hash, with the `2a` prefix that other brokers' plugins read as well.

    Takes 2**rounds units of work, about 1 ms at 4. Blocks; releases the GIL while it works.
    """
    return bcrypt.hashpw(secret.reveal().encode(), bcrypt.gensalt(rounds, prefix=b"2a")).decode()


def is_secret_shape(password: bytes) -> bool:
    """Whether a password can be a secret at all: 1 to 72 bytes of UTF-8 without NUL."""
    if not 0 < len(password) <= MAX_SECRET_BYTES or 0 in password:
        return False
    try:
        password.decode()
    except UnicodeDecodeError:
        return False
    return True


def verify_secret(password: bytes, stored: str) -> bool:
    """Whether the password has the stored hash; False for a hash that can't be one or costs over `MAX_ROUNDS`."""
    if not is_secret_shape(password) or not _is_affordable(stored):
        return False
    try:
        return bcrypt.checkpw(password, stored.encode())
    except ValueError:
        return False


def _is_affordable(stored: str) -> bool:
    """Look at `$2a$04$…` before any work is done."""
    rounds = stored[4:6]
    return (
        len(stored) == HASH_CHARACTERS
        and stored[:4] in {"$2a$", "$2b$", "$2y$"}
        and rounds.isascii()
        and rounds.isdigit()
        and MIN_ROUNDS <= int(rounds) <= MAX_ROUNDS
    )


class HashPool:
    """A few threads for work that blocks, with a bound on how much may wait for them.

    Args:
        workers: threads; about one per core, since bcrypt keeps a core busy.
        max_pending: calls that run or wait at once; above it a call fails at once.
    """

    def __init__(self, *, workers: int, max_pending: int) -> None:
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="fleetkey-hash")
        self._max_pending = max_pending
        self._pending = 0

    @property
    def pending(self) -> int:
        """How many calls run or wait."""
        return self._pending

    async def run(self, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run blocking work in a thread.

        Raises:
            HashPoolFullError: too much is waiting; refuse the client for now.
        """
        if self._pending >= self._max_pending:
            msg = f"{self._pending} calls are waiting"
            raise HashPoolFullError(msg)
        self._pending += 1
        future = self._executor.submit(work, *args, **kwargs)
        # The count goes down when the work ends, not when its caller gives up: a cancelled login still costs a thread.
        loop = asyncio.get_running_loop()
        future.add_done_callback(lambda _: _call_in(loop, self._finish))
        return await asyncio.wrap_future(future)

    def close(self) -> None:
        """Wait for what runs and drop what waits."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _finish(self) -> None:
        self._pending -= 1


def _call_in(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    if not loop.is_closed():
        loop.call_soon_threadsafe(callback)
