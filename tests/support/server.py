"""`fleetkey serve` as a process of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests.support import fork_server
from tests.support.command_line import clean_environment
from tests.support.ledger import the_ledger
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.support.fork_server import ForkedProcess

__all__ = ["NO_LIMITS", "ServerProcess", "serve_command"]

START_SECONDS = 30.0
STOP_SECONDS = 15.0
NO_LIMITS = {
    "FLEETKEY_REGISTRATION__MAX_PER_ADDRESS_PER_MINUTE": "0",
    "FLEETKEY_REGISTRATION__MAX_PER_SERIAL_PER_HOUR": "0",
    "FLEETKEY_ACCESS__MAX_FAILURES_PER_ADDRESS_PER_MINUTE": "0",
    "FLEETKEY_ACCESS__MAX_FAILURES_PER_KEY_PER_MINUTE": "0",
}


def serve_arguments(data_dir: Path, *arguments: str) -> list[str]:
    """Return the arguments of a server on free ports of loopback."""
    return ["serve", "--data-dir", str(data_dir), "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", *arguments]


def serve_command(data_dir: Path, *arguments: str) -> list[str]:
    """Return the command that starts one in a new interpreter."""
    return [sys.executable, "-m", "fleetkey", *serve_arguments(data_dir, *arguments)]


@dataclass(frozen=True, slots=True)
class Ready:
    """What the ready line says."""

    http: str
    mqtt: str | None
    mqtt_tls: str | None
    ws: str | None


class ServerProcess:
    """A server on free ports; as a context manager it must end cleanly, unless it was killed.

    Args:
        folder: where its data, settings and output go.
        environment: `FLEETKEY_*` variables.
        settings: the content of its settings file.
        open_files: the most that it may have open, soft and hard limit; 0 = as many as the tests may.
        is_new_interpreter: starts it as a user does, so that the list of processes shows its command.
    """

    def __init__(
        self,
        folder: Path,
        *,
        environment: Mapping[str, str] | None = None,
        settings: str = "",
        open_files: int = 0,
        is_new_interpreter: bool = False,
    ) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self._environment = clean_environment(environment)
        self._settings = settings
        self._open_files = open_files
        self._is_new_interpreter = is_new_interpreter
        self._process: ForkedProcess | subprocess.Popen[bytes] | None = None
        self._ready: Ready | None = None
        self._starts = 0

    def __enter__(self) -> Self:
        """Start."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """End it, if it runs, and assert that it ended as it should."""
        if self._process is not None:
            self.terminate()

    def start(self) -> Self:
        """Start, and return when it is ready."""
        self.folder.mkdir(exist_ok=True)
        self._starts += 1
        self._out = self.folder / f"out-{self._starts}.txt"
        self.log = self.folder / f"log-{self._starts}.txt"
        arguments = ["--json"]
        if self._settings:
            settings_file = self.folder / "fleetkey.toml"
            settings_file.write_text(self._settings)
            arguments += ["--config", str(settings_file)]
        ledger = the_ledger()
        for path in (self._out, self.log):
            ledger.watch_file(path)
        ledger.watch_database(self.database)
        with self._out.open("wb") as out, self.log.open("wb") as log, Path(os.devnull).open("rb") as nothing:
            if self._is_new_interpreter:
                self._process = subprocess.Popen(
                    serve_command(self.data_dir, *arguments),
                    stdin=nothing,
                    stdout=out,
                    stderr=log,
                    env=self._environment,
                    cwd=self.folder,
                )
            else:
                self._process = fork_server.start(
                    serve_arguments(self.data_dir, *arguments),
                    stdin=nothing.fileno(),
                    stdout=out.fileno(),
                    stderr=log.fileno(),
                    environment=self._environment,
                    folder=self.folder,
                    open_files=self._open_files,
                )
        if not eventually(lambda: self._is_ready() or self.process.poll() is not None, START_SECONDS):
            self.kill9()
            raise AssertionError("the server was not ready in time: " + self.log.read_text())
        assert self._is_ready(), self.log.read_text()
        line: dict[str, Any] = json.loads(self._out.read_text().splitlines()[0])
        assert line["event"] == "ready"
        assert line["pid"] == self.process.pid
        self._ready = Ready(http=line["http"], mqtt=line["mqtt"], mqtt_tls=line["mqtt_tls"], ws=line["ws"])
        return self

    @property
    def process(self) -> ForkedProcess | subprocess.Popen[bytes]:
        """The process that runs."""
        assert self._process is not None
        return self._process

    @property
    def database(self) -> Path:
        """The registry's file."""
        return self.data_dir / "fleetkey.db"

    @property
    def url(self) -> str:
        """Where registration is."""
        return self.ready.http

    @property
    def http_port(self) -> int:
        """The port of registration."""
        return _port(self.ready.http)

    @property
    def mqtt_port(self) -> int:
        """The port of MQTT over TCP."""
        return _port(self.ready.mqtt)

    @property
    def ws_port(self) -> int:
        """The port of MQTT over WebSocket."""
        return _port(self.ready.ws)

    @property
    def tls_port(self) -> int:
        """The port of MQTT over TLS."""
        return _port(self.ready.mqtt_tls)

    @property
    def ready(self) -> Ready:
        """What the ready line said."""
        assert self._ready is not None
        return self._ready

    def kill9(self) -> None:
        """End it as a power cut would."""
        process, self._process = self.process, None
        process.kill()
        process.wait(STOP_SECONDS)

    def terminate(self, number: signal.Signals = signal.SIGTERM) -> float:
        """End it as a service manager would; assert a clean exit and return how many seconds it took."""
        process, self._process = self.process, None
        began = time.monotonic()
        process.send_signal(number)
        try:
            status = process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_SECONDS)
            raise
        errors = [line for line in self.log.read_text().splitlines() if "Traceback" in line]
        assert not errors, f"{len(errors)} tracebacks in the log, the first: {errors[0]}"
        assert status == 0, self.log.read_text()[-2000:]
        return time.monotonic() - began

    def restart(self) -> None:
        """End it cleanly and start it again on the same data."""
        self.terminate()
        self.start()

    def _is_ready(self) -> bool:
        return self._out.read_bytes().endswith(b"\n")


def _port(address: str | None) -> int:
    assert address is not None
    return int(address.rpartition(":")[2])
