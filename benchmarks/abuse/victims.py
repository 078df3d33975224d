"""Who suffers: a device; where HTTP is attacked whoever checks the server's health, and one that logs in."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.abuse.mqtt_packets import log_in
from benchmarks.broker_loadgen import Phase
from tests.support.packets import Kind, packet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.abuse.plan import Attack, Client
    from benchmarks.abuse.server import Server
    from benchmarks.broker_loadgen import LoadGenerator

__all__ = ["Victims", "look_at_victims"]

BEATS_A_SECOND = 500
REST_FACTOR, REST_NOISE_MS = 2.0, 2.0
"""What still counts as being at rest: this much more than before, since other work on the machine shows too."""
HEALTH_CHECK = b"GET /health/live HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
HEALTHY = b"HTTP/1.1 200 "
ACCEPTED = packet(Kind.CONNACK, 0, bytes(2))


@dataclass(frozen=True, slots=True, kw_only=True)
class Victims:
    """Round trips of the device; health checks if HTTP is attacked, and log-ins if connections are."""

    device: Phase
    http: Phase | None
    log_in: Phase | None

    def by_name(self) -> dict[str, Phase]:
        """Return those who were looked at, by what they do."""
        everyone = {"round trip": self.device, "health check": self.http, "log-in": self.log_in}
        return {name: phase for name, phase in everyone.items() if phase is not None}

    def are_like(self, rest: Victims) -> bool:
        """Whether they are as well off as they were at rest."""
        before = rest.by_name()
        return all(_is_like(phase, before[name]) for name, phase in self.by_name().items())


def look_at_victims(
    attack: Attack, server: Server, generator: LoadGenerator, newcomer: Client, meanwhile: Callable[[], object]
) -> Victims:
    """Measure them during a call.

    Args:
        attack: who is measured.
        server: theirs.
        generator: its first device is connected.
        newcomer: a device that isn't.
        meanwhile: the call.
    """
    with ExitStack() as stack:
        http = log_ins = None
        if attack.hits_http:
            http = stack.enter_context(_probing(server.http_port, HEALTH_CHECK, HEALTHY))
        if attack.hits_log_ins:
            log_ins = stack.enter_context(_probing(server.port, log_in(newcomer), ACCEPTED))
        with generator.beating(0, BEATS_A_SECOND, qos=attack.victim_qos) as device:
            meanwhile()
    return Victims(device=device[0], http=http[0] if http else None, log_in=log_ins[0] if log_ins else None)


@contextmanager
def _probing(port: int, request: bytes, answer: bytes) -> Iterator[list[Phase]]:
    """Ask while the block runs; yields a list that gets one phase at the end of the block."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.abuse.probe", str(port), request.hex(), answer.hex()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        phases: list[Phase] = []
        try:
            yield phases
            output, _ = process.communicate()
            phases.append(Phase(**json.loads(output)))
        finally:
            process.terminate()


def _is_like(phase: Phase, rest: Phase) -> bool:
    return phase.failed <= rest.failed and phase.p99_ms <= REST_FACTOR * rest.p99_ms + REST_NOISE_MS
