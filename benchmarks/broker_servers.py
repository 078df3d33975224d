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
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from benchmarks.broker_certificate import CERTIFICATE, PRIVATE_KEY
from benchmarks.broker_dialect import Transport

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from benchmarks.broker_fleet import BrokerFleet

__all__ = ["HOST", "Broker", "fleetkey_broker", "mosquitto_broker", "mosquitto_config", "mosquitto_path", "ports_of"]

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
MOSQUITTO_TLS = """
listener {tls_port} 127.0.0.1
certfile {certificate}
keyfile {private_key}
"""
MOSQUITTO_WEBSOCKET = """
listener {ws_port} 127.0.0.1
socket_domain ipv4
protocol websockets
"""
"""Debian's defaults but for the same window as ours, a queue without a bound, so that nothing of the QoS 1 figure is
dropped, no delay of small packets (ours has none either), and `user root`, so that it can read the temporary folder."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """A broker that is running.

    Args:
        port: MQTT over TCP, on loopback.
        http_port: registration's; 0 = it has none.
        tls_port: MQTT over TLS, likewise.
        ws_port: MQTT over WebSocket, likewise.
        process_id: of the one process that serves.
    """

    port: int
    process_id: int
    http_port: int = 0
    tls_port: int = 0
    ws_port: int = 0

    def through(self, transport: Transport) -> Broker:
        """Return the same broker with the port of a transport as its port."""
        ports = {Transport.TCP: self.port, Transport.TLS: self.tls_port, Transport.WEBSOCKET: self.ws_port}
        return replace(self, port=ports[transport])

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
        yield Broker(process_id=process.pid, **ports_of(json.loads(line)))


def ports_of(ready: Mapping[str, str | None]) -> dict[str, int]:
    """Return a `Broker`'s ports from the line with which `fleetkey serve --json` says that it is ready."""
    names = {"port": "mqtt", "http_port": "http", "tls_port": "mqtt_tls", "ws_port": "ws"}
    return {port: _port(ready[name]) for port, name in names.items()}


@contextmanager
def mosquitto_broker(
    fleet: BrokerFleet, *, certificate: Path | None = None, has_websocket: bool = False
) -> Iterator[Broker]:
    """Run mosquitto while the block runs; raises `RuntimeError` if it doesn't start.

    Args:
        fleet: who may connect.
        certificate: the folder of the one for TLS; None = no TLS.
        has_websocket: whether it listens for MQTT over WebSocket as well.
    """
    path = mosquitto_path()
    assert path is not None
    port, tls_port, ws_port = _free_ports(3)
    broker = Broker(
        port=port, process_id=0, tls_port=tls_port if certificate else 0, ws_port=ws_port if has_websocket else 0
    )
    config = fleet.passwords.parent / "mosquitto.conf"
    config.write_text(mosquitto_config(fleet, broker, certificate))
    process = subprocess.Popen([path, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    with _stopped_at_the_end(process):
        for each in filter(None, (port, broker.tls_port, broker.ws_port)):
            _wait_for(each, process)
        yield replace(broker, process_id=process.pid)


def mosquitto_config(fleet: BrokerFleet, broker: Broker, certificate: Path | None) -> str:
    """Return mosquitto's settings for the ports that a broker has."""
    parts = MOSQUITTO_CONFIG
    if broker.tls_port:
        parts += MOSQUITTO_TLS
    if broker.ws_port:
        parts += MOSQUITTO_WEBSOCKET
    return parts.format(
        port=broker.port,
        tls_port=broker.tls_port,
        ws_port=broker.ws_port,
        passwords=fleet.passwords,
        access_list=fleet.access_list,
        log=fleet.passwords.parent / "mosquitto.log",
        certificate=certificate and certificate / CERTIFICATE,
        private_key=certificate and certificate / PRIVATE_KEY,
    )


def _port(address: str | None) -> int:
    """Return the port of `HOST:PORT` or of a URL; 0 if there is none."""
    return urlsplit(address if "//" in address else f"//{address}").port or 0 if address else 0


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        return [stack.enter_context(socket.create_server((HOST, 0))).getsockname()[1] for _ in range(count)]


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
