"""One broker a module, and clients that are closed after each test."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.support.fleet import Fleet
from tests.support.ledger import VARIABLE, open_ledger
from tests.support.server import NO_LIMITS, ServerProcess
from tests.support.wire_clients import EVERYTHING, Clients

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fleet import Credentials


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run a broker over TCP and WebSocket."""
    if VARIABLE not in os.environ:
        open_ledger()
    environment = {**NO_LIMITS, "FLEETKEY_MQTT__WS_BIND": "127.0.0.1:0"}
    with ServerProcess(tmp_path_factory.mktemp("broker"), environment=environment) as server:
        yield Fleet(server)


@pytest.fixture(scope="module")
def key(broker: Fleet) -> Credentials:
    """Make an application key that reaches every topic."""
    return broker.application(**EVERYTHING)


@pytest.fixture
def mqtt(broker: Fleet, key: Credentials) -> Iterator[Clients]:
    """Make clients of the module's broker."""
    with Clients(broker, key) as clients:
        yield clients
