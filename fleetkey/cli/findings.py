"""What `fleetkey doctor` finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Finding", "Verdict"]


class Verdict(StrEnum):
    """How a check ended."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check; for anything but ok, `advice` says what to do."""

    check: str
    verdict: Verdict
    detail: str
    advice: str = ""
