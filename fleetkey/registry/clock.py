"""The time that things end by: the system's clock, once it has agreed with the monotonic clock for long enough.

The wall clock can be set to anything at any moment, and a computer without a clock chip starts with a wrong one. The
monotonic clock only counts, but is never set. So time goes on by the monotonic clock from where it was, and a new
setting of the wall clock is followed when it has held for `STEADY_SECONDS` (ADR 0015).
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ClockMark", "SteadyClock", "SystemTime", "command_clock"]

log = structlog.get_logger(__name__)

STEADY_SECONDS = 600.0
"""For which the wall clock must agree with the monotonic one before a new setting of it is followed."""
TOLERANCE_SECONDS = 5.0
"""Further apart they disagree. What is less, such as a leap second, is followed as well, but nothing is said of it."""
MAX_AWAY_SECONDS = 30 * 86_400.0
"""How far the wall clock may be ahead, at start, of the last time that was noted before the system was booted.

A server that is off for longer is rare, and pays with `STEADY_SECONDS`; a clock that nobody set is off by years.
"""
FRESH_SECONDS = 180.0
"""For which a mark counts as one of a server that runs; it makes one every `cli.serve.clock_keeper.SAVE_SECONDS`."""
LOOK_SECONDS = 1.0
"""Between two looks at the wall clock, while anyone asks for the time."""
BOOT_FILE = Path("/proc/sys/kernel/random/boot_id")


def _wall() -> float:
    return time.time()


def _since_boot() -> float:
    # Unlike CLOCK_MONOTONIC it goes on while the computer is suspended, as the wall clock does.
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def _boot() -> str:
    try:
        return BOOT_FILE.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemTime:
    """The system's clocks.

    Args:
        wall: seconds since 1970, as the system believes.
        monotonic: seconds that only count; comparable between processes as long as `boot` is the same.
        boot: names this run of the system; empty where the system doesn't say.
    """

    wall: Callable[[], float] = _wall
    monotonic: Callable[[], float] = _since_boot
    boot: Callable[[], str] = _boot


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockMark:
    """What a steady clock said at one moment; stored, so that another process can go on from it.

    Attributes:
        now: seconds since 1970.
        lasted: the same without the settings of the wall clock that were followed; see `SteadyClock.lasted`.
        monotonic: what the monotonic clock said.
        boot: the run of the system that it belongs to; empty if unknown.
    """

    now: float
    lasted: float
    monotonic: float
    boot: str

    def passed(self, system: SystemTime) -> float | None:
        """Return the seconds since then, whatever the wall clock says; None if the system was booted since."""
        passed = system.monotonic() - self.monotonic
        return passed if self.boot and self.boot == system.boot() and passed >= 0 else None

    def jump_seconds(self, system: SystemTime) -> float:
        """Return how far the wall clock is ahead of a clock that goes on from here; 0 if they agree."""
        seconds = system.wall() - self.taken_up(system).now
        return seconds if abs(seconds) > TOLERANCE_SECONDS else 0.0

    def taken_up(self, system: SystemTime) -> ClockMark:
        """Return what a clock says that goes on from here.

        After a boot the wall clock says how much time has passed, if it is plausible. Otherwise none has: what is
        known to be over is over, and nothing else.
        """
        passed = self.passed(system)
        if passed is None:
            passed = max(system.wall() - self.now, 0.0)
            if passed > MAX_AWAY_SECONDS:
                passed = 0.0
        return ClockMark(
            now=self.now + passed, lasted=self.lasted + passed, monotonic=system.monotonic(), boot=system.boot()
        )


class SteadyClock:
    """Tells the time that the two clocks agree on; safe to ask from any thread.

    It looks at the wall clock itself when it is asked for the time. A jump is said once in the log, and not again
    within `STEADY_SECONDS`, however often the wall clock jumps.
    """

    def __init__(self, system: SystemTime | None = None) -> None:
        """Begin with what the wall clock says; `resume` goes on from an earlier process."""
        self._system = system or SystemTime()
        self._lock = threading.Lock()
        self.jumps = 0
        """How often the wall clock was set, further than `TOLERANCE_SECONDS`."""
        self.follows = 0
        """How often a new setting of it was followed, however small."""
        self._said_at: float | None = None
        self._is_off = self._is_said = False
        wall = self._system.wall()
        self._begin(wall, wall)

    def now(self) -> float:
        """Return the time, in seconds since 1970: what ends at a given time is over when this says so."""
        monotonic = self._system.monotonic()
        if monotonic - self._looked_at >= LOOK_SECONDS and self._lock.acquire(blocking=False):
            try:
                self._look(monotonic)
            finally:
                self._lock.release()
        return monotonic + self._offset

    def lasted(self) -> float:
        """Return a time that no setting of the clock moves, for what ends after a while: only differences count.

        It begins as `now` and goes on across restarts, by the time that the server is known to have been down.
        """
        return self._system.monotonic() + self._lasted_offset

    @property
    def difference_seconds(self) -> float:
        """How far the wall clock is ahead of `now`; negative if it is behind."""
        return self._system.wall() - self.now()

    def mark(self) -> ClockMark:
        """Return what to go on from."""
        monotonic = self._system.monotonic()
        return ClockMark(
            now=monotonic + self._offset,
            lasted=monotonic + self._lasted_offset,
            monotonic=monotonic,
            boot=self._system.boot(),
        )

    def resume(self, mark: ClockMark | None, recorded_at: float | None = None) -> None:
        """Go on from where an earlier process was; before anyone asks for the time.

        Args:
            mark: what it left; None if it left none.
            recorded_at: when anything was recorded last, in place of a mark: the wall clock alone was asked then, so
                it says only that the clock may be far ahead, never that it is behind.
        """
        wall = self._system.wall()
        if mark is not None:
            start = mark.taken_up(self._system)
            self._begin(start.now, start.lasted)
        elif recorded_at is not None and wall - recorded_at > MAX_AWAY_SECONDS:
            self._begin(recorded_at, recorded_at)

    def _begin(self, now: float, lasted: float) -> None:
        monotonic = self._system.monotonic()
        self._offset, self._lasted_offset = now - monotonic, lasted - monotonic
        # The offset that the wall clock has now, and since when it has had it.
        self._candidate, self._candidate_since = self._system.wall() - monotonic, monotonic
        self._looked_at = monotonic
        self._note(monotonic, self._candidate, found="at start")

    def _look(self, monotonic: float) -> None:
        self._looked_at = monotonic
        offset = self._system.wall() - monotonic
        if abs(offset - self._candidate) > TOLERANCE_SECONDS:
            self._candidate, self._candidate_since = offset, monotonic
            self._note(monotonic, offset, found="while running")
        elif monotonic - self._candidate_since >= STEADY_SECONDS:
            self._follow(monotonic, offset)

    def _note(self, monotonic: float, offset: float, *, found: str) -> None:
        """Take in that the wall clock was set: away from the time that is kept, or back to it."""
        seconds = offset - self._offset
        if abs(seconds) <= TOLERANCE_SECONDS:
            self._is_off = False
            if self._is_said:
                self._is_said = False
                log.info("clock_returned", meaning="it agrees with the time that was kept; nothing has ended by it")
            return
        self.jumps += 1
        self._is_off = True
        if self._said_at is not None and monotonic - self._said_at < STEADY_SECONDS:
            return
        self._said_at, self._is_said = monotonic, True
        log.warning(
            "clock_jumped",
            seconds=round(seconds, 1),
            found=found,
            meaning=f"nothing ends by it until it has been steady for {STEADY_SECONDS:.0f} s",
        )

    def _follow(self, monotonic: float, offset: float) -> None:
        if self._is_off:
            log.warning(
                "clock_followed",
                seconds=round(offset - self._offset, 1),
                meaning="it has been steady; keys and tokens end by it from now on, sessions after what has passed",
            )
        self.follows += 1
        self._offset, self._is_off, self._is_said = offset, False, False
        self._candidate, self._candidate_since = offset, monotonic


def command_clock(mark: ClockMark | None, system: SystemTime | None = None) -> Callable[[], float]:
    """Return the time of a command, which doesn't stay to see whether the clock is steady; seconds since 1970.

    While a server runs, it is the server's, so that a clock that jumped ends nothing through a command either.
    Otherwise it is the wall clock, but never before what the server is known to have lived through: a grace period
    that a clock behind begins would be over before it began.
    """
    clocks = system or SystemTime()

    def now() -> float:
        wall = clocks.wall()
        if mark is None:
            return wall
        passed = mark.passed(clocks)
        if passed is None:
            return max(wall, mark.now)
        steady = mark.now + passed
        return steady if passed <= FRESH_SECONDS else max(wall, steady)

    return now
