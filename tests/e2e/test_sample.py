"""First contact: `serve --sample`, and what it prints really works when pasted."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import pytest

from fleetkey.registry import SqliteStore
from tests.support.command_line import clean_environment
from tests.support.command_lines import CommandLineWatch
from tests.support.ledger import the_ledger
from tests.support.server import NO_LIMITS, serve_command
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

READY = "Fleetkey is ready"
END = "Ctrl-C stops the server."
USED = "is not empty"


@contextmanager
def _sample(folder: Path, end: str, *arguments: str) -> Iterator[str]:
    """Run `serve --sample` in a folder and give what it printed up to `end`."""
    out, log = folder / "out.txt", folder / "log.txt"
    ledger = the_ledger()
    for path in (out, log):
        ledger.watch_file(path)
    ledger.watch_database(folder / "data" / "fleetkey.db")
    command = serve_command(folder / "data", "--sample", *arguments)
    with (
        out.open("wb") as output,
        log.open("wb") as errors,
        subprocess.Popen(
            command, stdout=output, stderr=errors, cwd=folder, env=clean_environment(NO_LIMITS)
        ) as process,
    ):
        try:
            assert eventually(lambda: end in out.read_text() or process.poll() is not None, 30)
            yield out.read_text()
        finally:
            process.send_signal(signal.SIGINT)
            assert process.wait(10) == 0, log.read_text()


def _commands(printed: str) -> list[str]:
    """Return the indented blocks, in the order in which they are to be pasted."""
    blocks = re.findall(r"(?:^  \S.*\n)(?:^  .*\n)*", printed, re.MULTILINE)
    return [block for block in blocks if not block.strip().startswith("Any MQTT")]


def _counts(folder: Path) -> tuple[int, int, int]:
    with closing(SqliteStore(folder / "data" / "fleetkey.db")) as store:
        return store.count_serials(), store.count_devices(), store.count_keys()


def _shell(folder: Path, script: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["/bin/sh", "-c", script],
        cwd=folder,
        env=clean_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_sample_commands_work(tmp_path: Path) -> None:
    """Three blocks to paste: the device registers, the back end listens, the device is heard."""
    with _sample(tmp_path, END) as printed, CommandLineWatch() as watch:
        assert READY in printed
        assert _counts(tmp_path) == (1, 0, 1)
        file = tmp_path / "data" / "sample-application.json"
        assert file.stat().st_mode & 0o777 == 0o600
        the_ledger().note_secret(json.loads(file.read_text())["secret"])
        register, listen, publish = _commands(printed)

        with _shell(tmp_path, register) as registering:
            answered, _ = registering.communicate(timeout=20)
        assert registering.returncode == 0
        answer = json.loads(answered)
        the_ledger().note_secret(answer["secret"])
        assert (tmp_path / "credentials/device.json").stat().st_mode & 0o777 == 0o600

        with _shell(tmp_path, f"exec {listen.strip()}") as listener:
            assert listener.stdout is not None
            assert listener.stderr is not None
            try:
                assert "subscribed to devices/+/#" in listener.stderr.readline()
                with _shell(tmp_path, publish) as publisher:
                    said, complained = publisher.communicate(timeout=20)
                assert (publisher.returncode, complained) == (0, "")
                assert answer["deviceId"] in said
                heard = listener.stdout.readline()
                assert heard == f'devices/{answer["deviceId"]}/state {{"data": {{"temperature": 21}}}}\n'
            finally:
                listener.send_signal(signal.SIGINT)
                listener.wait(10)
        assert any("fleetkey.device" in line for line in watch.seen)
        assert _counts(tmp_path) == (1, 1, 2)


def test_sample_again(tmp_path: Path) -> None:
    """The second start makes nothing, says how to let the next device in, and the file stays as it was."""
    with _sample(tmp_path, END):
        pass
    file = tmp_path / "data" / "sample-application.json"
    before, counts = file.read_bytes(), _counts(tmp_path)
    the_ledger().note_secret(json.loads(before)["secret"])
    with _sample(tmp_path, USED) as printed:
        assert "serials add" in printed
    assert file.read_bytes() == before
    assert _counts(tmp_path) == counts


def test_sample_json(tmp_path: Path) -> None:
    """With `--json` there is the ready line alone."""
    with _sample(tmp_path, "}\n", "--json") as printed:
        (line,) = printed.splitlines()
        assert json.loads(line)["event"] == "ready"
    assert _counts(tmp_path) == (1, 0, 1)
    content = json.loads((tmp_path / "data" / "sample-application.json").read_text())
    the_ledger().note_secret(content["secret"])


@pytest.mark.parametrize("preset", ["losant"])
def test_sample_preset(tmp_path: Path, preset: str) -> None:
    """The commands follow the topics of the settings."""
    (tmp_path / "fleetkey.toml").write_text(f"[topics]\npreset = '{preset}'\n")
    with _sample(tmp_path, END) as printed:
        assert "'losant/+/state'" in printed
        assert '"losant/$ID/state"' in printed
        assert "devices/" not in printed
    content = json.loads((tmp_path / "data" / "sample-application.json").read_text())
    the_ledger().note_secret(content["secret"])
