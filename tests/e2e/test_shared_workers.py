"""The example of a back end in several processes that share the fleet's messages."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.fleet import Credentials, Fleet, running
from tests.support.waiting import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLE = Path(__file__).parents[2] / "examples" / "workers.py"
MESSAGES = 40


class Worker:
    """A running worker."""

    def __init__(self, output: Path) -> None:
        self._output = output

    @property
    def lines(self) -> list[str]:
        """What it printed so far."""
        return self._output.read_text().splitlines()

    @property
    def handled(self) -> list[str]:
        """The payloads that it handled."""
        return [line.partition(" ")[2] for line in self.lines if line.startswith("devices/")]

    @property
    def has_joined(self) -> bool:
        """Whether it is in its group."""
        return any(line.startswith("$share/") for line in self.lines)


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run a server in which a group has at most two members."""
    with running(tmp_path_factory.mktemp("fleet"), max_shared_members=2) as fleet:
        yield fleet


def save(fleet: Fleet, credentials: Credentials, path: Path) -> Path:
    """Write an application key as `--save` does."""
    mqtt = {"host": "127.0.0.1", "port": fleet.server.mqtt_port, "tls": False}
    path.write_text(json.dumps({"key": credentials.key, "secret": credentials.secret, "mqtt": mqtt}))
    return path


@contextmanager
def worker(credentials: Path, name: str) -> Iterator[Worker]:
    """Run a worker until the end of the block."""
    output = credentials.with_suffix(f".{name}.txt")
    with (
        output.open("wb") as out,
        subprocess.Popen([sys.executable, str(EXAMPLE), str(credentials), name], stdout=out) as process,
    ):
        running_worker = Worker(output)
        try:
            assert eventually(lambda: running_worker.has_joined, 20)
            yield running_worker
        finally:
            process.terminate()


def test_workers(fleet: Fleet, tmp_path: Path) -> None:
    """Each message is handled by one of a key's workers, and by another key's, though both groups have one name."""
    device = fleet.device()
    ours = save(fleet, fleet.application(), tmp_path / "ours.json")
    others = save(fleet, fleet.application(device_ids=(device.device_id,)), tmp_path / "others.json")
    with ExitStack() as running_workers:
        one, two = (running_workers.enter_context(worker(ours, name)) for name in ("one", "two"))
        other = running_workers.enter_context(worker(others, "three"))
        with fleet.connect(device) as sender:
            for number in range(MESSAGES):
                sender.publish(device.topic("state"), str(number).encode(), qos=1)
        assert eventually(lambda: len(one.handled) + len(two.handled) >= MESSAGES and len(other.handled) >= MESSAGES)
        everything = Counter(str(number) for number in range(MESSAGES))
        assert Counter(one.handled) + Counter(two.handled) == everything
        assert Counter(other.handled) == everything
        assert len(one.handled) == len(two.handled)
        with worker(ours, "one-too-many") as late:
            assert "Quota exceeded" in late.lines[-1]


def test_worker_outside_of_its_scope(fleet: Fleet, tmp_path: Path) -> None:
    """A key that may not subscribe to the filter may not join a group for it either, and is told so."""
    key = save(fleet, fleet.application(subscribe=("announcements/#",)), tmp_path / "key.json")
    with worker(key, "one") as refused:
        assert "Not authorized filter outside of the key's scope" in refused.lines[-1]
