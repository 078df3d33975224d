"""The time by which things expire: the system's clock, once it has agreed with the monotonic clock for long enough.

The wall clock can be set to anything at any time, and starts wrong on a computer without a clock chip. The monotonic
clock only counts, but is never set. So time advances with the monotonic clock, and a new setting of the wall clock is
adopted once it has held for `STEADY_SECONDS` (ADR 0015).
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
"""How long the wall clock must agree with the monotonic clock before its new setting is adopted."""
TOLERANCE_SECONDS = 5.0
"""How far apart they may be and still agree. Smaller changes, such as a leap second, are adopted without a log line."""
MAX_AWAY_SECONDS = 30 * 86_400.0
"""How far the wall clock may be ahead at start, compared to the last time recorded before the system was booted.

A server that was off for longer is rare, and only has to wait `STEADY_SECONDS`; an unset clock is off by years.
"""
FRESH_SECONDS = 180.0
"""How old a running server's mark may be; it saves one every `cli.serve.clock_keeper.SAVE_SECONDS`."""
LOOK_SECONDS = 1.0
"""Minimum interval between checks of the wall clock, which happen when someone asks for the time."""
BOOT_FILE = Path("/proc/sys/kernel/random/boot_id")


def _wall() -> float:
    return time.time()


def _since_boot() -> float:
    # Unlike CLOCK_MONOTONIC, it keeps counting while the computer is suspended, like the wall clock.
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
        wall: seconds since 1970, by the system's clock.
        monotonic: seconds that only count up; comparable between processes with the same `boot`.
        boot: identifies this run of the system; empty if unknown.
    """

    wall: Callable[[], float] = _wall
    monotonic: Callable[[], float] = _since_boot
    boot: Callable[[], str] = _boot


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockMark:
    """The state of a steady clock at one moment; stored, so that another process can continue from it.

    Attributes:
        now: seconds since 1970.
        lasted: the same without the adopted changes of the wall clock; see `SteadyClock.lasted`.
        monotonic: the monotonic clock at that moment.
        boot: the run of the system at that moment; empty if unknown.
    """

    now: float
    lasted: float
    monotonic: float
    boot: str

    def passed(self, system: SystemTime) -> float | None:
        """Return the seconds since then, regardless of the wall clock; None if the system was booted since."""
        passed = system.monotonic() - self.monotonic
        return passed if self.boot and self.boot == system.boot() and passed >= 0 else None

    def jump_seconds(self, system: SystemTime) -> float:
        """Return how far the wall clock is ahead of a clock that continues from this mark; 0 if they agree."""
        seconds = system.wall() - self.taken_up(system).now
        return seconds if abs(seconds) > TOLERANCE_SECONDS else 0.0

    def taken_up(self, system: SystemTime) -> ClockMark:
        """Return the time by a clock that continues from this mark.

        After a boot, the wall clock says how much time has passed, if that is plausible. Otherwise no time has passed:
        only what is known to have expired has expired.
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
    """Keeps the time on which both clocks agree. Safe to use from any thread.

    It checks the wall clock when it is asked for the time. A jump is logged once, and not again within
    `STEADY_SECONDS`, however often the wall clock jumps.
    """

    def __init__(self, system: SystemTime | None = None) -> None:
        """Start from the wall clock; `resume` continues from an earlier process."""
        self._system = system or SystemTime()
        self._lock = threading.Lock()
        self.jumps = 0
        """How often the wall clock jumped by more than `TOLERANCE_SECONDS`."""
        self.follows = 0
        """How often a new setting of the wall clock was adopted, however small."""
        self._said_at: float | None = None
        self._is_off = self._is_said = False
        wall = self._system.wall()
        self._begin(wall, wall)

    def now(self) -> float:
        """Return the time, in seconds since 1970, by which things expire."""
        monotonic = self._system.monotonic()
        if monotonic - self._looked_at >= LOOK_SECONDS and self._lock.acquire(blocking=False):
            try:
                self._look(monotonic)
            finally:
                self._lock.release()
        return monotonic + self._offset

    def lasted(self) -> float:
        """Return a time that no clock setting affects, for measuring durations: only differences are meaningful.

        It starts as `now` and continues across restarts, adding the time that the server is known to have been down.
        """
        return self._system.monotonic() + self._lasted_offset

    @property
    def difference_seconds(self) -> float:
        """How far the wall clock is ahead of `now`; negative if it is behind."""
        return self._system.wall() - self.now()

    def mark(self) -> ClockMark:
        """Return a mark to continue from."""
        monotonic = self._system.monotonic()
        return ClockMark(
            now=monotonic + self._offset,
            lasted=monotonic + self._lasted_offset,
            monotonic=monotonic,
            boot=self._system.boot(),
        )

    def resume(self, mark: ClockMark | None, recorded_at: float | None = None) -> None:
        """Continue from an earlier process; call it before anyone asks for the time.

        Args:
            mark: its last mark; None if there is none.
            recorded_at: when anything was last recorded, for use without a mark. It came from the wall clock alone, so
                it can show that the clock is far ahead, but never that it is behind.
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
        # The wall clock's current offset, and since when it has had it.
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
        """Handle a change of the wall clock: away from the kept time, or back to it."""
        seconds = offset - self._offset
        if abs(seconds) <= TOLERANCE_SECONDS:
            self._is_off = False
            if self._is_said:
                self._is_said = False
                log.info(
                    "clock_returned",
                    meaning="it agrees with the server's time again; nothing has expired because of it",
                )
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
            meaning=f"nothing expires by it until it has been steady for {STEADY_SECONDS:.0f} s",
        )

    def _follow(self, monotonic: float, offset: float) -> None:
        if self._is_off:
            log.warning(
                "clock_followed",
                seconds=round(offset - self._offset, 1),
                meaning="it has been steady; keys and tokens now expire by it, sessions by the time elapsed",
            )
        self.follows += 1
        self._offset, self._is_off, self._is_said = offset, False, False
        self._candidate, self._candidate_since = offset, monotonic


def command_clock(mark: ClockMark | None, system: SystemTime | None = None) -> Callable[[], float]:
    """Return the time for a command, which is too short to see whether the clock is steady; seconds since 1970.

    While a server runs, this is the server's time, so that a clock jump expires nothing through a command either.
    Otherwise it is the wall clock, but never earlier than the server's last time: a grace period that started by a
    slow clock would be over before it began.
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
