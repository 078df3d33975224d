"""Committed changes take effect: on principals in use, on cached credentials and on pending logins."""

from __future__ import annotations

import asyncio
import gc
from typing import TYPE_CHECKING

import pytest

from fleetkey.access import Action, Granted, Refused
from fleetkey.registry import ApplicationScope, Change, ChangeKind, DeviceState, SqliteStore
from tests.unit.access.access_rig import until
from tests.unit.registry.store_rig import issue

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.unit.access.access_rig import Bcrypt, Credentials, World
    from tests.unit.access.conftest import WorldFactory

RESET = Change(seq=0, at=0, kind=ChangeKind.RESET)


def _revoke(store: SqliteStore, credentials: Credentials) -> None:
    store.revoke_key(credentials.key, actor="cli")


def _disable(store: SqliteStore, credentials: Credentials) -> None:
    store.set_device_state(credentials.client_id, DeviceState.DISABLED, actor="cli")


def _delete(store: SqliteStore, credentials: Credentials) -> None:
    store.delete_device(credentials.client_id, actor="cli")


def _replace(store: SqliteStore, _: Credentials) -> None:
    store.record_first_connection(issue(store)[0])


def _end(store: SqliteStore, credentials: Credentials) -> None:
    store.expire_device_keys(credentials.client_id, grace_seconds=0, actor="cli")


TAKEN_AWAY = [_revoke, _disable, _delete, _replace, _end]


@pytest.mark.parametrize("where", ["same_process", "other_user"])
@pytest.mark.parametrize("take_away", TAKEN_AWAY)
async def test_revoked_while_connected(
    take_away: Callable[[SqliteStore, Credentials], None], where: str, world: World, bcrypt: Bcrypt
) -> None:
    """Within a second the principal may do nothing, the broker is told once, and the cached secret is worthless."""
    credentials, bystander = world.device(), world.device("S2")
    world.follow()
    principal, untouched = await world.connect(credentials), await world.connect(bystander)
    topic = f"devices/{credentials.client_id}/x"
    assert principal.allows(Action.PUBLISH, topic)
    store = SqliteStore(world.store.path, clock=world.clock) if where == "other_user" else world.store
    take_away(store, credentials)
    await until(lambda: principal.is_revoked)
    assert not any(principal.allows(action, topic) for action in Action)
    bcrypt.calls = 0
    outcome = await world.authenticator.authenticate(credentials.attempt())
    assert isinstance(outcome, Refused)
    assert (outcome.return_code, bcrypt.calls) == (5, 1)
    assert world.revoked == [principal]
    assert await world.connect(bystander) is untouched
    store.close()


async def test_disabled_and_enabled_again(world: World) -> None:
    """An enabled device connects again, as a new principal; the old one stays revoked."""
    credentials = world.device()
    world.follow()
    before = await world.connect(credentials)
    _disable(world.store, credentials)
    await until(lambda: before.is_revoked)
    assert before.revoked_by is ChangeKind.DEVICE_DISABLED
    world.store.set_device_state(credentials.client_id, DeviceState.ACTIVE, actor="cli")
    after = await world.connect(credentials)
    assert before.is_revoked
    assert after is not before
    assert not after.is_revoked


@pytest.mark.parametrize("take_away", TAKEN_AWAY)
async def test_changed_while_verified(
    take_away: Callable[[SqliteStore, Credentials], None], world: World, bcrypt: Bcrypt
) -> None:
    """A change that is committed while a login is being verified takes effect: the login is refused."""
    credentials = world.device()
    bcrypt.hold(credentials.secret.encode())
    login = asyncio.create_task(world.authenticator.authenticate(credentials.attempt()))
    await asyncio.to_thread(bcrypt.begun.acquire)
    take_away(world.store, credentials)
    world.apply_committed()
    bcrypt.release()
    outcome = await login
    assert isinstance(outcome, Refused)
    assert outcome.return_code == 5
    bcrypt.calls = 0
    assert isinstance(await world.authenticator.authenticate(credentials.attempt()), Refused)
    assert bcrypt.calls == 1


@pytest.mark.parametrize("take_away", TAKEN_AWAY)
async def test_changed_after_verified(
    take_away: Callable[[SqliteStore, Credentials], None], world: World, bcrypt: Bcrypt
) -> None:
    """A change that is committed during verification but arrives afterwards still takes effect."""
    credentials = world.device()
    world.apply_committed()
    bcrypt.hold(credentials.secret.encode())
    login = asyncio.create_task(world.authenticator.authenticate(credentials.attempt()))
    await asyncio.to_thread(bcrypt.begun.acquire)
    take_away(world.store, credentials)
    bcrypt.release()
    outcome = await login
    world.apply_committed()
    if isinstance(outcome, Granted):
        await until(lambda: outcome.principal.is_revoked)
    assert isinstance(await world.authenticator.authenticate(credentials.attempt()), Refused)


@pytest.mark.parametrize("what", ["registers", "connects", "is_tagged", "is_disabled", "key_is_revoked", "reset"])
async def test_harmless_while_verified(what: str, world: World, bcrypt: Bcrypt) -> None:
    """Changes to other devices during verification don't refuse the login."""
    credentials, other = world.device(), world.device("S2")
    bcrypt.hold(credentials.secret.encode())
    login = asyncio.create_task(world.authenticator.authenticate(credentials.attempt()))
    await asyncio.to_thread(bcrypt.begun.acquire)
    changes: dict[str, Callable[[], object]] = {
        "registers": lambda: issue(world.store, "S3"),
        "connects": lambda: world.store.record_first_connection(other.key),
        "is_tagged": lambda: world.store.tag_device(other.client_id, {"a": "b"}, actor="cli"),
        "is_disabled": lambda: _disable(world.store, other),
        "key_is_revoked": lambda: _revoke(world.store, other),
        "reset": lambda: world.authenticator.apply([RESET]),
    }
    changes[what]()
    world.apply_committed()
    bcrypt.release()
    assert isinstance(await login, Granted)


async def test_rotated_while_connected(world: World) -> None:
    """The older key's connection lasts until the newer key connects."""
    older = world.device()
    world.follow()
    connected = await world.connect(older)
    newer = world.device()
    await asyncio.sleep(0.3)
    assert not connected.is_revoked
    assert await world.connect(older) is connected
    replacement = await world.connect(newer)
    await until(lambda: connected.is_revoked)
    assert not replacement.is_revoked
    assert connected.owner == replacement.owner


async def test_tags_change_an_applications_scope(world: World) -> None:
    """Within a second of getting or losing a tag, a device enters or leaves an application's scope."""
    device = world.device()
    credentials = world.application(ApplicationScope(tags=(("site", "a"),), subscribe=("news",)))
    world.follow()
    principal = await world.connect(credentials)
    topic = f"devices/{device.client_id}/x"
    for tag in ("a", "b", "a", None):
        world.store.tag_device(device.client_id, {"site": tag}, actor="cli")
        await until(lambda: principal.allows(Action.RECEIVE, topic) is (tag == "a"))  # noqa: B023 - awaited here
        assert principal.allows(Action.RECEIVE, "news")
    assert not principal.is_revoked
    assert world.revoked == []


async def test_tags_change_a_devices_scope(make_world: WorldFactory) -> None:
    """A device's own topics follow its tags; when it loses a tag that they need, its connection ends."""
    world = make_world(pattern="sites/{tag:site}/{device_id}")
    credentials = world.device()
    world.store.tag_device(credentials.client_id, {"site": "a"}, actor="cli")
    world.follow()
    principal = await world.connect(credentials)
    assert principal.allows(Action.PUBLISH, f"sites/a/{credentials.client_id}")
    world.store.tag_device(credentials.client_id, {"site": "b"}, actor="cli")
    await until(lambda: principal.allows(Action.PUBLISH, f"sites/b/{credentials.client_id}"))
    assert not principal.allows(Action.PUBLISH, f"sites/a/{credentials.client_id}")
    world.store.tag_device(credentials.client_id, {"site": "+"}, actor="cli")
    await until(lambda: principal.is_revoked)


async def test_on_rescoped(make_world: WorldFactory) -> None:
    """Listeners are called when a principal's topics change, and not when a change leaves them as they are."""
    world = make_world(pattern="sites/{tag:site}/{device_id}")
    credentials = world.device()
    world.store.tag_device(credentials.client_id, {"site": "a"}, actor="cli")
    told: list[str] = []
    principal = await world.connect(credentials)
    world.authenticator.on_rescoped(lambda _patterns: told.append(principal.scope.publish[0]))
    world.apply_committed()
    world.store.tag_device(credentials.client_id, {"floor": "1"}, actor="cli")
    world.apply_committed()
    await asyncio.sleep(0.1)
    assert told == []
    world.store.tag_device(credentials.client_id, {"site": "b"}, actor="cli")
    world.apply_committed()
    await until(lambda: told == [f"sites/b/{credentials.client_id}"])


async def test_on_ended(world: World) -> None:
    """Listeners are called for every deleted device, connected or not, and for no other change to a device."""
    connected, absent = world.device("S1"), world.device("S2")
    await world.connect(connected)
    told: list[str] = []
    world.authenticator.on_ended(told.append)
    for credentials in (absent, connected):
        _disable(world.store, credentials)
        world.store.delete_device(credentials.client_id, actor="cli")
    world.apply_committed()
    assert told == [absent.client_id, connected.client_id]


async def test_reset(world: World, bcrypt: Bcrypt) -> None:
    """A RESET revalidates everyone and empties the cache: valid principals stay, the others are revoked."""
    credentials, gone = world.device(), world.device("S2")
    staying, leaving = await world.connect(credentials), await world.connect(gone)
    _revoke(world.store, gone)
    world.authenticator.apply([RESET])
    await until(lambda: leaving.is_revoked)
    assert not staying.is_revoked
    bcrypt.calls = 0
    assert await world.connect(credentials) is staying
    assert bcrypt.calls == 1


async def test_reset_store_unreadable(world: World) -> None:
    """A principal that can't be shown to be valid isn't: without the registry, a RESET revokes it."""
    principal = await world.connect(world.device())
    world.store.close()
    world.authenticator.apply([RESET])
    await until(lambda: principal.is_revoked)
    assert world.revoked == [principal]


async def test_expiring_key_is_checked_again(world: World, bcrypt: Bcrypt) -> None:
    """A key that is set to expire works until then, but its secret is no longer cached."""
    credentials = world.device()
    principal = await world.connect(credentials)
    world.store.expire_device_keys(credentials.client_id, grace_seconds=60, actor="cli")
    world.apply_committed()
    assert await world.connect(credentials) is principal
    assert bcrypt.calls == 2
    assert world.revoked == []


async def test_principals_in_bounded_memory(make_world: WorldFactory) -> None:
    """A principal that is neither connected nor cached isn't kept."""
    world = make_world(cache_seconds=0)
    for number in range(20):
        await world.connect(world.device(f"S{number}"))
    gc.collect()
    assert world.authenticator._principals._index.all() == []
