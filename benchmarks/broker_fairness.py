"""How long one device's round trip takes while another device floods.

A device publishes to a topic of its own that it is subscribed to, and waits for the message, again and again. Meanwhile
another device, in a process of its own, publishes as fast as the broker takes it, and the back end receives the flood.
The peer is the same device on the same broker when nobody floods.
"""

from __future__ import annotations

import statistics
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from benchmarks.broker_loadgen import LoadGenerator
from benchmarks.broker_servers import fleetkey_broker, mosquitto_broker
from benchmarks.figure import Figure, Target
from benchmarks.rounds import alternate

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from benchmarks.broker_fleet import BrokerFleet
    from benchmarks.broker_servers import Broker

__all__ = ["fairness_figures"]

ROUND_TRIPS = 3_000
RISE_SECONDS = 0.3
ASKING, FLOODING = 0, 1


class _Scene:
    """One broker with the device that asks, the one that floods, and the back end."""

    def __init__(
        self,
        stack: ExitStack,
        program: Path,
        fleet: BrokerFleet,
        start: Callable[[BrokerFleet], AbstractContextManager[Broker]],
    ) -> None:
        broker = stack.enter_context(start(fleet))
        self._asker = stack.enter_context(LoadGenerator(program, broker, fleet))
        self._flooder = stack.enter_context(LoadGenerator(program, broker, fleet))
        self._asker.connect(ASKING, 1)
        self._flooder.connect_back_end()
        self._flooder.connect(FLOODING, 1)
        self._asker.echo(ASKING, ROUND_TRIPS)
        self.flood_rates: list[float] = []

    def idle(self) -> float:
        """Return the p99 of round trips on an idle broker, in ms."""
        return self._asker.echo(ASKING, ROUND_TRIPS).p99_ms

    def flooded(self) -> float:
        """Return the p99 of round trips during the flood, in ms."""
        with self._flooder.flooding(FLOODING) as phases:
            time.sleep(RISE_SECONDS)
            p99_ms = self._asker.echo(ASKING, ROUND_TRIPS).p99_ms
        self.flood_rates.append(phases[0].rate)
        return p99_ms


def fairness_figures(program: Path, fleet: BrokerFleet) -> list[Figure]:
    """Measure ours, and mosquitto for comparison."""
    with ExitStack() as stack:
        ours = _Scene(stack, program, fleet, fleetkey_broker)
        peer = _Scene(stack, program, fleet, mosquitto_broker)
        flooded, idle, peer_flooded, peer_idle = alternate(ours.flooded, ours.idle, peer.flooded, peer.idle)
    return [
        _figure("broker, p99 round trip during a flood", flooded, idle, ours, (Target("ratio", "<=", 3),)),
        _figure("mosquitto, p99 round trip during a flood", peer_flooded, peer_idle, peer, ()),
    ]


def _figure(name: str, flooded: list[float], idle: list[float], scene: _Scene, targets: tuple[Target, ...]) -> Figure:
    rate = statistics.median(scene.flood_rates)
    return Figure(
        name=name,
        unit="ms",
        ours_rounds=flooded,
        peer_rounds=idle,
        peer_name="the same on an idle broker",
        targets=targets,
        note=f"{ROUND_TRIPS:,} round trips a round; the back end got {rate:,.0f} messages/s of the flood",
    )
