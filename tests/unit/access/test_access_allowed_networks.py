"""Where a key may connect from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from fleetkey.access import AllowedNetworks, Granted, Refused, hash_secret, new_secret
from fleetkey.registry import ApplicationScope, RefusalReason, new_access_key
from tests.unit.access.access_rig import Credentials

if TYPE_CHECKING:
    from tests.unit.access.access_rig import World

LIST = AllowedNetworks(("10.0.0.0/8", "192.0.2.7/32", "2001:db8::/32"))


@pytest.mark.parametrize("address", ["10.255.0.1", "192.0.2.7", "2001:db8::1", "::ffff:10.0.0.1"])
def test_admits(address: str) -> None:
    """An address in the list is admitted, in any notation."""
    assert LIST.admits(address)


@pytest.mark.parametrize(
    "address", ["11.0.0.1", "192.0.2.8", "2001:db9::1", "::ffff:11.0.0.1", "", "unknown", "10.0.0.1:5", "10.0.0.1%eth0"]
)
def test_admits_not(address: str) -> None:
    """Any other address isn't admitted, nor is a text that isn't one."""
    assert not LIST.admits(address)


def test_admits_without_a_list() -> None:
    """An empty list admits every address."""
    assert AllowedNetworks(()).admits("")


def _application(world: World, *, sources: tuple[str, ...] = (), expires_in: float | None = None) -> Credentials:
    key, secret = new_access_key(), new_secret()
    world.store.create_application_key(
        key=key,
        secret_hash=hash_secret(secret, 4),
        name="x",
        scope=ApplicationScope(all_devices=True),
        sources=sources,
        expires_at=world.clock.milliseconds + int(expires_in * 1000) if expires_in else None,
        actor="test",
    )
    return Credentials(key=key, secret=secret.reveal(), client_id="app")


@pytest.mark.parametrize("is_remembered", [False, True])
async def test_authenticate_from_elsewhere(world: World, *, is_remembered: bool) -> None:
    """A login from elsewhere is refused like any other, even with cached credentials."""
    credentials = _application(world, sources=("192.0.2.0/24",))
    if is_remembered:
        assert isinstance(await world.authenticator.authenticate(credentials.attempt()), Granted)
    refused = await world.authenticator.authenticate(credentials.attempt(address="198.51.100.1"))
    assert refused == Refused(RefusalReason.WRONG_ADDRESS)
    assert refused.return_code == 5
    assert isinstance(await world.authenticator.authenticate(credentials.attempt()), Granted)


async def test_authenticate_unreadable_list(world: World) -> None:
    """A stored list that can't be parsed admits nobody."""
    credentials = _application(world, sources=("nonsense",))
    assert await world.authenticator.authenticate(credentials.attempt()) == Refused(RefusalReason.WRONG_ADDRESS)


async def test_authenticate_expired(world: World) -> None:
    """An application key expires on time, cached or not."""
    credentials = _application(world, expires_in=60)
    assert isinstance(await world.authenticator.authenticate(credentials.attempt()), Granted)
    world.clock.advance(60)
    assert isinstance(await world.authenticator.authenticate(credentials.attempt()), Refused)
