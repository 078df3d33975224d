"""Everybody at once: 1,000 devices that publish at the same time, and one publisher that has orders for all of them.

In the other benchmarks of the broker a fixed number of messages is under way in all. Here each device has one under
way: it publishes its next, or is sent its next, as soon as the last is through. So a broker finds up to 1,000
connections ready in one turn, with one message each, and at QoS 1 has an acknowledgement to write to each of them.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from benchmarks.broker_cost import Costed, costed
from benchmarks.broker_dialect import Dialect, Version
from benchmarks.broker_loadgen import LoadGenerator
from benchmarks.broker_phases import figures_beside
from benchmarks.broker_servers import fleetkey_broker, mosquitto_broker
from benchmarks.broker_setting import broker_setting
from benchmarks.figure import Benchmark
from benchmarks.rounds import alternate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchmarks.broker_fleet import BrokerFleet
    from benchmarks.broker_servers import Broker
    from benchmarks.figure import Figure

__all__ = ["BENCHMARK", "crowd_figures"]

DEVICES = 1_000
STATE_MESSAGES, COMMANDS = 20_000, 30_000
OLD, NEW = Dialect(Version.V3_1_1), Dialect(Version.V5)
STATE = f"state, {DEVICES:,} devices at once, QoS 1"
ORDERS = f"commands to {DEVICES:,} devices at once, QoS 0"
TARGETS = {STATE: 0.8, ORDERS: 1.0}
NOTES = dict.fromkeys(TARGETS, "64 bytes, one under way for each device")


def run() -> list[Figure]:
    """Measure both, or say on standard error what is missing and return nothing."""
    with broker_setting("broker-crowd", devices=DEVICES) as setting, ExitStack() as stack:
        if setting is None:
            return []
        fleet = setting.fleet
        broker = stack.enter_context(fleetkey_broker(fleet))
        peer = stack.enter_context(mosquitto_broker(fleet))
        sides = ((broker, OLD), (broker, NEW), (peer, OLD), (peer, NEW))
        return crowd_figures(*alternate(*(_side(stack, setting.program, of, fleet, as_) for of, as_ in sides)))


def _side(
    stack: ExitStack, program: Path, broker: Broker, fleet: BrokerFleet, dialect: Dialect
) -> Callable[[], dict[str, Costed]]:
    generator = stack.enter_context(LoadGenerator(program, broker, fleet, dialect))
    generator.churn(0, DEVICES)
    return lambda: _round(broker, generator)


def _round(broker: Broker, generator: LoadGenerator) -> dict[str, Costed]:
    generator.connect_back_end(qos=1)
    generator.connect(0, DEVICES)
    generator.crowd(DEVICES, DEVICES, qos=1)
    state = costed(broker, lambda: generator.crowd(DEVICES, STATE_MESSAGES, qos=1))
    generator.orders(DEVICES, DEVICES)
    orders = costed(broker, lambda: generator.orders(DEVICES, COMMANDS))
    generator.close_back_end()
    generator.close(0, DEVICES)
    return {STATE: state, ORDERS: orders}


def crowd_figures(
    old: Sequence[dict[str, Costed]],
    new: Sequence[dict[str, Costed]],
    peer_old: Sequence[dict[str, Costed]],
    peer_new: Sequence[dict[str, Costed]],
) -> list[Figure]:
    """Return the figures of rounds with either version on either broker."""
    sides = ((OLD, old, peer_old), (NEW, new, peer_new))
    return [
        figure
        for dialect, ours, peer in sides
        for figure in figures_beside(dialect, ours, peer, peer_name="mosquitto", targets=TARGETS, notes=NOTES)
    ]


BENCHMARK = Benchmark(name="broker-crowd", summary="all devices at once on the broker, beside mosquitto", run=run)
