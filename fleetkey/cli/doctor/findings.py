"""The result of a check of `fleetkey doctor`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Finding", "Verdict"]


class Verdict(StrEnum):
    """The outcome of a check."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check and its outcome; unless that is ok, `advice` says what to do."""

    check: str
    verdict: Verdict
    detail: str
    advice: str = ""
