"""Processes that begin with the libraries imported: forked from one that has them, instead of a new interpreter each.

What runs in them is `python -m fleetkey …` all the same, in a process of its own with its own arguments, variables,
folder, descriptors and limits. Most of what a server takes to start is importing, and the suite starts hundreds.

`python -m tests.support.fork_server DESCRIPTOR` is that process; a test process starts one when it first needs it, and
it ends with the test process.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import resource
import runpy
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["ForkedProcess", "start"]

LIBRARIES = (
    "amqtt.broker bcrypt cryptography.x509 httptools httpx litestar litestar.openapi msgspec prometheus_client pydantic"
    " pydantic_settings rich.console rich.table sqlite_utils structlog typer uvicorn.protocols.http.httptools_impl"
    " uvloop websockets.server fleetkey.cli.main fleetkey.cli.serve.runtime fleetkey.cli.serve.server"
)
MAX_MESSAGE_BYTES = 1024 * 1024
ANSWER_SECONDS = 30.0
POLL_SECONDS = 0.005
REPOSITORY = Path(__file__).resolve().parents[2]


class ForkedProcess:
    """What `subprocess.Popen` is for whoever signals a process and waits for it."""

    def __init__(self, pid: int, line: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._line = line

    def poll(self) -> int | None:
        """Return the exit status if it has ended; negative for a signal."""
        return self._status(0)

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit status when it has ended. Raises `subprocess.TimeoutExpired`."""
        status = self._status(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(["fleetkey"], timeout or 0)
        return status

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def _status(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._line], [], [], timeout)[0]:
            said = self._line.recv(64)
            self._line.close()
            assert said, "the fork server is gone"
            self.returncode = int(said)
        return self.returncode


class _Server:
    """The fork server of this process, started when it is needed first."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.owner = os.getpid()
        self._line = ours
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
                cwd=REPOSITORY,
            )

    def close(self) -> None:
        """Let it end; in the process that started it."""
        if self.owner == os.getpid():
            self._line.close()
            self._process.wait(ANSWER_SECONDS)

    def start(self, request: Mapping[str, Any], files: Sequence[int]) -> ForkedProcess:
        ours, theirs = socket.socketpair()
        with theirs:
            socket.send_fds(self._line, [json.dumps(request).encode()], [*files, theirs.fileno()])
        ours.settimeout(ANSWER_SECONDS)
        pid = int.from_bytes(ours.recv(4), "big")
        ours.settimeout(None)
        return ForkedProcess(pid, ours)


_servers: list[_Server] = []


def start(
    arguments: Sequence[str],
    *,
    stdin: int,
    stdout: int,
    stderr: int,
    environment: Mapping[str, str],
    folder: Path,
    open_files: int = 0,
) -> ForkedProcess:
    """Start `python -m fleetkey` with these arguments, descriptors, variables and folder.

    Args:
        arguments: of `fleetkey`.
        stdin: a descriptor, as are `stdout` and `stderr`.
        stdout: where it prints to.
        stderr: where it complains to.
        environment: all of its variables.
        folder: where it runs.
        open_files: the most that it may have open, soft and hard limit; 0 = as many as the tests may.
    """
    if not _servers or _servers[0].owner != os.getpid():
        _servers[:] = [_Server()]
        atexit.register(_servers[0].close)
    request = {
        "arguments": list(arguments),
        "environment": dict(environment),
        "folder": str(folder),
        "open_files": open_files,
    }
    return _servers[0].start(request, [stdin, stdout, stderr])


def _serve(line: socket.socket) -> None:
    """Fork for each request, and say how the forks ended, until the test process is gone."""
    running: dict[int, socket.socket] = {}
    while True:
        if select.select([line], [], [], POLL_SECONDS if running else None)[0]:
            message, files, _, _ = socket.recv_fds(line, MAX_MESSAGE_BYTES, 8)
            if not message:
                break
            *streams, answer_fd = files
            answer = socket.socket(fileno=answer_fd)
            pid = os.fork()
            if not pid:
                for other in running.values():
                    other.close()
                line.close()
                answer.close()
                _run(json.loads(message), streams)
            for stream in streams:
                os.close(stream)
            answer.sendall(pid.to_bytes(4, "big"))
            running[pid] = answer
        while running:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                break
            with running.pop(pid) as answer, contextlib.suppress(OSError):
                answer.sendall(str(os.waitstatus_to_exitcode(status)).encode())
    for pid in running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _run(request: dict[str, Any], streams: list[int]) -> None:
    """Become `python -m fleetkey`; never returns."""
    status = 1
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
        for stream in streams:
            os.close(stream)
        os.chdir(request["folder"])
        os.environ.clear()
        os.environ.update(request["environment"])
        if request["open_files"]:
            resource.setrlimit(resource.RLIMIT_NOFILE, (request["open_files"],) * 2)
        time.tzset()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.argv = ["fleetkey", *request["arguments"]]
        try:
            runpy.run_module("fleetkey", run_name="__main__", alter_sys=True)
            status = 0
        except SystemExit as ended:
            status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
            if isinstance(ended.code, str):
                print(ended.code, file=sys.stderr)
    except BaseException:  # noqa: BLE001 - as an interpreter does that ends with an exception
        sys.excepthook(*sys.exc_info())
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        # The interpreter's own end would end what belongs to the fork server.
        os._exit(status)


if __name__ == "__main__":
    import importlib

    # Ctrl-C is for the tests; they end this by closing the line.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for library in LIBRARIES.split():
        importlib.import_module(library)
    _serve(socket.socket(fileno=int(sys.argv[1])))
