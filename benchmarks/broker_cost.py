"""A phase, beside the processor time that it cost the broker, which a busy machine moves less than its rate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.broker_loadgen import Phase
    from benchmarks.broker_servers import Broker

__all__ = ["Costed", "costed"]

MICROSECONDS = 1e6


@dataclass(frozen=True, slots=True, kw_only=True)
class Costed:
    """A phase.

    Args:
        rate: connects or messages a second.
        microseconds: the broker's processor time for each of them.
    """

    rate: float
    microseconds: float


def costed(broker: Broker, run: Callable[[], Phase]) -> Costed:
    """Run a phase."""
    before = broker.processor_seconds
    phase = run()
    return Costed(rate=phase.rate, microseconds=(broker.processor_seconds - before) / phase.done * MICROSECONDS)
