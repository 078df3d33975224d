"""The first two minutes: `fleetkey serve --sample` says what to paste, and what it says works."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from fleetkey.registry import KeyKind, SqliteStore
from tests.support.command_line import clean_environment
from tests.support.ledger import the_ledger
from tests.support.server import serve_command
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STATE = {"data": {"temperature": 21}}


@dataclass(frozen=True, slots=True)
class Sampled:
    """What a server with `--sample` printed."""

    out: str

    @property
    def blocks(self) -> list[str]:
        """What to paste: the indented lines, one block each."""
        return [block.strip() for block in re.findall(r"(?:^ {2,}\S.*\n)+", self.out, re.MULTILINE)]


@contextmanager
def _serving(folder: Path, *, preset: str = "default") -> Iterator[Sampled]:
    out, log = folder / "out.txt", folder / "log.txt"
    environment = clean_environment({"FLEETKEY_TOPICS__PRESET": preset})
    with out.open("wb") as to, log.open("wb") as errors:
        command = serve_command(folder / "data", "--sample")
        server = subprocess.Popen(command, stdout=to, stderr=errors, cwd=folder, env=environment)
    the_ledger().watch_file(out)
    the_ledger().watch_file(log)
    the_ledger().watch_database(folder / "data" / "fleetkey.db")
    try:
        assert eventually(lambda: "serials add" in out.read_text() or server.poll() is not None, 30)
        assert server.poll() is None, log.read_text()
        yield Sampled(out.read_text())
    finally:
        server.send_signal(signal.SIGTERM)
        status = server.wait(15)
    assert status == 0
    assert "Traceback" not in log.read_text()


def _made(folder: Path) -> tuple[list[str], list[str]]:
    """Return the serials and the keys that exist."""
    with closing(SqliteStore(folder / "data" / "fleetkey.db")) as store:
        keys = [key for _, key in store.list_keys(include_retired=True)]
        assert all(key.kind is KeyKind.APPLICATION for key in keys)
        assert store.count_devices() == 0
        return list(store.iter_serials()), [key.key for key in keys]


def _application(folder: Path) -> dict[str, str]:
    application: dict[str, str] = json.loads((folder / "data" / "sample-application.json").read_text())
    the_ledger().note_secret(application["secret"])
    return application


def _run_in_shell(script: str, folder: Path) -> str:
    ended = subprocess.run(
        ["/bin/sh", "-c", script], cwd=folder, env=clean_environment(), capture_output=True, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr.decode()
    return ended.stdout.decode()


def test_sample_on_empty_registry(tmp_path: Path) -> None:
    """One serial and one application key are made; the key's secret is in a file of its owner's and nowhere else."""
    with _serving(tmp_path) as sampled:
        (serial,), (key,) = _made(tmp_path)
        application = _application(tmp_path)
    assert "curl" in sampled.out
    assert serial in sampled.out
    assert application["key"] == key
    assert (tmp_path / "data" / "sample-application.json").stat().st_mode & 0o777 == 0o600
    assert application["secret"] not in sampled.out
    assert application["secret"] not in (tmp_path / "log.txt").read_text()


@pytest.mark.parametrize(("preset", "prefix"), [("default", "devices"), ("losant", "losant")])
def test_paste(tmp_path: Path, preset: str, prefix: str) -> None:
    """Pasted as printed, the device registers, the back end listens, and hears what the device publishes."""
    pasted = tmp_path / "pasted"
    pasted.mkdir()
    with _serving(tmp_path, preset=preset) as sampled:
        _application(tmp_path)
        register, listen, publish = sampled.blocks[:3]
        shown = _run_in_shell(register, pasted)
        device = json.loads((pasted / "credentials/device.json").read_text())
        the_ledger().note_secret(device["secret"])
        assert json.loads(shown) == device
        assert (pasted / "credentials/device.json").stat().st_mode & 0o777 == 0o600

        heard, remarks = tmp_path / "heard.txt", tmp_path / "remarks.txt"
        with heard.open("wb") as to, remarks.open("wb") as errors:
            listener = subprocess.Popen(
                ["/bin/sh", "-c", f"exec {listen} --count 1"],
                stdout=to,
                stderr=errors,
                cwd=pasted,
                env=clean_environment(),
            )
        try:
            assert eventually(lambda: "subscribed" in remarks.read_text() or listener.poll() is not None)
            assert listener.poll() is None, remarks.read_text()
            said = _run_in_shell(publish, pasted)
            assert listener.wait(10) == 0
        finally:
            listener.kill()
            listener.wait()
    topic, _, payload = heard.read_text().strip().partition(" ")
    assert topic == f"{prefix}/{device['deviceId']}/state"
    assert json.loads(payload) == STATE
    assert topic in said
