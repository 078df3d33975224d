"""MQTT 5, beside our own 3.1.1 and beside mosquitto's 5: the phases, a shared subscription, and memory."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from benchmarks.broker_dialect import Dialect, Version
from benchmarks.broker_phases import COMMANDS, CONNECTS, STATE, STATE_QOS_1, Amounts, figures_beside, phases_of
from benchmarks.broker_restart import DEVICES, come_back
from benchmarks.broker_servers import fleetkey_broker, mosquitto_broker
from benchmarks.broker_setting import broker_setting
from benchmarks.broker_sharing import sharing_figures
from benchmarks.figure import Benchmark, Figure, Target
from benchmarks.rounds import alternate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from benchmarks.broker_cost import Costed
    from benchmarks.broker_fleet import BrokerFleet
    from benchmarks.broker_servers import Broker

    Start = Callable[[BrokerFleet], AbstractContextManager[Broker]]

__all__ = ["BENCHMARK", "memory_figures", "version_figures"]

OLD, NEW = Dialect(Version.V3_1_1), Dialect(Version.V5)
AMOUNTS = Amounts()
OF_MOSQUITTO = {CONNECTS: 1.0, STATE: 1.0, STATE_QOS_1: 0.8, COMMANDS: 1.0}
OF_OUR_OLD = dict.fromkeys(OF_MOSQUITTO, 0.95)
MOST_KIB = 12


def run() -> list[Figure]:
    """Measure everything, or say on standard error what is missing and return nothing."""
    # One more than is measured in `come_back`, which connects first.
    with broker_setting("broker-v5", devices=DEVICES + 1) as setting:
        if setting is None:
            return []
        program, fleet = setting.program, setting.fleet
        return [*_phases(program, fleet), *sharing_figures(program, fleet), *_memory(program, fleet)]


def _phases(program: Path, fleet: BrokerFleet) -> list[Figure]:
    with ExitStack() as stack:
        broker = stack.enter_context(fleetkey_broker(fleet))
        peer = stack.enter_context(mosquitto_broker(fleet))
        sides = ((broker, OLD), (broker, NEW), (peer, NEW))
        return version_figures(*alternate(*(phases_of(stack, program, of, fleet, as_, AMOUNTS) for of, as_ in sides)))


def version_figures(
    old: Sequence[dict[str, Costed]], new: Sequence[dict[str, Costed]], peer: Sequence[dict[str, Costed]]
) -> list[Figure]:
    """Return the figures of rounds with our MQTT 3.1.1, our 5 and mosquitto's 5."""
    notes = AMOUNTS.notes
    return [
        *figures_beside(NEW, new, peer, peer_name="mosquitto", targets=OF_MOSQUITTO, notes=notes),
        *figures_beside(
            NEW,
            new,
            old,
            peer_name="the same broker with 3.1.1",
            targets=OF_OUR_OLD,
            notes=notes,
            suffix=", beside 3.1.1",
        ),
    ]


def _memory(program: Path, fleet: BrokerFleet) -> list[Figure]:
    def held(start: Start, dialect: Dialect) -> Callable[[], float]:
        return lambda: come_back(program, fleet, start, dialect).kib_per_connection

    return memory_figures(
        *alternate(
            held(fleetkey_broker, OLD),
            held(fleetkey_broker, NEW),
            held(mosquitto_broker, OLD),
            held(mosquitto_broker, NEW),
        )
    )


def memory_figures(
    old: Sequence[float], new: Sequence[float], peer_old: Sequence[float], peer_new: Sequence[float]
) -> list[Figure]:
    """Return the figures of what a connection holds, in KiB, with either version on either broker."""
    return [
        Figure(
            name=f"broker, {dialect}, memory per idle connection",
            unit="KiB",
            ours_rounds=ours,
            peer_rounds=peer,
            peer_name="mosquitto",
            targets=(Target("ours", "<=", MOST_KIB),),
            note=f"{DEVICES:,} devices, not subscribed",
        )
        for dialect, ours, peer in ((OLD, old, peer_old), (NEW, new, peer_new))
    ]


BENCHMARK = Benchmark(name="broker-v5", summary="MQTT 5 beside our own 3.1.1 and beside mosquitto's 5", run=run)
