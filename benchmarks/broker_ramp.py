"""A fleet that grows from nothing to 10,000 devices, on both brokers: connects and messages at every size.

A round: warm connects without a fleet; then, size by size, the fleet grows to it, further devices connect and
subscribe one at a time, and all devices publish their state in turn, which the back end receives, after a first message
each that isn't counted; then all disconnect. At 1,000 devices there are the same with a wider window and with QoS 1,
and commands from the back end to all of them; at 10,000 the same from the first 100 only. Both brokers verified every
secret before the first round.

Against the fleet's size, no device has two messages under way at any size: a broker reads two of one connection at once
for little more than one, so a small fleet would look fast for that alone.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.broker_cost import Costed, costed
from benchmarks.broker_loadgen import WINDOW, LoadGenerator
from benchmarks.broker_servers import fleetkey_broker, mosquitto_broker
from benchmarks.figure import Figure, Target
from benchmarks.plots.curves import CURVES, SIZES, curve_figure_name
from benchmarks.rounds import alternate

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager
    from pathlib import Path

    from benchmarks.broker_fleet import BrokerFleet
    from benchmarks.broker_loadgen import Phase
    from benchmarks.broker_servers import Broker

__all__ = ["PROBES", "ramp_figures"]

CONNECTS = 5_000
STATE_MESSAGES = 30_000
QOS_1_MESSAGES = 20_000
COMMANDS = 30_000
PROBES = 200
"""Devices beyond the largest fleet that connect one at a time."""
CURVE_WINDOW = min(SIZES)
"""Messages under way against the fleet's size: one a device in the smallest."""
SMALLEST, MIDDLE, LARGE, LARGEST = SIZES
PEER = "mosquitto"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Size:
    grow: Phase
    probe: Phase
    state: Phase


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ramp:
    churn: Costed
    sizes: dict[int, _Size]
    state: Costed
    state_qos_1: Costed
    command: Costed
    state_of_few: Phase


def ramp_figures(program: Path, fleet: BrokerFleet) -> list[Figure]:
    """Measure both brokers in turn."""
    with ExitStack() as stack:
        ours, peer = alternate(
            _side(stack, program, fleet, fleetkey_broker), _side(stack, program, fleet, mosquitto_broker)
        )
    return [*_figures(ours, peer), *_curves(ours, peer)]


def _side(
    stack: ExitStack,
    program: Path,
    fleet: BrokerFleet,
    start: Callable[[BrokerFleet], AbstractContextManager[Broker]],
) -> Callable[[], _Ramp]:
    broker = stack.enter_context(start(fleet))
    generator = stack.enter_context(LoadGenerator(program, broker, fleet))
    generator.churn(0, LARGEST + PROBES)
    generator.connect_back_end()
    return lambda: _climb(broker, generator)


def _climb(broker: Broker, generator: LoadGenerator) -> _Ramp:
    churn = costed(broker, lambda: generator.churn(0, CONNECTS))
    sizes: dict[int, _Size] = {}
    before = 0
    for size in SIZES:
        grow = generator.connect(before, size - before)
        probe = generator.churn(LARGEST, PROBES, parallel=1, is_subscribing=True)
        generator.state(size, size)
        sizes[size] = _Size(grow=grow, probe=probe, state=generator.state(size, STATE_MESSAGES, window=CURVE_WINDOW))
        before = size
        if size == MIDDLE:
            command = costed(broker, lambda: generator.command(MIDDLE, COMMANDS))
            state = costed(broker, lambda: generator.state(MIDDLE, STATE_MESSAGES))
            generator.listen(qos=1)
            state_qos_1 = costed(broker, lambda: generator.state(MIDDLE, QOS_1_MESSAGES, qos=1))
            generator.listen(qos=0)
    state_of_few = generator.state(SMALLEST, STATE_MESSAGES, window=CURVE_WINDOW)
    generator.close(0, LARGEST)
    return _Ramp(
        churn=churn, sizes=sizes, state=state, state_qos_1=state_qos_1, command=command, state_of_few=state_of_few
    )


def _figures(ours: list[_Ramp], peer: list[_Ramp]) -> list[Figure]:
    def figure(name: str, least: float, note: str, value: Callable[[_Ramp], float]) -> Figure:
        return Figure(
            name=f"broker, {name}",
            unit="/s",
            ours_rounds=[value(ramp) for ramp in ours],
            peer_rounds=[value(ramp) for ramp in peer],
            peer_name=PEER,
            targets=(Target("ratio", ">=", least),),
            note=note,
        )

    window = f"64 bytes, {WINDOW} under way"
    return [
        figure("connects, warm", 1, f"{CONNECTS:,} devices, 100 at a time", lambda ramp: ramp.churn.rate),
        figure(
            f"connect and subscribe, fleet of {LARGE:,}",
            1,
            f"from nobody to {LARGE:,} devices, 100 at a time",
            _rate_until_large,
        ),
        figure(f"state, {MIDDLE:,} devices, QoS 0", 1, window, lambda ramp: ramp.state.rate),
        figure(f"state, {MIDDLE:,} devices, QoS 1", 0.7, window, lambda ramp: ramp.state_qos_1.rate),
        figure(f"commands, {MIDDLE:,} devices, QoS 0", 1, window, lambda ramp: ramp.command.rate),
        *_cost_figures(ours, peer),
        *_size_figures(ours, peer),
    ]


def _cost_figures(ours: list[_Ramp], peer: list[_Ramp]) -> list[Figure]:
    """Return what a busy machine moves less than the rates: processor time."""
    values: dict[str, Callable[[_Ramp], Costed]] = {
        "warm connect": lambda ramp: ramp.churn,
        "state, QoS 0": lambda ramp: ramp.state,
        "state, QoS 1": lambda ramp: ramp.state_qos_1,
        "command": lambda ramp: ramp.command,
    }
    return [
        Figure(
            name=f"broker, processor time of a {name}",
            unit="µs",
            ours_rounds=[value(ramp).microseconds for ramp in ours],
            peer_rounds=[value(ramp).microseconds for ramp in peer],
            peer_name=PEER,
            ratio_is="peer/ours",
        )
        for name, value in values.items()
    ]


def _size_figures(ours: list[_Ramp], peer: list[_Ramp]) -> list[Figure]:
    def figure(name: str, ramps: list[_Ramp], value: Callable[[_Ramp], float], least: float | None) -> Figure:
        return Figure(
            name=f"{name}, fleet of {LARGEST:,}",
            unit="/s",
            ours_rounds=[value(ramp) for ramp in ramps],
            peer_rounds=[ramp.sizes[SMALLEST].state.rate for ramp in ramps],
            peer_name=f"the same broker with a fleet of {SMALLEST}",
            targets=(Target("ratio", ">=", least),) if least else (),
            note=f"64 bytes, {CURVE_WINDOW} under way",
        )

    return [
        figure("broker, state of all", ours, lambda ramp: ramp.sizes[LARGEST].state.rate, 0.9),
        figure("mosquitto, state of all", peer, lambda ramp: ramp.sizes[LARGEST].state.rate, None),
        figure(f"broker, state of {SMALLEST}", ours, lambda ramp: ramp.state_of_few.rate, 0.9),
        figure(f"mosquitto, state of {SMALLEST}", peer, lambda ramp: ramp.state_of_few.rate, None),
    ]


def _rate_until_large(ramp: _Ramp) -> float:
    return LARGE / sum(at.grow.seconds for size, at in ramp.sizes.items() if size <= LARGE)


def _curves(ours: list[_Ramp], peer: list[_Ramp]) -> list[Figure]:
    values: dict[str, Callable[[_Size], float]] = {
        "state": lambda at: at.state.rate,
        "growth": lambda at: at.grow.rate,
        "connect time": lambda at: at.probe.p50_ms,
    }
    return [
        Figure(
            name=curve_figure_name(curve, size),
            unit=curve.unit,
            ours_rounds=[values[curve.name](ramp.sizes[size]) for ramp in ours],
            peer_rounds=[values[curve.name](ramp.sizes[size]) for ramp in peer],
            peer_name=PEER,
            ratio_is="peer/ours" if curve.unit == "ms" else "ours/peer",
        )
        for curve in CURVES
        for size in SIZES
    ]
