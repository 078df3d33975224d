"""A power cut at any moment: the store opens, what was answered works, and no serial has two devices."""

from __future__ import annotations

import os
import random
import threading
import time
from contextlib import closing
from typing import TYPE_CHECKING

import httpx
import pytest

from fleetkey.access import verify_secret
from fleetkey.registry import KeyStatus, SqliteStore
from tests.support.command_line_watch import CommandLineWatch
from tests.support.fleet import Credentials, Fleet
from tests.support.http import NOBODY_TRUSTED
from tests.support.ledger import the_ledger
from tests.support.packets import connect
from tests.support.server import NO_LIMITS, ServerProcess
from tests.support.streams import TcpStream
from tests.support.wire import Wire

if TYPE_CHECKING:
    from pathlib import Path

SERIALS = 40
THREADS = 4
SAMPLE = 5
DEFAULT_KILLS = 20


class Load:
    """Threads that register known serials over and over, and note what was answered."""

    def __init__(self, url: str, serials: list[str], answered: list[Credentials]) -> None:
        self._url, self._serials, self._answered = url, serials, answered
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._register) for _ in range(THREADS)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stop; what is on its way is not waited for by the server, which is gone."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _register(self) -> None:
        with httpx.Client(timeout=5, verify=NOBODY_TRUSTED) as client:
            while not self._stopping.is_set():
                serial = random.choice(self._serials)
                try:
                    answer = client.post(f"{self._url}/register", json={"serial": serial})
                except httpx.TransportError:
                    time.sleep(0.01)
                    continue
                if answer.status_code == httpx.codes.OK:
                    body = answer.json()
                    the_ledger().note_secret(body["secret"])
                    self._answered.append(
                        Credentials(client_id=body["deviceId"], key=body["key"], secret=body["secret"], serial=serial)
                    )


def run_rounds(folder: Path, kills: int) -> int:
    """Kill a server under load, start it again, look at what it kept; return how many credentials were answered."""
    # With `add`, every key that was answered must go on working, not only each device's newest.
    environment = {
        **NO_LIMITS,
        "FLEETKEY_REGISTRATION__REREGISTRATION": "add",
        "FLEETKEY_REGISTRATION__MAX_KEYS": "1000",
    }
    server = ServerProcess(folder, environment=environment)
    answered: list[Credentials] = []
    server.start()
    fleet = Fleet(server)
    for number in range(kills):
        serials = [fleet.serial() for _ in range(SERIALS)]
        of_round: list[Credentials] = []
        load = Load(server.url, serials, of_round)
        time.sleep(random.uniform(0.02, 0.6))
        server.kill9()
        load.stop()
        server.start()
        for credentials in random.sample(of_round, min(SAMPLE, len(of_round))):
            assert fleet.can_connect(credentials), f"round {number}: an answered credential was lost"
        answered += of_round
    log_in_all(server.mqtt_port, answered)
    server.terminate()
    check_everything(server.database, answered)
    return len(answered)


def log_in_all(port: int, answered: list[Credentials]) -> None:
    """Log in with every credential that was answered."""
    for credentials in answered:
        with Wire(TcpStream(port)) as raw:
            hello = connect(credentials.client_id, username=credentials.key, password=credentials.secret)
            assert raw.log_in(hello) == 0, "an answered credential was lost"
            assert not raw.is_session_present


def check_everything(database: Path, answered: list[Credentials]) -> None:
    """Hold the registry against every answer that was given."""
    with closing(SqliteStore(database)) as store:
        device_of: dict[str, str] = {}
        for credentials in answered:
            login = store.find_login(credentials.key)
            assert login is not None
            assert login.status is KeyStatus.ACTIVE
            assert login.device_id == credentials.client_id
            assert verify_secret(credentials.secret.encode(), login.secret_hash)
            assert device_of.setdefault(credentials.serial, credentials.client_id) == credentials.client_id
        for serial, device_id in device_of.items():
            device = store.find_device(serial)
            assert device is not None
            assert device.device_id == device_id


@pytest.mark.timeout(300)
def test_kill9_under_registration_load(tmp_path: Path) -> None:
    """After 20 kills at random moments nothing that was answered is lost."""
    kills = int(os.environ.get("SOAK_KILLS", DEFAULT_KILLS))
    with CommandLineWatch():
        assert run_rounds(tmp_path, kills) > kills


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_kill9_soak(tmp_path: Path) -> None:
    """The same for as many kills as `make soak` asks for."""
    kills = int(os.environ.get("SOAK_KILLS", "500"))
    answered = run_rounds(tmp_path, kills)
    print(f"{kills} kills, {answered} credentials answered, all of them kept")
