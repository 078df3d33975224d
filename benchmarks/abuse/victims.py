"""Who suffers: a device, and where HTTP is attacked whoever checks the server's health."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.broker_loadgen import Phase

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.abuse.server import Server
    from benchmarks.broker_loadgen import LoadGenerator

__all__ = ["Victims", "look_at_victims"]

BEATS_A_SECOND = 500
REST_FACTOR, REST_NOISE_MS = 2.0, 2.0
"""What still counts as being at rest: this much more than before, since other work on the machine shows too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Victims:
    """Round trips of the device, and health checks if HTTP is attacked."""

    device: Phase
    http: Phase | None

    def are_like(self, rest: Victims) -> bool:
        """Whether they are as well off as they were at rest."""
        if not _is_like(self.device, rest.device):
            return False
        return self.http is None or rest.http is None or _is_like(self.http, rest.http)


def look_at_victims(
    server: Server, generator: LoadGenerator, meanwhile: Callable[[], object], *, with_http: bool
) -> Victims:
    """Measure them during a call; the device is the generator's first, and connected."""
    with ExitStack() as stack:
        http = stack.enter_context(_checking_health(server.http_port)) if with_http else []
        with generator.beating(0, BEATS_A_SECOND) as device:
            meanwhile()
    return Victims(device=device[0], http=http[0] if http else None)


@contextmanager
def _checking_health(port: int) -> Iterator[list[Phase]]:
    """Check while the block runs; yields a list that gets one phase at the end of the block."""
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.abuse.health_checks", str(port)],
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
