"""A `fleetkey serve` to attack: its defaults, all its listeners, a copy of the fleet, and few open files."""

from __future__ import annotations

import json
import re
import resource
import shutil
import sqlite3
import subprocess
import sys
import threading
import urllib.request
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from benchmarks.broker_servers import HOST, Broker, ports_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Footprint", "MemoryWatch", "Server", "full_disk", "serving"]

CONFIG = """
[mqtt]
ws_bind = "127.0.0.1:0"
"""
TLS_CONFIG = """
tls_bind = "127.0.0.1:0"
tls_cert = "{folder}/cert.pem"
tls_key = "{folder}/key.pem"
"""
OPEN_FILES = 1_024
"""The soft limit that most systems start a process with."""
STOP_SECONDS = 30
ROOM_FOR_THE_LOG = 256 * 1024
METRICS_SECONDS = 5
SAMPLE_SECONDS = 0.02
BOUND = re.compile(r'^fleetkey_\w*bounds?_reached_total\{\w+="([^"]*)"\} (\S+)$', re.MULTILINE)
WRITTEN = re.compile(r"^write_bytes: (\d+)$", re.MULTILINE)
CHARGE = re.compile(r'^fleetkey_memory_charged_bytes\{kind="(?!own")\w+"\} (\S+)$', re.MULTILINE)
"""All that is charged, but not what the server has for itself: that is what is measured and charged to nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """What a server has written.

    Args:
        log_bytes: of its log.
        disk_bytes: of the files in its data directory.
        audit_rows: in its registry.
        written_bytes: to the disk in all, what was overwritten or deleted included.
    """

    log_bytes: int
    disk_bytes: int
    audit_rows: int
    written_bytes: int

    def __sub__(self, other: Footprint) -> Footprint:
        return Footprint(
            log_bytes=self.log_bytes - other.log_bytes,
            disk_bytes=self.disk_bytes - other.disk_bytes,
            audit_rows=self.audit_rows - other.audit_rows,
            written_bytes=self.written_bytes - other.written_bytes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Server(Broker):
    """A server that is running.

    Args:
        folder: of its registry, its settings and its log.
    """

    folder: Path

    @property
    def ports(self) -> dict[str, int]:
        """Its ports, by their names in a `Scene`."""
        return {
            "http_port": self.http_port,
            "mqtt_port": self.port,
            "ws_port": self.ws_port,
            "tls_port": self.tls_port,
        }

    def footprint(self) -> Footprint:
        """Return what it has written so far."""
        with closing(sqlite3.connect(f"file:{self.folder}/data/fleetkey.db?mode=ro", uri=True)) as registry:
            (audit_rows,) = registry.execute("SELECT count(*) FROM audit").fetchone()
        return Footprint(
            log_bytes=(self.folder / "log").stat().st_size,
            disk_bytes=sum(path.stat().st_size for path in (self.folder / "data").rglob("*") if path.is_file()),
            audit_rows=audit_rows,
            written_bytes=int(WRITTEN.findall(Path(f"/proc/{self.process_id}/io").read_text())[0]),
        )

    def bounds_reached(self) -> dict[str, int] | None:
        """Return how often it has reached which bound; None when it doesn't say."""
        metrics = self._metrics()
        if metrics is None:
            return None
        return {name: int(float(count)) for name, count in BOUND.findall(metrics) if float(count)}

    def charged_bytes(self) -> float | None:
        """Return the memory that it charges its clients for; None when it doesn't say."""
        charges = CHARGE.findall(self._metrics() or "")
        return sum(map(float, charges)) if charges else None

    def _metrics(self) -> str | None:
        url = f"http://{HOST}:{self.http_port}/metrics"
        try:
            with urllib.request.urlopen(url, timeout=METRICS_SECONDS) as answer:
                text: str = answer.read().decode()
        except OSError:
            return None
        return text


class MemoryWatch:
    """Looks at a server's memory while its block runs, and calls `on_excess` once at more than `most_bytes`."""

    def __init__(self, server: Server, most_bytes: int, on_excess: Callable[[], None]) -> None:
        self.peak_bytes = 0
        self.has_excess = False
        self._server = server
        self._most_bytes = most_bytes
        self._on_excess = on_excess
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End."""
        self._is_over.set()
        self._thread.join()

    def _look(self) -> None:
        with suppress(FileNotFoundError, IndexError):
            while not self._is_over.wait(SAMPLE_SECONDS):
                self.peak_bytes = max(self.peak_bytes, self._server.resident_bytes)
                if self.peak_bytes > self._most_bytes and not self.has_excess:
                    self.has_excess = True
                    self._on_excess()


@contextmanager
def full_disk(server: Server) -> Iterator[None]:
    """Let a server's files grow no more than its log needs, while the block runs."""
    room = (server.folder / "log").stat().st_size + ROOM_FOR_THE_LOG
    before = resource.prlimit(server.process_id, resource.RLIMIT_FSIZE)
    resource.prlimit(server.process_id, resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        yield
    finally:
        resource.prlimit(server.process_id, resource.RLIMIT_FSIZE, before)


@contextmanager
def serving(fleet_dir: Path, folder: Path, certificate: Path | None, settings: str = "") -> Iterator[Server]:
    """Serve a fleet from a new folder while the block runs.

    Args:
        fleet_dir: its data directory, which is copied.
        folder: of the copy, the settings and the log.
        certificate: the folder of the one for MQTT; None = no TLS.
        settings: tables besides the defaults, as in the file.
    """
    data_dir = folder / "data"
    shutil.copytree(fleet_dir, data_dir)
    config = folder / "fleetkey.toml"
    config.write_text(CONFIG + (TLS_CONFIG.format(folder=certificate) if certificate else "") + settings)
    few_files = ["sh", "-c", f'ulimit -Sn {OPEN_FILES} && exec "$@"', "sh"]
    serve = [sys.executable, "-m", "fleetkey", "serve", "--http", f"{HOST}:0", "--mqtt", f"{HOST}:0", "--json"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*few_files, *serve, "--config", str(config), "--data-dir", str(data_dir)],
            stdout=subprocess.PIPE,
            stderr=log,
        )
    with process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, (folder / "log").read_text()
            ready = json.loads(line)
            yield Server(
                **ports_of(ready),
                process_id=process.pid,
                folder=folder,
            )
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
