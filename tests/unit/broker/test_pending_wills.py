"""Wills that wait out their delay: who publishes them, when, and what discards them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from fleetkey.access import OverloadedError
from fleetkey.broker.codec import Reason, Will
from fleetkey.broker.pending_wills import PendingWills
from tests.unit.broker.rig import Parts, Sink, Time, principal

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleetkey.access import Principal
    from fleetkey.broker.session import Session

DELAY = 10


@pytest.fixture
def time() -> Time:
    """Return the time of `parts`."""
    return Time()


class Scene:
    """A client with a will that is gone, and one that listens."""

    def __init__(self, parts: Parts, time: Time, *, clean: bool = False, name: str = "", **more: Any) -> None:
        self.parts, self.time, self.name = parts, time, name
        self.listener, _ = parts.join("listener", "w", qos=1, clean=True)
        self.who = principal("gone")
        self.session = self.leave(clean=clean, **more)

    def leave(self, *, clean: bool = False, delay: int = DELAY, **more: Any) -> Session:
        """Connect and be gone, as a connection does it."""
        sink, opened = self.parts.open(self.who, clean=clean, client_id=self.name)
        session = opened.session
        sink.close(Reason.CONNECTION_LOST)
        will = Will(topic="w", payload=b"gone", qos=1, is_retained=False, delay_seconds=delay, **more)
        self.parts.wills.leave(session, will, self.who)
        return session

    def come_back(self, *, clean: bool = False) -> Sink:
        """Connect again."""
        return self.parts.open(self.who, clean=clean)[0]

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.time.seconds += seconds
        self.parts.wills.expire(0)
        self.parts.loop.settle()

    @property
    def heard(self) -> list[bytes]:
        """What the listener heard since the last time."""
        return self.listener.payloads()


@pytest.fixture
async def scene(new_parts: Callable[..., Parts], time: Time) -> Scene:
    """Return a scene in which a will waits."""
    return Scene(new_parts(clock=time.clock()), time)


async def test_published_after_its_delay(scene: Scene) -> None:
    """Not earlier, and once."""
    scene.wait(DELAY - 1)
    assert scene.heard == []
    scene.wait(2)
    assert scene.heard == [b"gone"]
    scene.wait(100)
    assert scene.heard == []
    assert len(scene.parts.wills) == 0


async def test_resumed(scene: Scene) -> None:
    """A client that comes back to its session cancels it; the will of its next connection counts again."""
    scene.come_back()
    scene.wait(2 * DELAY)
    assert scene.heard == []
    scene.leave()
    scene.wait(DELAY + 1)
    assert scene.heard == [b"gone"]


async def test_clean_start(scene: Scene) -> None:
    """It ends the session, and so its will is sent at once."""
    scene.come_back(clean=True)
    assert scene.heard == [b"gone"]


async def test_end_of_session(new_parts: Callable[..., Parts], time: Time) -> None:
    """The will of a session that ends first is sent then."""
    scene = Scene(new_parts(clock=time.clock(), session_expiry_seconds=5), time)
    time.seconds += 6
    scene.parts.sessions.expire(0)
    scene.parts.loop.settle()
    assert scene.heard == [b"gone"]


@pytest.mark.parametrize("options", [{"clean": True}, {"delay": 0}])
async def test_at_once(new_parts: Callable[..., Parts], time: Time, options: dict[str, Any]) -> None:
    """Without a delay, or without a session that is kept, it doesn't wait."""
    assert Scene(new_parts(clock=time.clock()), time, **options).heard == [b"gone"]


async def test_no_room(new_parts: Callable[..., Parts], time: Time) -> None:
    """A will for which there is no room doesn't wait, either."""
    parts = new_parts(clock=time.clock())
    scene = Scene(parts, time)
    account = scene.session.memory
    scene.wait(DELAY + 1)
    assert scene.heard == [b"gone"]
    account.share = account.used
    scene.leave()
    assert scene.heard == [b"gone"]


async def test_longest_delay(new_parts: Callable[..., Parts], time: Time) -> None:
    """A longer one is treated as `max_will_delay_seconds`."""
    scene = Scene(new_parts(clock=time.clock(), max_will_delay_seconds=3), time)
    scene.wait(4)
    assert scene.heard == [b"gone"]


async def test_decided_when_it_fires(scene: Scene) -> None:
    """A key that may not publish there any more, or isn't valid, publishes nothing."""
    scene.who.scope = principal("gone", publish=("other/#",)).scope
    scene.wait(DELAY + 1)
    assert scene.heard == []
    scene.who.scope = principal("gone").scope
    scene.leave()
    scene.who.is_revoked = True
    scene.wait(DELAY + 1)
    assert scene.heard == []


async def test_discarded_by_revocation(scene: Scene) -> None:
    """It goes with its key, not with another one of the owner."""
    scene.parts.wills.revoke(scene.session, principal("another"))
    assert len(scene.parts.wills) == 1
    scene.parts.wills.revoke(scene.session, scene.who)
    assert len(scene.parts.wills) == 0
    scene.wait(DELAY + 1)
    assert scene.heard == []


async def test_charged(scene: Scene) -> None:
    """Memory and disk are charged while it waits, and released after."""
    waiting = scene.session.memory.used, scene.session.disk.used, scene.parts.store.stored_bytes
    scene.parts.wills.discard(scene.session)
    after = scene.session.memory.used, scene.session.disk.used, scene.parts.store.stored_bytes
    assert all(with_it > without for with_it, without in zip(waiting, after, strict=True))


class Registry:
    """Knows who a key belongs to, unless it is out of order."""

    def __init__(self, *, is_valid: bool = True) -> None:
        self.is_valid = is_valid
        self.is_out_of_order = False
        self.asked: list[str] = []

    async def principal_of(self, key: str) -> Principal | None:
        """Return it."""
        self.asked.append(key)
        if self.is_out_of_order:
            raise OverloadedError
        return principal(key) if self.is_valid else None


async def _restarted(new_parts: Callable[..., Parts], time: Time, registry: Registry, *, clients: int = 1) -> Parts:
    """Return the parts of the next process, in which wills of one key wait."""
    clock = time.clock()
    before = new_parts(clock=clock)
    for number in range(clients):
        Scene(before, time, name=f"c{number}", properties=b"\x03\0\1x", expiry_seconds=60)
    await before.close()
    parts = new_parts(clock=clock)
    parts.wills._principal_of = registry.principal_of
    parts.restore()
    return parts


async def _tick(parts: Parts) -> None:
    parts.wills.expire(0)
    parts.loop.settle()
    for task in list(parts.wills._tasks):
        await task
    parts.loop.settle()


@pytest.mark.parametrize("is_valid", [True, False])
async def test_restart(new_parts: Callable[..., Parts], time: Time, *, is_valid: bool) -> None:
    """It is stored with its session; its key is looked up again, once for all of its wills, and decides."""
    registry = Registry(is_valid=is_valid)
    parts = await _restarted(new_parts, time, registry, clients=3)
    listener, _ = parts.join("listener", "w", qos=1, clean=True)
    time.seconds += DELAY + 1
    await _tick(parts)
    assert registry.asked == ["gone"]
    assert listener.payloads() == ([b"gone"] * 3 if is_valid else [])
    await parts.settle()
    assert parts.store._connection.execute("SELECT count(*) FROM wills").fetchone() == (0,)


async def test_due_as_a_lookup_ends(new_parts: Callable[..., Parts], time: Time) -> None:
    """A will that is due between the end of a lookup and the end of its task is looked up as well."""
    registry = Registry()
    parts = await _restarted(new_parts, time, registry, clients=2)
    listener, _ = parts.join("listener", "w", qos=1, clean=True)
    first, second = list(parts.wills._waiting)

    async def principal_of(key: str) -> Principal | None:
        if not registry.asked:
            asyncio.get_running_loop().call_soon(parts.wills.ended, second)
        return await registry.principal_of(key)

    parts.wills._principal_of = principal_of
    parts.wills.ended(first)
    for _ in range(5):
        await asyncio.sleep(0)
    parts.loop.settle()
    assert len(registry.asked) == 2
    assert listener.payloads() == [b"gone"] * 2


async def test_goes_on_after_a_failure(
    new_parts: Callable[..., Parts], time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An unexpected error in one turn doesn't keep later wills from being published."""
    scene = Scene(new_parts(clock=time.clock()), time)
    failing = PendingWills.ended

    def fail(self: PendingWills, session: Session) -> None:
        monkeypatch.setattr(PendingWills, "ended", failing)
        failing(self, session)
        raise MemoryError

    monkeypatch.setattr(PendingWills, "ended", fail)
    with pytest.raises(MemoryError):
        scene.wait(DELAY + 1)
    scene.leave()
    scene.wait(DELAY + 1)
    assert scene.heard == [b"gone"] * 2


async def test_registry_out_of_order(new_parts: Callable[..., Parts], time: Time) -> None:
    """While nobody can say whose it is, it waits, in the store as well; a client that comes back still cancels it."""
    registry = Registry()
    registry.is_out_of_order = True
    parts = await _restarted(new_parts, time, registry, clients=2)
    listener, _ = parts.join("listener", "w", qos=1, clean=True)
    for _ in range(3):
        time.seconds += DELAY + 1
        await _tick(parts)
    assert len(registry.asked) == 3
    assert listener.payloads() == []
    await parts.settle()
    assert parts.store._connection.execute("SELECT count(*) FROM wills").fetchone() == (2,)
    parts.open(principal("gone"), client_id="c0")
    registry.is_out_of_order = False
    time.seconds += 2
    await _tick(parts)
    assert listener.payloads() == [b"gone"]


async def test_many_at_once(new_parts: Callable[..., Parts], time: Time) -> None:
    """Those that are due at the same time are published in turns."""
    parts = new_parts(clock=time.clock())
    listener, _ = parts.join("listener", "w", qos=0, clean=True)
    for number in range(100):
        who = principal(f"k{number}")
        sink, opened = parts.open(who)
        sink.close(Reason.CONNECTION_LOST)
        will = Will(topic="w", payload=b"%d" % number, qos=0, is_retained=False, delay_seconds=DELAY)
        parts.wills.leave(opened.session, will, who)
    time.seconds += DELAY + 1
    parts.wills.expire(0)
    assert len(listener.sent) < 100
    assert parts.loop.settle() > 1
    assert len(listener.sent) == 100
