"""Both brokers as processes: `fleetkey serve` with its defaults, and mosquitto as Debian ships it."""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.broker_fleet import BrokerFleet

__all__ = ["Broker", "fleetkey_broker", "mosquitto_broker", "mosquitto_path"]

HOST = "127.0.0.1"
START_SECONDS = 20
STOP_SECONDS = 30
UTIME, STIME = 11, 12
"""Their places in `/proc/PID/stat`, after the name."""
FLEETKEY_CONFIG = """
[registration]
max_per_address_per_minute = 0
max_per_serial_per_hour = 0
"""
MOSQUITTO_CONFIG = """
listener {port} 127.0.0.1
user root
allow_anonymous false
password_file {passwords}
acl_file {access_list}
max_inflight_messages 32
max_queued_messages 0
set_tcp_nodelay true
log_dest file {log}
"""
"""Debian's defaults but for the same window as ours, a queue without a bound, so that nothing of the QoS 1 figure is
dropped, no delay of small packets (ours has none either), and `user root`, so that it can read the temporary folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """A broker that is running.

    Args:
        port: MQTT over TCP, on loopback.
        http_port: registration's; 0 = it has none.
        process_id: of the one process that serves.
    """

    port: int
    process_id: int
    http_port: int = 0

    @property
    def resident_bytes(self) -> int:
        """Memory that it holds at this moment."""
        resident_pages = Path(f"/proc/{self.process_id}/statm").read_text().split()[1]
        return int(resident_pages) * resource.getpagesize()

    @property
    def processor_seconds(self) -> float:
        """Processor time that it has used, in all its threads, its own and the kernel's for it."""
        fields = Path(f"/proc/{self.process_id}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[UTIME]) + int(fields[STIME])) / os.sysconf("SC_CLK_TCK")


def mosquitto_path() -> str | None:
    """Return where mosquitto is; Debian installs it where only root's search path leads."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


@contextmanager
def fleetkey_broker(fleet: BrokerFleet, **mqtt: object) -> Iterator[Broker]:
    """Serve while the block runs, with settings of `[mqtt]`. The log goes to a file beside the registry."""
    config = fleet.data_dir.parent / "fleetkey.toml"
    config.write_text(FLEETKEY_CONFIG)
    command = [sys.executable, "-m", "fleetkey", "serve", "--http", f"{HOST}:0", "--mqtt", f"{HOST}:0", "--json"]
    log_path = fleet.data_dir.parent / "fleetkey.log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            [*command, "--config", str(config), "--data-dir", str(fleet.data_dir)],
            stdout=subprocess.PIPE,
            stderr=log,
            env={**os.environ, **{f"FLEETKEY_MQTT__{name.upper()}": str(value) for name, value in mqtt.items()}},
        )
    with _stopped_at_the_end(process):
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, log_path.read_text()
        ready = json.loads(line)
        yield Broker(
            port=int(ready["mqtt"].rpartition(":")[2]),
            http_port=urlsplit(ready["http"]).port or 0,
            process_id=process.pid,
        )


@contextmanager
def mosquitto_broker(fleet: BrokerFleet) -> Iterator[Broker]:
    """Run mosquitto while the block runs."""
    folder = fleet.passwords.parent
    path = mosquitto_path()
    assert path is not None
    with socket.create_server((HOST, 0)) as free:
        port = free.getsockname()[1]
    config = folder / "mosquitto.conf"
    config.write_text(
        MOSQUITTO_CONFIG.format(
            port=port, passwords=fleet.passwords, access_list=fleet.access_list, log=folder / "mosquitto.log"
        )
    )
    process = subprocess.Popen([path, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with _stopped_at_the_end(process):
        _wait_for(port, process)
        yield Broker(port=port, process_id=process.pid)


@contextmanager
def _stopped_at_the_end(process: subprocess.Popen[bytes]) -> Iterator[None]:
    with process:
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection((HOST, port), timeout=1).close()
        except OSError:
            time.sleep(0.02)
        else:
            return
    msg = f"mosquitto doesn't listen on port {port}"
    raise RuntimeError(msg)
