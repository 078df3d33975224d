"""A subscription that four workers share, beside one worker that has it alone: how fast, and how evenly it spreads.

1,000 devices publish their state in turn with MQTT 5. The workers are sessions of one application key, connected for
each round; so is the one that has the same filter alone.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from benchmarks.broker_dialect import Dialect, Version
from benchmarks.broker_loadgen import WINDOW, LoadGenerator
from benchmarks.broker_servers import fleetkey_broker, mosquitto_broker
from benchmarks.figure import Figure, Target
from benchmarks.rounds import alternate

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.broker_fleet import BrokerFleet
    from benchmarks.broker_servers import Broker

__all__ = ["WORKERS", "Shared", "sharing_figures", "spread_figures", "with_workers"]

DEVICES = 1_000
WORKERS = 4
MESSAGES = 30_000
LEAST_RATE = 0.9
EVEN_WITHIN = 0.1
DIALECT = Dialect(Version.V5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shared:
    """A round with all workers.

    Args:
        rate: messages a second that all of them got.
        heard: how many messages each of them got.
    """

    rate: float
    heard: Sequence[int]

    @property
    def least(self) -> float:
        """What the worker with the fewest messages got, as a part of an even share."""
        return min(self.heard) * len(self.heard) / sum(self.heard)

    @property
    def most(self) -> float:
        """What the worker with the most messages got, likewise."""
        return max(self.heard) * len(self.heard) / sum(self.heard)


class _Scene:
    """One broker with its devices."""

    def __init__(self, stack: ExitStack, program: Path, broker: Broker, fleet: BrokerFleet, workers: int) -> None:
        self._generator = stack.enter_context(LoadGenerator(program, broker, fleet, DIALECT))
        self._workers = workers
        self._generator.connect(0, DEVICES)

    def alone(self) -> float:
        """Return the rate that the back end gets alone."""
        self._generator.connect_back_end()
        self._generator.state(DEVICES, DEVICES)
        rate = self._generator.state(DEVICES, MESSAGES).rate
        self._generator.close_back_end()
        return rate

    def shared(self) -> Shared:
        """Return what the workers get together."""
        self._generator.connect(self._workers, WORKERS, is_subscribing=False)
        self._generator.share(self._workers, WORKERS)
        self._generator.state(DEVICES, DEVICES)
        rate = self._generator.state(DEVICES, MESSAGES).rate
        heard = self._generator.heard(self._workers, WORKERS)
        self._generator.close(self._workers, WORKERS)
        return Shared(rate=rate, heard=heard)


def sharing_figures(program: Path, fleet: BrokerFleet) -> list[Figure]:
    """Measure ours, and mosquitto for comparison."""
    staffed, first = with_workers(fleet)
    with ExitStack() as stack:
        ours = _Scene(stack, program, stack.enter_context(fleetkey_broker(staffed)), staffed, first)
        peer = _Scene(stack, program, stack.enter_context(mosquitto_broker(staffed)), staffed, first)
        alone, peer_alone = list[float](), list[float]()

        def rates(scene: _Scene, into: list[float]) -> Shared:
            into.append(scene.alone())
            return scene.shared()

        shared, peer_shared = alternate(lambda: rates(ours, alone), lambda: rates(peer, peer_alone))
    return [
        _rate_figure("broker", shared, alone, (Target("ratio", ">=", LEAST_RATE),)),
        _rate_figure("mosquitto", peer_shared, peer_alone, ()),
        *spread_figures(shared, peer_shared),
    ]


def with_workers(fleet: BrokerFleet) -> tuple[BrokerFleet, int]:
    """Return the fleet with further clients of the back end's key, and the number of the first, counted as devices."""
    lines = fleet.clients.read_text().splitlines()
    _, username, password = lines[0].split("\t")
    workers = [f"benchmark-worker-{number}\t{username}\t{password}" for number in range(WORKERS)]
    clients = fleet.clients.with_name("clients-and-workers.tsv")
    clients.write_text("\n".join([*lines, *workers, ""]))
    return replace(fleet, clients=clients), len(lines) - 1


def _rate_figure(name: str, shared: Sequence[Shared], alone: Sequence[float], targets: tuple[Target, ...]) -> Figure:
    return Figure(
        name=f"{name}, {DIALECT}, state through a shared subscription",
        unit="/s",
        ours_rounds=[each.rate for each in shared],
        peer_rounds=alone,
        peer_name="the same broker with one subscriber",
        targets=targets,
        note=f"{WORKERS} members, {DEVICES:,} devices, QoS 0, 64 bytes, {WINDOW} under way",
    )


def spread_figures(shared: Sequence[Shared], peer: Sequence[Shared]) -> list[Figure]:
    """Return how evenly the messages spread."""

    def figure(which: str, ours: list[float], theirs: list[float], target: Target) -> Figure:
        return Figure(
            name=f"broker, {DIALECT}, {which} of a shared subscription",
            unit="of an even share",
            ours_rounds=ours,
            peer_rounds=theirs,
            peer_name="mosquitto",
            targets=(target,),
        )

    return [
        figure(
            "member with the fewest messages",
            [each.least for each in shared],
            [each.least for each in peer],
            Target("ours", ">=", 1 - EVEN_WITHIN),
        ),
        figure(
            "member with the most messages",
            [each.most for each in shared],
            [each.most for each in peer],
            Target("ours", "<=", 1 + EVEN_WITHIN),
        ),
    ]
