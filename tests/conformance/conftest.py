"""One broker a module, or for many, and clients that are closed after each test."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.support.fleet import Fleet
from tests.support.ledger import VARIABLE, open_ledger
from tests.support.server import NO_LIMITS, ServerProcess
from tests.support.versions import LEVEL_3_1_1, LEVEL_5, speaking
from tests.support.wire_clients import EVERYTHING, Clients

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.fleet import Credentials


def _serve(folder: Path) -> Iterator[Fleet]:
    """Run a broker over TCP and WebSocket."""
    if VARIABLE not in os.environ:
        open_ledger()
    environment = {**NO_LIMITS, "FLEETKEY_MQTT__WS_BIND": "127.0.0.1:0"}
    with ServerProcess(folder, environment=environment) as server:
        yield Fleet(server)


@pytest.fixture(scope="session")
def shared_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run one broker for all modules whose tests look at no topics but their own."""
    yield from _serve(tmp_path_factory.mktemp("broker"))


@pytest.fixture(scope="module")
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Return the shared broker in `test_mqtt5_*.py`, and run one of its own for any other module."""
    if request.module.__name__.rpartition(".")[2].startswith("test_mqtt5_"):
        yield request.getfixturevalue("shared_broker")
    else:
        yield from _serve(tmp_path_factory.mktemp("broker"))


@pytest.fixture(scope="module")
def key(broker: Fleet) -> Credentials:
    """Make an application key that reaches every topic."""
    return broker.application(**EVERYTHING)


@pytest.fixture
def mqtt(broker: Fleet, key: Credentials) -> Iterator[Clients]:
    """Make clients of the broker."""
    with Clients(broker, key) as clients:
        yield clients


@pytest.fixture(params=[LEVEL_3_1_1, LEVEL_5], ids=["3.1.1", "5"])
def each_version(request: pytest.FixtureRequest) -> Iterator[int]:
    """Run a test once for each version of MQTT, which its clients and packets are of."""
    with speaking(request.param):
        yield request.param


@pytest.fixture
def mqtt_5() -> Iterator[None]:
    """Let a test's clients and packets be of MQTT 5."""
    with speaking(LEVEL_5):
        yield
