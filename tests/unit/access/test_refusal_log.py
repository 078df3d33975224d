"""How many lines refusals have in the log, whose they are, and what is said of the others."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from fleetkey.access import ConnectAttempt, RefusalLog, Refused, login
from fleetkey.access.protection import refusal_log
from fleetkey.access.protection.refusal_log import MAX_LINES, MAX_LINES_OF_ONE, MAX_SUMMARIES
from fleetkey.registry import RefusalReason
from tests.unit.access.access_rig import until
from tests.unit.registry.store_rig import FakeClock

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping
    from typing import Any

    from tests.unit.access.access_rig import World
    from tests.unit.access.conftest import WorldFactory

Lines = list["MutableMapping[str, Any]"]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Catch what is logged."""
    with capture_logs() as caught:
        yield caught


@pytest.fixture
def clock() -> FakeClock:
    """Hold the time still."""
    return FakeClock()


def _summaries(lines: Lines) -> dict[tuple[str, str], int]:
    return {(line["of"], line["reason"]): line["further"] for line in lines if line["event"] == "refusals_not_logged"}


async def test_stranger_flood(lines: Lines, clock: FakeClock) -> None:
    """Beyond the budget of a minute, strangers' refusals are counted, whatever their addresses; none is lost."""
    log = RefusalLog(clock=clock)
    for number in range(MAX_LINES + 50):
        assert log.stranger("login_refused", reason="unknown_key", address=f"198.51.{number}") is (number < MAX_LINES)
    assert not log.stranger("login_refused", reason="wrong_secret", address="192.0.2.1")
    assert Counter(line["event"] for line in lines) == {"login_refused": MAX_LINES}
    assert log.unlogged == {"login_refused": 51}
    clock.now += 61
    assert log.stranger("login_refused", reason="unknown_key", address="192.0.2.1")
    log.close()
    assert _summaries(lines) == {("login_refused", "unknown_key"): 50, ("login_refused", "wrong_secret"): 1}
    log.close()
    assert len(lines) == MAX_LINES + 3


async def test_proven_in_flood(lines: Lines, clock: FakeClock) -> None:
    """A flood of strangers takes no line of who proved who it is, and one of those takes few of the others'."""
    log = RefusalLog(clock=clock)
    for _ in range(2 * MAX_LINES):
        log.stranger("login_refused", reason="unknown_key")
    for number in range(3 * MAX_LINES_OF_ONE):
        assert log.proven("login_refused", "one", reason="key_retired") is (number < MAX_LINES_OF_ONE)
    assert log.proven("login_refused", "another", reason="key_expired")
    assert log.unlogged["login_refused"] == MAX_LINES + 2 * MAX_LINES_OF_ONE
    for number in range(MAX_LINES):
        log.proven("login_refused", f"device {number}", reason="key_expired")
    assert Counter(line["reason"] for line in lines) == {
        "unknown_key": MAX_LINES,
        "key_retired": MAX_LINES_OF_ONE,
        "key_expired": MAX_LINES - MAX_LINES_OF_ONE,
    }
    log.close()


async def test_summary_in_time(lines: Lines, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was counted is said by itself, also when nobody is refused any more, and again after the next flood."""
    monkeypatch.setattr(refusal_log, "SUMMARY_SECONDS", 0.01)
    log = RefusalLog(clock=clock)
    for number in (1, 2):
        log.count("login_refused", "wrong_secret")
        await until(lambda number=number: len(lines) == number)  # type: ignore[misc] # of the loop
    assert [line["further"] for line in lines] == [1, 1]


async def test_count_many_reasons(lines: Lines) -> None:
    """However many reasons there are, few are told apart."""
    log = RefusalLog()
    for number in range(3 * MAX_SUMMARIES):
        log.count("registration_refused", f"reason {number}")
    log.close()
    assert len(lines) == MAX_SUMMARIES + 1
    assert _summaries(lines)["registration_refused", "other"] == 2 * MAX_SUMMARIES


async def test_authenticate_flood(world: World, lines: Lines) -> None:
    """Logins from ever new addresses have a bounded number of lines; a device with the right secret has its own."""
    device = world.device()
    for number in range(MAX_LINES + 20):
        attempt = ConnectAttempt(
            client_id="x",
            username=f"{number:032x}",
            password=b"f" * 64,
            address=f"198.18.{number // 250}.{number % 250}",
        )
        assert await world.authenticator.authenticate(attempt) == Refused(RefusalReason.UNKNOWN_KEY)
    assert await world.authenticator.authenticate(device.attempt(client_id="other")) == Refused(
        RefusalReason.WRONG_CLIENT_ID
    )
    assert Counter(line["reason"] for line in lines) == {"unknown_key": MAX_LINES, "wrong_client_id": 1}
    world.authenticator.refusal_log.close()
    assert _summaries(lines) == {("login_refused", "unknown_key"): 20}


async def test_authenticate_names_the_client(world: World, lines: Lines) -> None:
    """A line has the key and the client id as they were claimed, and the key's device; never a secret."""
    device = world.device()
    for changes in (
        {"client_id": "other\n"},
        {"password": b"0" * 64},
        {"username": device.secret, "client_id": device.secret},
        {"username": "f" * 32},
    ):
        await world.authenticator.authenticate(device.attempt(**changes))
    assert [(line["reason"], line["key"], line["device_id"], line["client_id"]) for line in lines] == [
        ("wrong_client_id", device.key, device.client_id, "other\\n"),
        ("wrong_secret", device.key, device.client_id, device.client_id),
        ("malformed_credentials", None, None, "[64 hex digits]"),
        ("unknown_key", "f" * 32, None, device.client_id),
    ]
    assert device.secret not in repr(lines)


async def test_authenticate_over_limit(make_world: WorldFactory, lines: Lines) -> None:
    """Refusals of an address over its limit have no lines, and are counted."""
    world = make_world(max_failures=3)
    attempt = world.device().attempt(password=b"f" * 64)
    for _ in range(5):
        await world.authenticator.authenticate(attempt)
    world.authenticator.refusal_log.close()
    assert Counter(line["event"] for line in lines) == {
        "login_refused": 3,
        "login_failures_limited": 1,
        "refusals_not_logged": 1,
    }
    assert _summaries(lines) == {("login_refused", "wrong_secret"): 2}


LOGIN_REASONS = sorted(
    {
        RefusalReason[name]
        for file in Path(login.__path__[0]).glob("*.py")
        for name in re.findall(r"RefusalReason\.([A-Z_]+)", file.read_text())
    }
)


@pytest.mark.parametrize("reason", LOGIN_REASONS)
def test_is_proven(reason: RefusalReason) -> None:
    """Whoever is told apart from strangers had the right secret."""
    unproven = {"malformed_credentials", "unknown_key", "wrong_secret", "overloaded", "store_unavailable"}
    assert Refused(reason).is_proven is (reason.value not in unproven)
