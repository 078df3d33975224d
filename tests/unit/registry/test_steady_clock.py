"""What ends by the clock, when the clock is set, jumps about, or starts wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from fleetkey.registry import ClockMark, SteadyClock, SystemTime
from fleetkey.registry.clock import (
    FRESH_SECONDS,
    MAX_AWAY_SECONDS,
    STEADY_SECONDS,
    TOLERANCE_SECONDS,
    command_clock,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

DAY = 86_400.0
BEGIN = 1_800_000_000.0
STEADY = int(STEADY_SECONDS)


class Computer:
    """A computer whose clock a test sets, while time passes when it says so."""

    def __init__(self) -> None:
        self.since_boot = 100.0
        self.wall_at_boot = BEGIN - self.since_boot
        self.boots = 1
        self.time = SystemTime(
            wall=lambda: self.wall_at_boot + self.since_boot,
            monotonic=lambda: self.since_boot,
            boot=lambda: f"boot-{self.boots}",
        )

    def set_by(self, seconds: float) -> None:
        """Set the clock, relative to what it says."""
        self.wall_at_boot += seconds

    def boot(self, *, wall: float) -> None:
        """Begin anew with a clock that says this."""
        self.boots += 1
        self.since_boot = 7.0
        self.wall_at_boot = wall - self.since_boot

    def run(self, seconds: int, clock: SteadyClock | None = None) -> None:
        """Let time pass, while somebody asks for it every second."""
        for _ in range(seconds):
            self.since_boot += 1
            if clock is not None:
                clock.now()


@pytest.fixture
def computer() -> Computer:
    """A computer whose clock is right."""
    return Computer()


@pytest.fixture
def clock(computer: Computer) -> SteadyClock:
    """A clock on it that has just begun."""
    return SteadyClock(computer.time)


def _said(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    return [line["event"] for line in lines]


def test_now_undisturbed(computer: Computer, clock: SteadyClock) -> None:
    """It is the wall clock's, and nothing is said of it."""
    with capture_logs() as lines:
        computer.run(2 * STEADY, clock)
    assert clock.now() == clock.lasted() == BEGIN + 2 * STEADY
    assert (clock.jumps, clock.difference_seconds, lines) == (0, 0, [])


@pytest.mark.parametrize("days", [8, -8, 40_000], ids=["ahead", "back", "to_the_next_century"])
def test_jump_short(computer: Computer, clock: SteadyClock, days: int) -> None:
    """The clock is wrong for 3 s: time goes on as if it had not been."""
    with capture_logs() as lines:
        computer.run(10, clock)
        computer.set_by(days * DAY)
        computer.run(3, clock)
        assert clock.now() == clock.lasted() == BEGIN + 13
        computer.set_by(-days * DAY)
        computer.run(STEADY + 10, clock)
    assert clock.now() == clock.lasted() == BEGIN + STEADY + 23
    assert _said(lines) == ["clock_jumped", "clock_returned"]
    assert (lines[0]["seconds"], lines[0]["found"], clock.jumps) == (days * DAY, "while running", 1)


@pytest.mark.parametrize("seconds", [8 * DAY, -8 * DAY, 3600.0, -TOLERANCE_SECONDS - 1])
def test_jump_that_stays(computer: Computer, clock: SteadyClock, seconds: float) -> None:
    """It is followed when it has been steady, not a second before; what has lasted doesn't change by it."""
    computer.run(10, clock)
    with capture_logs() as lines:
        computer.set_by(seconds)
        computer.run(STEADY, clock)
        assert clock.now() == BEGIN + 10 + STEADY
        assert clock.difference_seconds == seconds
        computer.run(2, clock)
    assert clock.now() == computer.time.wall()
    assert clock.lasted() == BEGIN + 12 + STEADY
    assert _said(lines) == ["clock_jumped", "clock_followed"]


def test_jump_set_right_before_it_is_followed(computer: Computer, clock: SteadyClock) -> None:
    """The time counts anew at every setting."""
    computer.set_by(8 * DAY)
    computer.run(STEADY - 5, clock)
    computer.set_by(DAY)
    computer.run(STEADY - 5, clock)
    assert clock.now() == BEGIN + 2 * STEADY - 10
    computer.run(10, clock)
    assert clock.now() == computer.time.wall() == BEGIN + 9 * DAY + 2 * STEADY


def test_jumps_again_and_again(computer: Computer, clock: SteadyClock) -> None:
    """A clock that jumps every 2 s, never twice to the same time, is followed nowhere, and said once in 10 minutes."""
    with capture_logs() as lines:
        for number in range(STEADY):
            computer.set_by((-1) ** number * (number + 1) * DAY)
            computer.run(2, clock)
    assert clock.now() == clock.lasted() == BEGIN + 2 * STEADY
    assert clock.jumps == STEADY
    assert _said(lines).count("clock_jumped") == 2
    assert _said(lines).count("clock_returned") <= 2


def test_jump_to_and_fro(computer: Computer, clock: SteadyClock) -> None:
    """One that goes to and fro is said to be back no oftener than it was said to be off."""
    with capture_logs() as lines:
        for number in range(100):
            computer.set_by((-1) ** number * DAY)
            computer.run(2, clock)
    assert _said(lines) == ["clock_jumped", "clock_returned"]


def test_small_steps_followed_slowly(computer: Computer, clock: SteadyClock) -> None:
    """However often the clock is moved by a little, time doesn't run away with it."""
    for _ in range(2 * STEADY):
        computer.set_by(TOLERANCE_SECONDS - 1)
        computer.run(1, clock)
    assert abs(clock.now() - (BEGIN + 2 * STEADY)) <= 2 * TOLERANCE_SECONDS


def test_leap_second(computer: Computer, clock: SteadyClock) -> None:
    """A step of a second is followed in time, without a word."""
    with capture_logs() as lines:
        computer.set_by(-1)
        computer.run(STEADY + 2, clock)
    assert (clock.difference_seconds, clock.jumps, clock.follows, lines) == (0, 0, 1, [])


def test_nobody_asks_for_long(computer: Computer, clock: SteadyClock) -> None:
    """A jump that is found after hours counts from when it is found."""
    computer.set_by(8 * DAY)
    computer.run(3 * STEADY)
    assert clock.now() == BEGIN + 3 * STEADY
    computer.run(STEADY + 1, clock)
    assert clock.difference_seconds == 0


@pytest.mark.parametrize("days", [8, -8])
def test_restart_while_the_clock_is_wrong(computer: Computer, clock: SteadyClock, days: int) -> None:
    """The server ends and begins again, the computer runs on: the clock can't use the moment between."""
    computer.run(60, clock)
    mark = clock.mark()
    computer.run(30)
    computer.set_by(days * DAY)
    with capture_logs() as lines:
        again = SteadyClock(computer.time)
        again.resume(mark)
    assert again.now() == again.lasted() == BEGIN + 90
    assert [(line["event"], line["found"]) for line in lines] == [("clock_jumped", "at start")]
    computer.run(STEADY + 1, again)
    assert again.now() == computer.time.wall()
    assert again.lasted() == BEGIN + 91 + STEADY


@pytest.mark.parametrize("away", [0, 45, 3 * DAY, MAX_AWAY_SECONDS - 60])
def test_boot_plausible(computer: Computer, clock: SteadyClock, away: float) -> None:
    """The computer was off, and its clock went on: at once it is as if nobody had been away."""
    mark = clock.mark()
    with capture_logs() as lines:
        computer.boot(wall=BEGIN + away)
        again = SteadyClock(computer.time)
        again.resume(mark)
    assert again.now() == again.lasted() == BEGIN + away
    assert lines == []


@pytest.mark.parametrize("wall", [0.0, BEGIN - DAY, BEGIN - 60, BEGIN + MAX_AWAY_SECONDS + 60, BEGIN + 40_000 * DAY])
def test_boot_implausible(computer: Computer, clock: SteadyClock, wall: float) -> None:
    """The clock is before what was there, or far after it: time goes on from there, until the clock is steady."""
    mark = clock.mark()
    with capture_logs() as lines:
        computer.boot(wall=wall)
        again = SteadyClock(computer.time)
        again.resume(mark)
    assert again.now() == again.lasted() == BEGIN
    assert _said(lines) == ["clock_jumped"]
    computer.run(STEADY - 1, again)
    assert again.now() == again.lasted() == BEGIN + STEADY - 1
    computer.run(3, again)
    assert again.now() == computer.time.wall()
    assert again.lasted() == BEGIN + STEADY + 2


def test_boot_then_set_by_ntp(computer: Computer, clock: SteadyClock) -> None:
    """Without a clock chip it begins in 1970 and is set a minute later: only the second setting is followed."""
    mark = clock.mark()
    computer.boot(wall=0.0)
    again = SteadyClock(computer.time)
    again.resume(mark)
    computer.run(60, again)
    computer.set_by(BEGIN + 3600)
    computer.run(STEADY, again)
    assert again.now() == BEGIN + 60 + STEADY
    computer.run(2, again)
    assert again.now() == computer.time.wall() == BEGIN + 3600 + 62 + STEADY


def test_lasted_after_a_jump_and_a_restart(computer: Computer, clock: SteadyClock) -> None:
    """A setting that was followed isn't counted as time that passed after a boot either."""
    computer.set_by(8 * DAY)
    computer.run(STEADY + 1, clock)
    mark = clock.mark()
    assert mark.now - mark.lasted == 8 * DAY
    computer.boot(wall=mark.now + 100)
    again = SteadyClock(computer.time)
    again.resume(mark)
    assert (again.now(), again.lasted()) == (mark.now + 100, mark.lasted + 100)


def test_boot_unknown(computer: Computer, clock: SteadyClock) -> None:
    """Where the system doesn't name its boots, each start counts as after one."""
    mark = clock.mark()
    nameless = ClockMark(now=mark.now, lasted=mark.lasted, monotonic=mark.monotonic, boot="")
    system = SystemTime(wall=computer.time.wall, monotonic=computer.time.monotonic, boot=lambda: "")
    computer.run(10)
    computer.set_by(DAY)
    again = SteadyClock(system)
    again.resume(nameless)
    assert again.now() == again.lasted() == BEGIN + 10 + DAY


@pytest.mark.parametrize(
    ("recorded_at", "expected"),
    [(None, BEGIN), (BEGIN - DAY, BEGIN), (BEGIN + DAY, BEGIN), (BEGIN - 31 * DAY, BEGIN - 31 * DAY)],
    ids=["nothing_recorded", "lately", "in_the_future", "long_ago"],
)
def test_resume_without_a_mark(
    computer: Computer, clock: SteadyClock, recorded_at: float | None, expected: float
) -> None:
    """A registry of an older version has entries only; one from the future, of a wrong clock, ends nothing."""
    clock.resume(None, recorded_at)
    assert clock.now() == expected
    computer.run(STEADY + 1, clock)
    assert clock.now() == computer.time.wall()


@pytest.mark.parametrize("days", [8, -8])
def test_command_beside_a_server(computer: Computer, clock: SteadyClock, days: int) -> None:
    """While a server runs, a command's time is the server's, however wrong the clock."""
    computer.run(30, clock)
    now = command_clock(clock.mark(), computer.time)
    computer.run(int(FRESH_SECONDS) - 1, clock)
    computer.set_by(days * DAY)
    assert now() == clock.now() == BEGIN + 30 + int(FRESH_SECONDS) - 1


@pytest.mark.parametrize("is_booted", [True, False])
@pytest.mark.parametrize("days", [8, -8])
def test_command_without_a_server(computer: Computer, clock: SteadyClock, days: int, *, is_booted: bool) -> None:
    """It is the wall clock's, but never before what the server has lived through."""
    mark = clock.mark()
    if is_booted:
        computer.boot(wall=BEGIN + days * DAY)
        lived = BEGIN
    else:
        computer.run(3600)
        computer.set_by(days * DAY)
        lived = BEGIN + 3600
    assert command_clock(mark, computer.time)() == max(computer.time.wall(), lived)


def test_command_first_of_all(computer: Computer) -> None:
    """There never was a server: it is the wall clock's."""
    assert command_clock(None, computer.time)() == BEGIN


def test_system_time_of_this_computer() -> None:
    """The system's own clocks go on, and within one boot a mark is taken up to the second."""
    clock = SteadyClock()
    mark = clock.mark()
    assert mark.passed(SystemTime()) is None if not mark.boot else mark.passed(SystemTime()) is not None
    assert 0 <= clock.now() - mark.now < 60
