"""One attack on one server: its victims at rest, meanwhile, and until they are at rest again."""

from __future__ import annotations

import time
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.abuse.attacker import Attacker
from benchmarks.abuse.plan import read_clients
from benchmarks.abuse.server import MemoryWatch, full_disk
from benchmarks.abuse.victims import look_at_victims

if TYPE_CHECKING:
    from benchmarks.abuse.connections import Report
    from benchmarks.abuse.fleet import AbuseFleet
    from benchmarks.abuse.plan import Attack
    from benchmarks.abuse.server import Footprint, Server
    from benchmarks.abuse.victims import Victims
    from benchmarks.broker_loadgen import LoadGenerator

__all__ = ["MEBIBYTE", "REST_AGAIN_SECONDS", "Outcome", "measure"]

MEBIBYTE = 2**20
WARM_UP_SECONDS, REST_SECONDS, LOOK_SECONDS = 0.3, 1.5, 0.4
BACK_END_AND_DEVICE = 2
"""Come before the device that logs in, among the clients."""
REST_AGAIN_SECONDS = 10.0
"""How long latency and memory may take until they are as before."""
REST_NOISE_BYTES = 32 * MEBIBYTE
"""More than this is not yet the memory at rest."""
MOST_ADDED_BYTES = 1024 * MEBIBYTE
"""The attack is stopped there, so that it harms nobody but the server."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What an attack did.

    Args:
        report: the attacker's.
        is_stopped: it was stopped for the server's memory.
        rest: before.
        attacked: meanwhile.
        seconds_to_rest: from the attack's end until the victims were at rest again, or until nobody looked any more.
        rest_mib: the server's memory before.
        peak_mib: the most of it.
        after_mib: the last that was seen of it, at the latest after `REST_AGAIN_SECONDS`.
        bounds: how often which bound was reached; None if the server doesn't say.
        before: what the server had written before.
        after: what it has written at the end.
    """

    report: Report
    is_stopped: bool
    rest: Victims
    attacked: Victims
    seconds_to_rest: float
    rest_mib: float
    peak_mib: float
    after_mib: float
    bounds: dict[str, int] | None
    before: Footprint
    after: Footprint

    @property
    def written(self) -> Footprint:
        """What the server has written meanwhile."""
        return self.after - self.before


def measure(attack: Attack, server: Server, generator: LoadGenerator, fleet: AbuseFleet) -> Outcome:
    """Attack a server that has done nothing yet."""
    generator.connect(0, 1, qos=attack.victim_qos)
    newcomer = read_clients(fleet.clients)[BACK_END_AND_DEVICE]
    look = partial(look_at_victims, attack, server, generator, newcomer)
    look(lambda: time.sleep(WARM_UP_SECONDS))
    rest = look(lambda: time.sleep(REST_SECONDS))
    before, rest_bytes = server.footprint(), server.resident_bytes
    attackers: list[Attacker] = []

    def stop() -> None:
        for attacker in attackers:
            attacker.stop()

    with MemoryWatch(server, rest_bytes + MOST_ADDED_BYTES, stop) as memory:
        attackers.append(Attacker(attack.name, server, fleet))
        if memory.has_excess:
            # That was the preparation.
            stop()
        reports: list[Report] = []
        with full_disk(server) if attack.fills_disk else nullcontext():
            attacked = look(lambda: reports.append(attackers[0].report()))
        end = time.monotonic()
        seconds_to_rest: float | None = None
        while True:
            again = look(lambda: time.sleep(LOOK_SECONDS))
            seconds, after_bytes = time.monotonic() - end, server.resident_bytes
            if seconds_to_rest is None and again.are_like(rest):
                seconds_to_rest = seconds
            is_as_before = seconds_to_rest is not None and after_bytes <= rest_bytes + REST_NOISE_BYTES
            if is_as_before or seconds > REST_AGAIN_SECONDS:
                break
    return Outcome(
        report=reports[0],
        is_stopped=memory.has_excess,
        rest=rest,
        attacked=attacked,
        seconds_to_rest=seconds if seconds_to_rest is None else seconds_to_rest,
        rest_mib=rest_bytes / MEBIBYTE,
        peak_mib=max(memory.peak_bytes, rest_bytes) / MEBIBYTE,
        after_mib=after_bytes / MEBIBYTE,
        bounds=server.bounds_reached(),
        before=before,
        after=server.footprint(),
    )
