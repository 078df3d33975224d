"""Deciding again about who is connected: application keys first, each once, and closed when that can't be done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fleetkey.access import Action, Refusal
from fleetkey.access.login import revalidation
from fleetkey.registry import ApplicationScope, Change, ChangeKind
from tests.unit.access.access_rig import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleetkey.access.login.verification import Verified
    from tests.unit.access.access_rig import Credentials, World
    from tests.unit.access.conftest import WorldFactory

MANY = 40
RESET = Change(seq=0, at=0, kind=ChangeKind.RESET)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note the keys that are decided again."""
    from fleetkey.access.login.verification import Verification  # noqa: PLC0415 - patched here alone

    keys: list[str] = []
    recheck: Callable[[Any, str], Verified | Refusal] = Verification.recheck

    def noting(self: Verification, key: str) -> Verified | Refusal:
        keys.append(key)
        return recheck(self, key)

    monkeypatch.setattr(Verification, "recheck", noting)
    return keys


async def _tagged_fleet(world: World) -> tuple[list[Credentials], Credentials]:
    """Connect devices with a tag, and an application that reaches them by it."""
    devices = [world.device(f"S{number}", tags={"site": "north"}) for number in range(MANY)]
    application = world.application(ApplicationScope(tags=(("site", "north"),)))
    for credentials in (*devices, application):
        await world.connect(credentials)
    world.apply_committed()
    return devices, application


async def _until_idle(world: World) -> None:
    """Wait until nothing is decided again any more."""
    await until(
        lambda: world.authenticator._revalidation._task is None or world.authenticator._revalidation._task.done(), 10
    )


def _move_all(world: World, devices: list[Credentials]) -> None:
    world.store.tag_devices([device.client_id for device in devices], {"site": "south"}, actor="cli")
    world.apply_committed()


async def test_ask_after_a_bulk_change(make_world: WorldFactory, asked: list[str]) -> None:
    """One change of many devices is one decision about the application; devices whose topics have no tag are none."""
    world = make_world(max_scope_devices=MANY)
    devices, application = await _tagged_fleet(world)
    principal = await world.connect(application)
    topic = f"devices/{devices[-1].client_id}/x"
    assert principal.allows(Action.SUBSCRIBE, topic)
    await _until_idle(world)
    asked.clear()
    _move_all(world, devices)
    await until(lambda: not principal.allows(Action.SUBSCRIBE, topic))
    assert asked == [application.key]


@pytest.mark.parametrize(
    ("change", "is_asked"),
    [
        pytest.param(lambda store, inside, _: store.tag_device(inside, {"line": "3"}, actor="cli"), False, id="stays"),
        pytest.param(lambda store, _, other: store.tag_device(other, {"line": "3"}, actor="cli"), False, id="not_in"),
        pytest.param(lambda store, _, other: store.delete_device(other, actor="cli"), False, id="other_is_gone"),
        pytest.param(lambda store, inside, _: store.tag_device(inside, {"site": None}, actor="cli"), True, id="leaves"),
        pytest.param(lambda store, _, other: store.tag_device(other, {"site": "north"}, actor="cli"), True, id="comes"),
        pytest.param(lambda store, inside, _: store.delete_device(inside, actor="cli"), True, id="is_gone"),
    ],
)
async def test_ask_about(
    make_world: WorldFactory, asked: list[str], change: Callable[[Any, str, str], object], *, is_asked: bool
) -> None:
    """An application is decided again if a device comes into its scope or leaves it, not for every tag of the fleet."""
    world = make_world(max_scope_devices=MANY)
    inside, other = world.device("S1", tags={"site": "north"}), world.device("S2", tags={"site": "south"})
    application = world.application(ApplicationScope(tags=(("site", "north"),)))
    principal = await world.connect(application)
    world.apply_committed()
    await _until_idle(world)
    asked.clear()
    change(world.store, inside.client_id, other.client_id)
    world.apply_committed()
    await _until_idle(world)
    assert asked == ([application.key] if is_asked else [])
    fresh = world.authenticator._verification.recheck(application.key)
    assert not isinstance(fresh, Refusal)
    assert sorted(principal.scope.subscribe) == sorted(fresh.scope.subscribe)


async def test_ask_about_tags_in_topics(make_world: WorldFactory) -> None:
    """Where topics have tags in them, any tag of a device in its scope may change what an application reaches."""
    world = make_world(pattern="lines/{tag:line}/{device_id}/#", max_scope_devices=MANY)
    device = world.device("S1", tags={"line": "1"})
    principal = await world.connect(world.application(ApplicationScope(device_ids=(device.client_id,))))
    world.apply_committed()
    await _until_idle(world)
    world.store.tag_device(device.client_id, {"line": "2"}, actor="cli")
    world.apply_committed()
    await until(lambda: principal.allows(Action.SUBSCRIBE, f"lines/2/{device.client_id}/x"))
    assert not principal.allows(Action.SUBSCRIBE, f"lines/1/{device.client_id}/x")


async def test_ask_about_too_many(make_world: WorldFactory, asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """More devices than are looked at one by one: every application is decided again."""
    monkeypatch.setattr(revalidation, "MAX_MOVED", 3)
    world = make_world(max_scope_devices=MANY)
    devices = [world.device(f"S{number}", tags={"site": "south"}) for number in range(5)]
    application = world.application(ApplicationScope(tags=(("site", "north"),)))
    await world.connect(application)
    world.apply_committed()
    await _until_idle(world)
    asked.clear()
    world.store.tag_devices([device.client_id for device in devices], {"line": "3"}, actor="cli")
    world.apply_committed()
    await _until_idle(world)
    assert asked == [application.key]


async def test_ask_about_unreadable(make_world: WorldFactory) -> None:
    """Without the registry nobody can say who is in a scope, so nobody is."""
    world = make_world(max_scope_devices=MANY)
    device = world.device("S1", tags={"site": "north"})
    principal = await world.connect(world.application(ApplicationScope(tags=(("site", "north"),))))
    world.store.close()
    world.authenticator.apply([Change(seq=1, at=0, kind=ChangeKind.DEVICE_TAGGED, device_id=device.client_id)])
    await until(lambda: principal.is_revoked)


async def test_ask_applications_first(make_world: WorldFactory, asked: list[str]) -> None:
    """Where the devices' own topics depend on the tag, the application doesn't wait behind them."""
    world = make_world(pattern="sites/{tag:site}/{device_id}/#", max_scope_devices=MANY)
    devices, application = await _tagged_fleet(world)
    principals = [await world.connect(device) for device in devices]
    await _until_idle(world)
    asked.clear()
    _move_all(world, devices)
    moved = [f"sites/south/{device.client_id}/x" for device in devices]
    await until(lambda: all(map(lambda one, topic: one.allows(Action.PUBLISH, topic), principals, moved)))
    assert asked[0] == application.key
    assert sorted(asked) == sorted([application.key, *(device.key for device in devices)])


@pytest.mark.parametrize("broken", [ValueError("a row that can't be"), MemoryError()])
async def test_ask_about_what_breaks(world: World, monkeypatch: pytest.MonkeyPatch, broken: Exception) -> None:
    """Whatever goes wrong about one key, that key is revoked, and the others are decided all the same."""
    credentials = [world.device(f"S{number}") for number in range(3)]
    first, second, third = [await world.connect(one) for one in credentials]
    verification = world.authenticator._verification
    find_login = verification._store.find_login

    def failing(key: str) -> object:
        if key == second.key:
            raise broken
        return find_login(key)

    monkeypatch.setattr(verification._store, "find_login", failing)
    world.authenticator.apply([RESET])
    await until(lambda: second.is_revoked)
    await _until_idle(world)
    assert world.revoked == [second]
    assert not first.is_revoked
    assert not third.is_revoked
