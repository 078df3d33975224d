"""Registrations a second while the same process carries 5,000 messages a second.

Registrations come in as in the `registration` benchmark, beside 1,000 connected devices that publish their state in
turn and a back end that receives it. The peer is the same process, with the same devices connected and silent.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING

from benchmarks.broker_loadgen import LoadGenerator
from benchmarks.broker_servers import fleetkey_broker
from benchmarks.figure import Figure, Target
from benchmarks.rounds import ROUNDS, alternate

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.broker_fleet import BrokerFleet
    from benchmarks.broker_loadgen import Phase

__all__ = ["SERIALS_NEEDED", "registration_figures"]

DEVICES = 1_000
MESSAGES_PER_SECOND = 5_000
HTTP_CONNECTIONS = 20
PER_ROUND = 1_000
WARM_UP = 200
SERIALS_NEEDED = WARM_UP + 2 * ROUNDS * PER_ROUND


def registration_figures(program: Path, fleet: BrokerFleet, serials: list[str]) -> list[Figure]:
    """Register `serials`, half of them while messages flow."""
    unused = iter(serials)
    phases: list[Phase] = []
    with fleetkey_broker(fleet) as broker, LoadGenerator(program, broker, fleet) as generator:

        def undisturbed(count: int = PER_ROUND) -> float:
            return _register(broker.http_port, [next(unused) for _ in range(count)])

        def disturbed() -> float:
            with generator.pacing(DEVICES, MESSAGES_PER_SECOND) as meanwhile:
                rate = undisturbed()
            phases.extend(meanwhile)
            return rate

        generator.connect_back_end()
        generator.connect(0, DEVICES)
        undisturbed(WARM_UP)
        ours, peer = alternate(disturbed, undisturbed)
    carried = statistics.median(phase.rate for phase in phases)
    p99_ms = statistics.median(phase.p99_ms for phase in phases)
    return [
        Figure(
            name="broker, registrations beside messages",
            unit="/s",
            ours_rounds=ours,
            peer_rounds=peer,
            peer_name="the same without messages",
            targets=(Target("ratio", ">=", 0.5),),
            note=f"{carried:,.0f} messages/s of {DEVICES:,} devices arrived meanwhile, p99 {p99_ms:.1f} ms",
        )
    ]


def _register(port: int, serials: list[str]) -> float:
    client = subprocess.run(
        [sys.executable, "-m", "benchmarks.http_load", str(port), str(HTTP_CONNECTIONS)],
        input="\n".join(serials),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    report = json.loads(client.stdout)
    assert report["statuses"] == {"200": len(serials)}, report["statuses"]
    return len(serials) / float(report["seconds"])
