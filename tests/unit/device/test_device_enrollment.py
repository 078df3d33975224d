"""When the next registration is due."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from fleetkey.device import Backoff, DeviceError, RegistrationPending, RegistrationRefused, RegistrationUnreachable
from fleetkey.device.enrollment import Enrollment

if TYPE_CHECKING:
    from fleetkey.device import Credentials


class Server:
    """Answers what it was told to."""

    def __init__(self) -> None:
        self.error: DeviceError | None = None

    def register(self) -> Credentials:
        """Answer once."""
        if self.error is not None:
            raise self.error
        return cast("Credentials", object())


class Clock:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now


def make(interval_seconds: float = 60.0) -> tuple[Enrollment, Server, Clock]:
    """Make an enrollment whose backoff waits 10, 20, 40 and then 80 s."""
    server, clock = Server(), Clock()
    backoff = Backoff(initial_seconds=10, max_seconds=80, jitter="none")
    return Enrollment(server, interval_seconds=interval_seconds, backoff=backoff, clock=clock), server, clock


def dues(enrollment: Enrollment, *, has_credentials: bool, tries: int) -> list[float]:
    """Return what is due after each failed try."""
    waits = []
    for _ in range(tries):
        with pytest.raises(DeviceError):
            enrollment.attempt(has_credentials=has_credentials)
        waits.append(enrollment.due_in_seconds())
    return waits


def test_due_at_first() -> None:
    """The first registration is due at once; the next an interval later."""
    enrollment, _, clock = make()
    assert enrollment.due_in_seconds() == 0
    enrollment.attempt(has_credentials=False)
    assert enrollment.due_in_seconds() == 60
    clock.now += 59
    assert enrollment.due_in_seconds() == 1
    clock.now += 10
    assert enrollment.due_in_seconds() == 0


@pytest.mark.parametrize(
    ("error", "has_credentials", "expected"),
    [
        (RegistrationUnreachable("x"), False, [10, 20, 40, 80, 80]),
        (RegistrationUnreachable("x"), True, [60, 60, 60, 80, 80]),
        (RegistrationRefused(400, "x"), False, [60, 60, 60, 80, 80]),
        (RegistrationPending(), True, [60, 60, 60, 80, 80]),
        (RegistrationPending(5), False, [5, 5]),
        (RegistrationRefused(429, "x", 300), True, [300, 300]),
        (RegistrationRefused(503, "x", 0), False, [1, 1]),
        (RegistrationRefused(503, "x", 1e9), True, [3600, 3600]),
        (DeviceError("x"), True, [60, 60]),
    ],
)
def test_due_after_failure(error: DeviceError, has_credentials: bool, expected: list[float]) -> None:  # noqa: FBT001 - a table
    """Each failure sets the next try: the server's word first, then the interval, then the backoff."""
    enrollment, server, _ = make()
    server.error = error
    assert dues(enrollment, has_credentials=has_credentials, tries=len(expected)) == expected


def test_due_after_success() -> None:
    """A success makes the backoff start over."""
    enrollment, server, _ = make(interval_seconds=1)
    server.error = RegistrationUnreachable("x")
    assert dues(enrollment, has_credentials=False, tries=2) == [10, 20]
    server.error = None
    enrollment.attempt(has_credentials=False)
    server.error = RegistrationUnreachable("x")
    assert dues(enrollment, has_credentials=False, tries=1) == [10]


def test_interval_out_of_range() -> None:
    """An interval of nothing is refused."""
    with pytest.raises(ValueError, match="greater than 0"):
        make(interval_seconds=0)
