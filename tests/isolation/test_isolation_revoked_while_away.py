"""What a revoked application leaves doesn't depend on whether it was there since the broker's start."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.fleet import running
from tests.support.packets import connect
from tests.support.waiting import eventually
from tests.support.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.fleet import Credentials, Fleet

WITHIN_SECONDS = 1.0


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Run a server that its tests restart."""
    with running(tmp_path_factory.mktemp("server")) as fleet:
        yield fleet


def _revoke(fleet: Fleet, key: Credentials) -> None:
    with fleet.store() as store:
        store.revoke_key(key.key, actor="test")


def test_retained_message_of_an_application_revoked_while_away(fleet: Fleet) -> None:
    """It goes within a second, also if the application has not connected since the broker's start."""
    application, device = fleet.application(), fleet.device()
    with Wire.to(fleet) as wire:
        wire.enter(application).publish(device.topic("a"), b"left behind", qos=1, retain=True)
    fleet.server.restart()
    _revoke(fleet, application)
    with Wire.to(fleet) as wire:
        wire.enter(device)

        def is_gone() -> bool:
            wire.subscribe(device.topic("a"))
            return wire.publications() == []

        assert eventually(is_gone, WITHIN_SECONDS)


def test_session_of_an_application_revoked_while_away(fleet: Fleet) -> None:
    """Its client id is free within a second."""
    application, other = fleet.application(), fleet.application()
    with Wire.to(fleet) as wire:
        wire.enter(application, clean=False).disconnect()
    fleet.server.restart()
    _revoke(fleet, application)
    attempt = connect(application.client_id, username=other.key, password=other.secret)

    def is_free() -> bool:
        with Wire.to(fleet) as wire:
            return wire.log_in(attempt) == 0

    assert eventually(is_free, WITHIN_SECONDS)
