"""Secrets made, hashed and verified, and the pool that does it."""

from __future__ import annotations

import asyncio
import re
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import bcrypt
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fleetkey.access import AccessError, OverloadedError, Secret, WorkerPool, hash_secret, new_secret, verify_secret

if TYPE_CHECKING:
    from collections.abc import Callable

STORED = hash_secret(Secret("right"), 4)


def test_new_secret() -> None:
    """256 random bits as 64 hex digits, under bcrypt's 72 bytes; no two the same."""
    made = {new_secret().reveal() for _ in range(1_000)}
    assert len(made) == 1_000
    assert all(re.fullmatch(r"[0-9a-f]{64}", text) for text in made)


@pytest.mark.parametrize("rounds", [4, 5])
def test_hash_secret(rounds: int) -> None:
    """The stored form has the `2a` prefix that every broker's plugin reads, its cost, and a salt of its own."""
    secret = new_secret()
    stored = hash_secret(secret, rounds)
    assert re.fullmatch(rf"\$2a\$0{rounds}\$[./A-Za-z0-9]{{53}}", stored)
    assert stored != hash_secret(secret, rounds)
    assert verify_secret(secret.reveal().encode(), stored)
    assert secret.reveal() not in stored


@pytest.mark.parametrize(
    ("secret", "password", "expected"),
    [
        pytest.param("right", b"right", True, id="right"),
        pytest.param("right", b"wrong", False, id="wrong"),
        pytest.param("right", b"", False, id="empty"),
        pytest.param("right", b"right\0", False, id="nul_after"),
        pytest.param("right", b"right\0more", False, id="nul_inside"),
        pytest.param("right", b"\xff\xfe", False, id="not_utf8"),
        pytest.param("é", "é".encode("latin-1"), False, id="other_encoding"),
        pytest.param("é", "é".encode(), True, id="utf8"),
        pytest.param("x" * 72, b"x" * 72, True, id="72_bytes"),
        pytest.param("x" * 72, b"x" * 73, False, id="73_bytes"),
        pytest.param("x" * 72, b"x" * 100_000, False, id="far_too_long"),
        pytest.param("x" * 72, b"x" * 71, False, id="cut"),
    ],
)
def test_verify_secret(secret: str, password: bytes, expected: bool) -> None:  # noqa: FBT001 - a table
    """Right is right, and whatever can't be a secret is a refusal, never an exception and never cut to fit."""
    assert verify_secret(password, hash_secret(Secret(secret), 4)) is expected


@pytest.mark.parametrize("rounds", ["15", "31", "99", "03", "00", "-1", "4", "\u0661\u0661", "x4"])
def test_verify_secret_unaffordable_cost(rounds: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stored cost over 14, or none at all, is refused before any work is done."""
    worked: list[bytes] = []
    monkeypatch.setattr(bcrypt, "checkpw", lambda password, _: worked.append(password))
    assert not verify_secret(b"right", f"$2a${rounds}${STORED[7:]}")
    assert worked == []


@pytest.mark.parametrize(
    "stored",
    [
        pytest.param("", id="empty"),
        pytest.param("right", id="clear_text"),
        pytest.param(STORED[:-1], id="cut"),
        pytest.param(STORED + "x", id="longer"),
        pytest.param(STORED[:7] + "*" * 53, id="other_alphabet"),
        pytest.param(STORED[:7] + "\u00e9" * 53, id="not_ascii"),
        pytest.param(STORED[:7] + "\ud800" * 53, id="surrogate"),
        pytest.param(STORED[:7] + "\0" * 53, id="nul"),
        pytest.param("$2x" + STORED[3:], id="other_prefix"),
        pytest.param("$6$" + "a" * 57, id="other_scheme"),
        pytest.param("$2a$04" + "a" * 54, id="no_third_dollar"),
    ],
)
def test_verify_secret_malformed_hash(stored: str) -> None:
    """What can't be a hash has no password."""
    assert verify_secret(b"right", stored) is False


@given(st.binary(max_size=80), st.text(max_size=53))
@example(b"right", STORED[7:])
def test_verify_secret_any_input(password: bytes, rest: str) -> None:
    """No password and no stored text raises; only the right pair is true."""
    stored = STORED[:7] + rest.ljust(53, ".")
    assert verify_secret(password, stored) is (password == b"right" and stored == STORED)


@pytest.mark.parametrize("prefix", ["$2a", "$2b", "$2y"])
def test_verify_secret_other_prefixes(prefix: str) -> None:
    """Hashes that others made with their prefix of the same algorithm are read, too."""
    assert verify_secret(b"right", prefix + STORED[3:])


class _Gate:
    """Work that lasts until a test lets it go."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self.begun = threading.Semaphore(0)

    def work(self) -> str:
        self.begun.release()
        assert self._open.wait(timeout=10)
        return "done"

    def open(self) -> None:
        self._open.set()


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110 - what a thread does sets no event of this loop
            await asyncio.sleep(0.005)


async def test_hash_pool_runs_off_the_loop() -> None:
    """Work runs in another thread, with its arguments, and its result or its error comes back."""
    with closing(WorkerPool(workers=1, max_pending=2)) as pool:
        assert await pool.run(threading.get_ident) != threading.get_ident()
        assert await pool.run(int, "ff", base=16) == 255
        with pytest.raises(ValueError, match="invalid literal"):
            await pool.run(int, "x")
        await _until(lambda: pool.pending == 0)


async def test_hash_pool_full() -> None:
    """Above its bound a call fails at once instead of waiting; when one ends there is room again."""
    gate = _Gate()
    with closing(WorkerPool(workers=1, max_pending=3)) as pool:
        running = [asyncio.create_task(pool.run(gate.work)) for _ in range(3)]
        await _until(lambda: pool.pending == 3)
        for _ in range(5):
            with pytest.raises(OverloadedError):
                await asyncio.wait_for(pool.run(gate.work), timeout=0.5)
        assert pool.pending == 3
        gate.open()
        assert await asyncio.gather(*running) == ["done"] * 3
        await _until(lambda: pool.pending == 0)
        assert await pool.run(gate.work) == "done"


async def test_hash_pool_cancelled() -> None:
    """A caller that gives up frees its place when its work ends, not before: until then a thread is busy with it."""
    gate = _Gate()
    with closing(WorkerPool(workers=1, max_pending=1)) as pool:
        given_up = asyncio.create_task(pool.run(gate.work))
        await asyncio.to_thread(gate.begun.acquire)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up
        with pytest.raises(OverloadedError):
            await pool.run(gate.work)
        gate.open()
        await _until(lambda: pool.pending == 0)
        assert await pool.run(gate.work) == "done"


async def test_hash_pool_cancelled_while_waiting() -> None:
    """Callers that give up before their work began are counted down, too."""
    gate = _Gate()
    with closing(WorkerPool(workers=1, max_pending=10)) as pool:
        tasks = [asyncio.create_task(pool.run(gate.work)) for _ in range(10)]
        await asyncio.to_thread(gate.begun.acquire)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        gate.open()
        await _until(lambda: pool.pending == 0)
        assert await pool.run(gate.work) == "done"


async def test_hash_pool_close() -> None:
    """Closing lets what runs end and drops what waits; whoever comes later is told, and doesn't wait for ever."""
    gate = _Gate()
    pool = WorkerPool(workers=1, max_pending=10)
    tasks = [asyncio.create_task(pool.run(gate.work)) for _ in range(4)]
    await asyncio.to_thread(gate.begun.acquire)
    closed = asyncio.create_task(asyncio.to_thread(pool.close))
    dropped = await asyncio.gather(*tasks[1:], return_exceptions=True)
    assert {type(error) for error in dropped} == {asyncio.CancelledError}
    gate.open()
    assert await tasks[0] == "done"
    await closed
    with pytest.raises((AccessError, RuntimeError, asyncio.CancelledError)):
        await asyncio.wait_for(pool.run(int), timeout=1)
