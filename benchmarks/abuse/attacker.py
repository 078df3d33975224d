"""`python -m benchmarks.abuse.attacker NAME HTTP MQTT WS TLS CLIENTS KEYS`: attacks, and prints JSON.

A process of its own, nicer than the server and its victims, so that what is measured is what the server does to them
and not that the attacker takes the processor. It prints a line when it has begun, and its report at the end.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.abuse.attacks import ATTACKS
from benchmarks.abuse.connections import Report, carry_out
from benchmarks.abuse.plan import read_scene

if TYPE_CHECKING:
    from benchmarks.abuse.fleet import AbuseFleet
    from benchmarks.abuse.server import Server

__all__ = ["Attacker"]

NICE = 5
STOP_SECONDS = 10


class Attacker:
    """The process of an attack that has begun.

    Args:
        name: of the attack.
        server: what it attacks.
        fleet: whose credentials it has.
    """

    def __init__(self, name: str, server: Server, fleet: AbuseFleet) -> None:
        files = (fleet.clients, fleet.keys)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.abuse.attacker", name, *map(str, (*server.ports.values(), *files))],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline(), f"the attack {name} ended before it had begun"

    def stop(self) -> None:
        """End it before its time; it reports all the same."""
        self._process.terminate()

    def report(self) -> Report:
        """Wait for the end and return what it did."""
        output, _ = self._process.communicate()
        assert output, "the attack has failed"
        return Report(**json.loads(output))


def _main() -> None:
    name, *ports, clients, keys = sys.argv[1:]
    http_port, mqtt_port, ws_port, tls_port = map(int, ports)
    scene = read_scene(
        Path(clients), Path(keys), http_port=http_port, mqtt_port=mqtt_port, ws_port=ws_port, tls_port=tls_port
    )
    attack = ATTACKS[name]
    os.nice(NICE)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    # Whoever started it may have gone.
    parent = os.getppid()
    report = carry_out(
        attack.plans(scene),
        attack.seconds,
        preparation=attack.preparation(scene),
        begin=lambda: print("begun", flush=True),
        is_stopped=lambda: stop.is_set() or os.getppid() != parent,
    )
    print(json.dumps(asdict(report)), flush=True)


if __name__ == "__main__":
    _main()
