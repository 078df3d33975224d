"""Revalidation: applications follow devices, each key once, and a key that can't be decided is revoked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from fleetkey.access import Action, decide
from fleetkey.access.login import revalidation
from fleetkey.registry import ApplicationScope, Change, ChangeKind, RefusalReason
from tests.unit.access.access_rig import until

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from fleetkey.access.login.verification import VerifiedLogin
    from tests.unit.access.access_rig import Credentials, World
    from tests.unit.access.conftest import WorldFactory

MANY = 40
RESET = Change(seq=0, at=0, kind=ChangeKind.RESET)


@pytest.fixture
def revalidated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Record the keys that are revalidated."""
    from fleetkey.access.login.verification import Verification  # noqa: PLC0415 - patched here alone

    keys: list[str] = []
    revalidate: Callable[[Any, str], VerifiedLogin | RefusalReason] = Verification.revalidate

    def noting(self: Verification, key: str) -> VerifiedLogin | RefusalReason:
        keys.append(key)
        return revalidate(self, key)

    monkeypatch.setattr(Verification, "revalidate", noting)
    return keys


async def _tagged_fleet(world: World) -> tuple[list[Credentials], Credentials]:
    """Connect devices with a tag, and an application that reaches them by that tag."""
    devices = [world.device(f"S{number}", tags={"site": "north"}) for number in range(MANY)]
    application = world.application(ApplicationScope(tags=(("site", "north"),)))
    for credentials in (*devices, application):
        await world.connect(credentials)
    world.apply_committed()
    return devices, application


async def _until_idle(world: World) -> None:
    """Wait until no revalidation is running."""
    pending = world.authenticator._principals._revalidation
    await until(lambda: pending._task is None or pending._task.done(), 10)


def _move_all(world: World, devices: list[Credentials]) -> None:
    world.store.tag_devices([device.client_id for device in devices], {"site": "south"}, actor="cli")
    world.apply_committed()


async def test_schedule_after_a_bulk_change(make_world: WorldFactory, revalidated: list[str]) -> None:
    """The application follows all changed devices at once; no key is revalidated, as no topics use the tag."""
    world = make_world(max_scope_devices=MANY)
    devices, application = await _tagged_fleet(world)
    principal = await world.connect(application)
    topic = f"devices/{devices[-1].client_id}/x"
    assert principal.allows(Action.SUBSCRIBE, topic)
    await _until_idle(world)
    revalidated.clear()
    told: list[Collection[str] | None] = []
    world.authenticator.on_rescoped(told.append)
    _move_all(world, devices)
    await until(lambda: not principal.allows(Action.SUBSCRIBE, topic))
    assert told == [{f"devices/{device.client_id}/#" for device in devices}]
    assert revalidated == []


@pytest.mark.parametrize(
    ("change", "follows"),
    [
        pytest.param(lambda store, inside, _: store.tag_device(inside, {"line": "3"}, actor="cli"), "", id="stays"),
        pytest.param(lambda store, _, other: store.tag_device(other, {"line": "3"}, actor="cli"), "", id="not_in"),
        pytest.param(lambda store, _, other: store.delete_device(other, actor="cli"), "", id="other_is_gone"),
        pytest.param(
            lambda store, inside, _: store.tag_device(inside, {"site": None}, actor="cli"), "inside", id="leaves"
        ),
        pytest.param(
            lambda store, _, other: store.tag_device(other, {"site": "north"}, actor="cli"), "other", id="comes"
        ),
        pytest.param(lambda store, inside, _: store.delete_device(inside, actor="cli"), "inside", id="is_gone"),
    ],
)
async def test_schedule_for_devices(
    make_world: WorldFactory, revalidated: list[str], change: Callable[[Any, str, str], object], *, follows: str
) -> None:
    """An application follows a device that enters or leaves its scope, and is the same as if it logged in anew."""
    world = make_world(max_scope_devices=MANY)
    inside, other = world.device("S1", tags={"site": "north"}), world.device("S2", tags={"site": "south"})
    application = world.application(ApplicationScope(tags=(("site", "north"),)))
    principal = await world.connect(application)
    world.apply_committed()
    await _until_idle(world)
    revalidated.clear()
    told: list[Collection[str] | None] = []
    world.authenticator.on_rescoped(told.append)
    change(world.store, inside.client_id, other.client_id)
    world.apply_committed()
    await _until_idle(world)
    moved = {"": None, "inside": inside, "other": other}[follows]
    assert told == ([] if moved is None else [{f"devices/{moved.client_id}/#"}])
    assert revalidated == []
    fresh = world.authenticator._verification.revalidate(application.key)
    assert not isinstance(fresh, RefusalReason)
    assert principal.scope.has_same_patterns(fresh.scope)
    for device in (inside, other):
        topic = f"devices/{device.client_id}/x"
        assert [principal.allows(action, topic) for action in Action] == [
            decide(fresh.scope, action, topic) for action in Action
        ]


async def test_schedule_for_devices_beyond_the_bound(make_world: WorldFactory) -> None:
    """A device that makes a scope larger than it may be ends the key's connections, as a login would be refused."""
    world = make_world(max_scope_devices=1)
    world.device("S1", tags={"site": "north"})
    other = world.device("S2", tags={"site": "south"})
    principal = await world.connect(world.application(ApplicationScope(tags=(("site", "north"),))))
    world.apply_committed()
    await _until_idle(world)
    assert not principal.is_revoked
    world.store.tag_device(other.client_id, {"site": "north"}, actor="cli")
    world.apply_committed()
    await until(lambda: principal.is_revoked)


async def test_schedule_for_devices_during_a_login(make_world: WorldFactory, revalidated: list[str]) -> None:
    """If the scope was replaced while the devices were read, the key is revalidated rather than put back."""
    world = make_world(max_scope_devices=MANY)
    device = world.device("S1", tags={"site": "north"})
    application = world.application(ApplicationScope(tags=(("site", "north"),)))
    principal = await world.connect(application)
    world.apply_committed()
    await _until_idle(world)
    revalidated.clear()
    verification = world.authenticator._verification
    follow_devices = verification.follow_devices

    def interrupted(*arguments: Any) -> Any:
        found = follow_devices(*arguments)
        principal.scope = principal.scope.with_devices({})[0]
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verification, "follow_devices", interrupted)
        world.store.tag_device(device.client_id, {"site": "south"}, actor="cli")
        world.apply_committed()
        await until(lambda: revalidated == [application.key])
        await _until_idle(world)
    assert principal.scope.of_devices == {}


async def test_schedule_for_devices_tags_in_topics(make_world: WorldFactory) -> None:
    """If topics use tags, any tag of a device in its scope may change an application's topics."""
    world = make_world(pattern="lines/{tag:line}/{device_id}/#", max_scope_devices=MANY)
    device = world.device("S1", tags={"line": "1"})
    principal = await world.connect(world.application(ApplicationScope(device_ids=(device.client_id,))))
    world.apply_committed()
    await _until_idle(world)
    world.store.tag_device(device.client_id, {"line": "2"}, actor="cli")
    world.apply_committed()
    await until(lambda: principal.allows(Action.SUBSCRIBE, f"lines/2/{device.client_id}/x"))
    assert not principal.allows(Action.SUBSCRIBE, f"lines/1/{device.client_id}/x")


async def test_schedule_for_devices_too_many(
    make_world: WorldFactory, revalidated: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With more changed devices than are compared one by one, every application is revalidated."""
    monkeypatch.setattr(revalidation, "MAX_CHANGED_DEVICES", 3)
    world = make_world(max_scope_devices=MANY)
    devices = [world.device(f"S{number}", tags={"site": "south"}) for number in range(5)]
    application = world.application(ApplicationScope(tags=(("site", "north"),)))
    await world.connect(application)
    world.apply_committed()
    await _until_idle(world)
    revalidated.clear()
    world.store.tag_devices([device.client_id for device in devices], {"line": "3"}, actor="cli")
    world.apply_committed()
    await _until_idle(world)
    assert revalidated == [application.key]


async def test_schedule_for_devices_unreadable(make_world: WorldFactory) -> None:
    """Without the registry nothing shows what is in a scope, so the application is revoked."""
    world = make_world(max_scope_devices=MANY)
    device = world.device("S1", tags={"site": "north"})
    principal = await world.connect(world.application(ApplicationScope(tags=(("site", "north"),))))
    world.store.close()
    world.authenticator.apply([Change(seq=1, at=0, kind=ChangeKind.DEVICE_TAGGED, device_id=device.client_id)])
    await until(lambda: principal.is_revoked)


async def test_schedule_applications_first(make_world: WorldFactory, revalidated: list[str]) -> None:
    """Even if the devices' own topics use the tag, the application doesn't wait behind them."""
    world = make_world(pattern="sites/{tag:site}/{device_id}/#", max_scope_devices=MANY)
    devices, _ = await _tagged_fleet(world)
    principals = [await world.connect(device) for device in devices]
    await _until_idle(world)
    revalidated.clear()
    told: list[Collection[str] | None] = []
    world.authenticator.on_rescoped(told.append)
    _move_all(world, devices)
    moved = [f"sites/south/{device.client_id}/x" for device in devices]
    await until(lambda: all(map(lambda one, topic: one.allows(Action.PUBLISH, topic), principals, moved)))
    assert told[0] == {f"sites/north/{device.client_id}/#" for device in devices}
    assert sorted(revalidated) == sorted(device.key for device in devices)


@pytest.mark.parametrize("broken", [ValueError("a row that can't be"), MemoryError()])
async def test_schedule_broken_key(world: World, monkeypatch: pytest.MonkeyPatch, broken: Exception) -> None:
    """Whatever goes wrong for one key, that key is revoked, and the others are still decided."""
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
