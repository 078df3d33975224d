"""The load generator: compiled when it is needed, and driven line by line."""

from __future__ import annotations

import json
import shutil
import subprocess
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, Self

from benchmarks.broker_dialect import DEFAULT_DIALECT
from benchmarks.broker_fleet import FIRST_DEVICE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from benchmarks.broker_dialect import Dialect

__all__ = ["HasClients", "HasPort", "LoadGenerator", "Phase", "compile_loadgen", "compiler_path", "has_openssl"]

SOURCE = Path(__file__).with_name("loadgen.c")
PARALLEL = 100
WINDOW = 200
NO_SUBSCRIPTION = -1
WITH_TLS = ("-DWITH_TLS", "-lssl", "-lcrypto")
BACK_END = 0
STOP_SECONDS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """What one command of the load generator did: connections or messages, and how long each took."""

    done: int
    failed: int
    seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float

    @property
    def rate(self) -> float:
        """How many were done a second."""
        return self.done / self.seconds


def compiler_path() -> str | None:
    """Return where a C compiler is."""
    return shutil.which("cc") or shutil.which("gcc")


def has_openssl() -> bool:
    """Return whether the compiler finds OpenSSL's headers, without which the load generator speaks no TLS."""
    compiler = compiler_path()
    assert compiler is not None
    command = [compiler, "-E", "-include", "openssl/ssl.h", "-x", "c", "/dev/null"]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def compile_loadgen(folder: Path) -> Path:
    """Compile the load generator into a folder."""
    compiler, program = compiler_path(), folder / "loadgen"
    assert compiler is not None
    tls = WITH_TLS if has_openssl() else ()
    subprocess.run([compiler, "-O2", "-o", str(program), str(SOURCE), *tls], check=True)
    return program


class HasPort(Protocol):
    """A broker, as far as the load generator needs to know it."""

    @property
    def port(self) -> int:
        """MQTT over TCP, on loopback."""


class HasClients(Protocol):
    """A fleet, as far as the load generator needs to know it."""

    @property
    def clients(self) -> Path:
        """Client id, user name and password of the back end and of each device, a line each."""


class LoadGenerator:
    """The clients of one fleet, in a process of their own; use it as a context manager.

    Devices are counted from 0. A method returns when its phase is over and raises if anything in it failed.
    """

    def __init__(self, program: Path, broker: HasPort, fleet: HasClients, dialect: Dialect = DEFAULT_DIALECT) -> None:
        self._process = subprocess.Popen(
            [str(program), "127.0.0.1", str(broker.port), str(fleet.clients), *dialect.arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
        )

    def __enter__(self) -> Self:
        """Nothing is connected yet."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the process, and with it its connections."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.terminate()
        self._process.wait(STOP_SECONDS)
        self._process.stdin.close()
        self._process.stdout.close()

    def connect(
        self, first: int, count: int, *, parallel: int = PARALLEL, is_subscribing: bool = True, qos: int = 0
    ) -> Phase:
        """Connect devices, each subscribed to its own commands or to nothing, and let them stay.

        At QoS 1 their sessions are persistent.
        """
        qos = qos if is_subscribing else NO_SUBSCRIPTION
        return self._run("connect", FIRST_DEVICE + first, count, parallel, qos)

    def churn(self, first: int, count: int, *, parallel: int = PARALLEL, is_subscribing: bool = False) -> Phase:
        """Connect devices, and disconnect each as soon as it is in."""
        qos = 0 if is_subscribing else NO_SUBSCRIPTION
        return self._run("churn", FIRST_DEVICE + first, count, parallel, qos)

    def close(self, first: int, count: int) -> Phase:
        """Disconnect devices."""
        return self._run("close", FIRST_DEVICE + first, count)

    def connect_back_end(self, *, qos: int = 0) -> None:
        """Connect the back end and subscribe it to every device's state."""
        self._run("connect", BACK_END, 1, 1, NO_SUBSCRIPTION)
        self.listen(qos=qos)

    def close_back_end(self) -> None:
        """Disconnect the back end."""
        self._run("close", BACK_END, 1)

    def share(self, first: int, count: int, *, qos: int = 0) -> None:
        """Let clients share one subscription to every device's state; they were connected like devices."""
        self._run("share", FIRST_DEVICE + first, count, qos)

    def heard(self, first: int, count: int) -> list[int]:
        """Return how many messages of the last phase each of these received."""
        self._tell("heard", FIRST_DEVICE + first, count)
        return [int(each) for each in json.loads(self._line())]

    def listen(self, *, qos: int) -> None:
        """Subscribe the back end to every device's state, with another QoS."""
        self._run("listen", qos)

    def state(self, devices: int, messages: int, *, qos: int = 0, window: int = WINDOW) -> Phase:
        """Let the first `devices` publish their state in turn, until the back end has all messages."""
        return self._run("state", FIRST_DEVICE, devices, messages, window, qos)

    def command(self, devices: int, messages: int, *, qos: int = 0, window: int = WINDOW) -> Phase:
        """Let the back end publish to the first `devices` in turn, until each has its messages."""
        return self._run("command", FIRST_DEVICE, devices, messages, window, qos)

    def crowd(self, devices: int, messages: int, *, qos: int = 0) -> Phase:
        """Let the first `devices` publish their state all at once, each its next when its last is through.

        That is when the back end has it and, at QoS 1, the broker has acknowledged it.
        """
        return self._run("crowd", FIRST_DEVICE, devices, messages, qos)

    def orders(self, devices: int, messages: int, *, qos: int = 0) -> Phase:
        """Let the back end publish to the first `devices` all at once, to each the next when it has its last."""
        return self._run("orders", FIRST_DEVICE, devices, messages, qos)

    def echo(self, device: int, messages: int) -> Phase:
        """Let one device publish to its own command topic and wait for the message, one after the other."""
        return self._run("echo", FIRST_DEVICE + device, messages)

    @contextmanager
    def beating(self, device: int, rate: int, *, qos: int = 0) -> Iterator[list[Phase]]:
        """Let one device make `rate` round trips a second, by the clock, while the block runs; yields as `pacing` does.

        A round trip ends when the device has its message, at QoS 1 when the broker has acknowledged it.
        What is lost is no error here: `failed` counts it, and the percentiles take it as seconds long.
        """
        with self._meanwhile("beat", FIRST_DEVICE + device, rate, qos, may_fail=True) as phases:
            yield phases

    @contextmanager
    def flooding(self, device: int) -> Iterator[list[Phase]]:
        """Let one device publish as fast as the broker takes it, while the block runs; yields as `pacing` does."""
        with self._meanwhile("flood", FIRST_DEVICE + device) as phases:
            yield phases

    @contextmanager
    def pacing(self, devices: int, rate: int) -> Iterator[list[Phase]]:
        """Let the first `devices` publish `rate` messages a second in all, while the block runs.

        Yields a list that gets one phase at the end of the block: what the back end had of it.
        """
        with self._meanwhile("pace", FIRST_DEVICE, devices, rate) as phases:
            yield phases

    @contextmanager
    def _meanwhile(self, command: str, *arguments: int, may_fail: bool = False) -> Iterator[list[Phase]]:
        phases: list[Phase] = []
        self._tell(command, *arguments)
        yield phases
        self._tell("stop")
        phases.append(self._answer(command, may_fail=may_fail))

    def _run(self, command: str, *arguments: int) -> Phase:
        self._tell(command, *arguments)
        return self._answer(command)

    def _tell(self, command: str, *arguments: int) -> None:
        assert self._process.stdin is not None
        print(command, *arguments, file=self._process.stdin, flush=True)

    def _answer(self, command: str, *, may_fail: bool = False) -> Phase:
        phase = Phase(**json.loads(self._line()))
        assert may_fail or not phase.failed, f"{command}: {phase}"
        return phase

    def _line(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the load generator ended"
        return line
