"""A fleet that comes back to a broker that has just started: how fast, and what each connection then holds in memory.

Ours verifies every secret with bcrypt. Its peer in time is bcrypt alone on two threads; in memory, mosquitto. Memory is
the difference of the process's resident memory before and after 5,000 devices connected, divided by 5,000; what is
remembered of each secret is in it.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import bcrypt

from benchmarks.broker_dialect import DEFAULT_DIALECT
from benchmarks.broker_loadgen import LoadGenerator
from benchmarks.broker_servers import fleetkey_broker, mosquitto_broker
from benchmarks.figure import Figure, Target
from benchmarks.rounds import alternate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from benchmarks.broker_dialect import Dialect
    from benchmarks.broker_fleet import BrokerFleet
    from benchmarks.broker_servers import Broker
    from benchmarks.fleet import Credential

__all__ = ["DEVICES", "Return", "come_back", "restart_figures"]

DEVICES = 5_000
BARE_CHECKS = 3_000
THREADS = 2
SETTLE_SECONDS = 0.5
KIB = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Return:
    """What connects after the start of a broker came to, and what they left it with."""

    rate: float
    kib_per_connection: float


def restart_figures(program: Path, fleet: BrokerFleet) -> list[Figure]:
    """Measure with a broker that is started anew in every round."""
    ours, peer, bare = alternate(
        lambda: come_back(program, fleet, fleetkey_broker),
        lambda: come_back(program, fleet, mosquitto_broker),
        lambda: _bare_rate(fleet.devices[:BARE_CHECKS]),
    )
    assert all(isinstance(side, Return) for side in (*ours, *peer))
    return [
        Figure(
            name="broker, connects after a restart",
            unit="/s",
            ours_rounds=[side.rate for side in ours if isinstance(side, Return)],
            peer_rounds=[rate for rate in bare if isinstance(rate, float)],
            peer_name=f"bcrypt.checkpw alone, same cost, {THREADS} threads",
            targets=(Target("ratio", ">=", 0.9),),
            note=f"{DEVICES:,} devices, 100 at a time; the load generator is on the same cores",
        ),
        Figure(
            name="broker, memory per idle connection",
            unit="KiB",
            ours_rounds=[side.kib_per_connection for side in ours if isinstance(side, Return)],
            peer_rounds=[side.kib_per_connection for side in peer if isinstance(side, Return)],
            peer_name="mosquitto",
            targets=(Target("ours", "<=", 12),),
            note=f"{DEVICES:,} devices, not subscribed",
        ),
    ]


def come_back(
    program: Path,
    fleet: BrokerFleet,
    start: Callable[[BrokerFleet], AbstractContextManager[Broker]],
    dialect: Dialect = DEFAULT_DIALECT,
) -> Return:
    """Start a broker and connect `DEVICES`."""
    with start(fleet) as broker, LoadGenerator(program, broker, fleet, dialect) as generator:
        # What is loaded or built with the first connection belongs to none of them.
        generator.churn(DEVICES, 1)
        before = broker.resident_bytes
        phase = generator.connect(0, DEVICES, is_subscribing=False)
        time.sleep(SETTLE_SECONDS)
        held = broker.resident_bytes - before
    return Return(rate=phase.rate, kib_per_connection=held / DEVICES / KIB)


def _bare_rate(credentials: Sequence[Credential]) -> float:
    def check(credential: Credential) -> bool:
        return bcrypt.checkpw(credential.secret, credential.secret_hash)

    with ThreadPoolExecutor(THREADS) as threads:
        start = time.perf_counter()
        verified = list(threads.map(check, credentials))
        seconds = time.perf_counter() - start
    assert all(verified)
    return len(credentials) / seconds
