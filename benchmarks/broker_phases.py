"""The phases that are measured with each version of MQTT and over each transport, and their figures.

A round, in which nobody is connected before and after: warm connects; then 1,000 devices and a back end connect, and
there are commands to all of them and state of all of them at QoS 0 and QoS 1, after a first message of each device that
isn't counted. The broker verified every secret before the first round.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.broker_cost import Costed, costed
from benchmarks.broker_loadgen import WINDOW, LoadGenerator
from benchmarks.figure import Figure, Target

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import ExitStack
    from pathlib import Path

    from benchmarks.broker_dialect import Dialect
    from benchmarks.broker_fleet import BrokerFleet
    from benchmarks.broker_servers import Broker

__all__ = ["COMMANDS", "CONNECTS", "DEVICES", "STATE", "STATE_QOS_1", "Amounts", "figures_beside", "phases_of"]

DEVICES = 1_000
CONNECTS = "connects, warm"
STATE = f"state, {DEVICES:,} devices, QoS 0"
STATE_QOS_1 = f"state, {DEVICES:,} devices, QoS 1"
COMMANDS = f"commands, {DEVICES:,} devices, QoS 0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Amounts:
    """How many connects, and how many messages of each kind, a round has."""

    connects: int = 5_000
    state: int = 30_000
    state_qos_1: int = 20_000
    commands: int = 30_000

    @property
    def notes(self) -> dict[str, str]:
        """What a reader wants to know about each phase."""
        window = f"64 bytes, {WINDOW} under way"
        connects = f"{self.connects:,} devices, 100 at a time"
        return {CONNECTS: connects, STATE: window, STATE_QOS_1: window, COMMANDS: window}


def phases_of(
    stack: ExitStack, program: Path, broker: Broker, fleet: BrokerFleet, dialect: Dialect, amounts: Amounts
) -> Callable[[], dict[str, Costed]]:
    """Return what runs a round of a broker that is running, by the names of its phases."""
    generator = stack.enter_context(LoadGenerator(program, broker.through(dialect.transport), fleet, dialect))
    generator.churn(0, amounts.connects)
    return lambda: _round(broker, generator, amounts)


def _round(broker: Broker, generator: LoadGenerator, amounts: Amounts) -> dict[str, Costed]:
    connects = costed(broker, lambda: generator.churn(0, amounts.connects))
    generator.connect_back_end()
    generator.connect(0, DEVICES)
    generator.state(DEVICES, DEVICES)
    commands = costed(broker, lambda: generator.command(DEVICES, amounts.commands))
    state = costed(broker, lambda: generator.state(DEVICES, amounts.state))
    generator.listen(qos=1)
    state_qos_1 = costed(broker, lambda: generator.state(DEVICES, amounts.state_qos_1, qos=1))
    generator.close_back_end()
    generator.close(0, DEVICES)
    return {CONNECTS: connects, STATE: state, STATE_QOS_1: state_qos_1, COMMANDS: commands}


def figures_beside(
    dialect: Dialect,
    ours: Sequence[Mapping[str, Costed]],
    peer: Sequence[Mapping[str, Costed]],
    *,
    peer_name: str,
    targets: Mapping[str, float],
    notes: Mapping[str, str],
    suffix: str = "",
) -> list[Figure]:
    """Return the rate of each phase, then the processor time of each.

    Args:
        dialect: how our clients spoke.
        ours: our rounds, by the names of phases.
        peer: the peer's.
        peer_name: what the peer is.
        targets: the least ratio of the rates, for the phases that have one.
        notes: on the rate of each phase.
        suffix: of the figures' names, where the same phases are measured beside more than one peer.
    """

    def target(name: str) -> tuple[Target, ...]:
        return (Target("ratio", ">=", targets[name]),) if name in targets else ()

    rates = [
        Figure(
            name=f"broker, {dialect}, {name}{suffix}",
            unit="/s",
            ours_rounds=[phases[name].rate for phases in ours],
            peer_rounds=[phases[name].rate for phases in peer],
            peer_name=peer_name,
            targets=target(name),
            note=notes[name],
        )
        for name in ours[0]
    ]
    costs = [
        Figure(
            name=f"broker, {dialect}, processor time of {name}{suffix}",
            unit="µs",
            ours_rounds=[phases[name].microseconds for phases in ours],
            peer_rounds=[phases[name].microseconds for phases in peer],
            peer_name=peer_name,
            ratio_is="peer/ours",
        )
        for name in ours[0]
    ]
    return [*rates, *costs]
