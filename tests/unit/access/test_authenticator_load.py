"""Authentication under load: overload, floods of failures, and the credential cache."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from fleetkey.access import ConnectAttempt, Granted, Refused, TemplateError, build_authenticator, build_worker_pool
from fleetkey.access.protection.fair_queue import MAX_QUEUED_PER_SOURCE
from fleetkey.config import Settings
from fleetkey.registry import RefusalReason
from tests.unit.access.access_rig import SECONDS, until

if TYPE_CHECKING:
    from tests.unit.access.access_rig import Bcrypt, World
    from tests.unit.access.conftest import WorldFactory

WRONG = b"f" * 64
FLOODED = "192.0.2.66"
LIMIT = 3
UNAVAILABLE = 3


def _wrong(address: str = FLOODED) -> ConnectAttempt:
    return ConnectAttempt(client_id="c", username="0" * 32, password=WRONG, address=address)


async def _fail(world: World, count: int, address: str = FLOODED) -> None:
    for _ in range(count):
        assert await world.authenticator.authenticate(_wrong(address)) == Refused(RefusalReason.UNKNOWN_KEY)


async def test_authenticate_cached(world: World, bcrypt: Bcrypt) -> None:
    """A reconnect neither hashes nor reads the registry, and yields the same principal."""
    credentials = world.device()
    principal = await world.connect(credentials)
    world.store.close()
    for _ in range(3):
        assert await world.connect(credentials) is principal
    assert bcrypt.calls == 1


async def test_authenticate_cache_expired(make_world: WorldFactory, bcrypt: Bcrypt) -> None:
    """Once its cache entry has expired, a secret is verified again."""
    world = make_world(cache_seconds=60)
    credentials = world.device()
    await world.connect(credentials)
    world.clock.advance(60)
    await world.connect(credentials)
    assert bcrypt.calls == 2


async def test_authenticate_without_cache(make_world: WorldFactory, bcrypt: Bcrypt) -> None:
    """With `cache_seconds = 0` every login is verified; the principal is the same while a connection holds it."""
    world = make_world(cache_seconds=0)
    credentials = world.device()
    principal = await world.connect(credentials)
    assert await world.connect(credentials) is principal
    assert bcrypt.calls == 2


async def test_authenticate_cached_key_expires(world: World) -> None:
    """The cache doesn't outlive a key: when the key expires, it is refused at once."""
    credentials = world.device()
    world.store.expire_device_keys(credentials.client_id, grace_seconds=10, actor="cli")
    await world.connect(credentials)
    world.clock.advance(10)
    outcome = await world.authenticator.authenticate(credentials.attempt())
    assert outcome == Refused(RefusalReason.KEY_EXPIRED)


async def test_authenticate_overloaded(make_world: WorldFactory, bcrypt: Bcrypt) -> None:
    """A full pool refuses at once with code 3 and no bcrypt; when there is room again, everyone gets in."""
    world = make_world(max_pending=2, max_failures=LIMIT)
    clients = [world.device(f"S{number}") for number in range(2)]
    late = world.device("late")
    bcrypt.hold(clients[0].secret.encode())
    waiting = [asyncio.create_task(world.connect(clients[0])) for _ in range(2)]
    await until(lambda: world.pool.pending == 2)
    calls = bcrypt.calls
    for _ in range(10):
        outcome = await asyncio.wait_for(world.authenticator.authenticate(late.attempt()), timeout=0.5)
        assert outcome == Refused(RefusalReason.OVERLOADED)
        assert isinstance(outcome, Refused)
        assert outcome.return_code == UNAVAILABLE
    assert bcrypt.calls <= calls + 2
    assert len(world.failures) == 0
    bcrypt.release()
    principals = await asyncio.gather(*waiting)
    assert principals[0] is principals[1]
    await until(lambda: world.pool.pending == 0)
    await world.connect(late)


async def test_authenticate_over_the_limit(make_world: WorldFactory) -> None:
    """From an address with too many failures a good key still gets in, and wrong ones are refused as before."""
    world = make_world(max_failures=LIMIT)
    credentials = world.device()
    await _fail(world, LIMIT)
    assert world.failures.wait_seconds(FLOODED) > 0
    outcome = await world.authenticator.authenticate(credentials.attempt(address=FLOODED))
    assert isinstance(outcome, Granted)
    await _fail(world, LIMIT)
    outcome = await world.authenticator.authenticate(credentials.attempt(address=FLOODED, password=WRONG))
    assert outcome == Refused(RefusalReason.WRONG_SECRET)


async def test_authenticate_flood(make_world: WorldFactory, bcrypt: Bcrypt) -> None:
    """A flood from limited addresses occupies one thread and a bounded queue for each; others connect meanwhile."""
    world = make_world(max_failures=LIMIT)
    credentials = world.device()
    await _fail(world, LIMIT)
    await _fail(world, LIMIT, "2001:db8::1")
    bcrypt.hold(WRONG)
    addresses = (FLOODED, "2001:db8::2")
    flood = [
        asyncio.create_task(world.authenticator.authenticate(_wrong(addresses[number % 2])))
        for number in range(2 * (MAX_QUEUED_PER_SOURCE + 25) + 1)
    ]
    await until(lambda: sum(task.done() for task in flood) == 50)
    assert {task.result() for task in flood if task.done()} == {Refused(RefusalReason.OVERLOADED)}
    assert world.pool.pending == 1
    await asyncio.wait_for(world.connect(credentials), timeout=SECONDS)
    assert isinstance(await world.authenticator.authenticate(credentials.attempt(address=FLOODED)), Granted)
    bcrypt.release()
    outcomes = await asyncio.gather(*flood)
    assert outcomes.count(Refused(RefusalReason.UNKNOWN_KEY)) == 2 * MAX_QUEUED_PER_SOURCE + 1


async def test_flood_delays_no_other_source(make_world: WorldFactory, bcrypt: Bcrypt) -> None:
    """A key that failed too often elsewhere gets its turn from its own address, however long another's queue is."""
    world = make_world(max_failures=LIMIT, max_key_failures=LIMIT, first_delay_seconds=3_600)
    credentials = world.device()
    failing = [
        asyncio.create_task(
            world.authenticator.authenticate(credentials.attempt(password=WRONG, address=f"192.0.2.{number}"))
        )
        for number in range(LIMIT)
    ]
    await until(lambda: world.authenticator._throttle.source_over_limit("192.0.2.99", credentials.key) is not None)
    failing += [asyncio.create_task(world.authenticator.authenticate(_wrong())) for _ in range(LIMIT)]
    await until(lambda: world.authenticator._throttle.source_over_limit(FLOODED, "") is not None)
    bcrypt.hold(WRONG)
    flood = [asyncio.create_task(world.authenticator.authenticate(_wrong())) for _ in range(MAX_QUEUED_PER_SOURCE)]
    await asyncio.to_thread(bcrypt.begun.acquire)
    device = asyncio.create_task(world.authenticator.authenticate(credentials.attempt(address="192.0.2.200")))
    await asyncio.sleep(0)
    calls = bcrypt.calls
    bcrypt.release()
    assert isinstance(await asyncio.wait_for(device, SECONDS), Granted)
    assert bcrypt.calls - calls <= LIMIT
    for task in (*failing, *flood):
        task.cancel()
    await asyncio.gather(*failing, *flood, return_exceptions=True)


async def test_invalid_usernames_take_no_memory(make_world: WorldFactory) -> None:
    """A username that can't be a key isn't counted: it may be as long as a packet."""
    world = make_world(max_failures=LIMIT, max_key_failures=LIMIT)
    long = ConnectAttempt(client_id="c", username="x" * 60_000, password=WRONG, address="192.0.2.7")
    for _ in range(LIMIT):
        await world.authenticator.authenticate(long)
    assert len(world.authenticator._throttle._keys) == 0
    assert world.failures.wait_seconds("192.0.2.7") > 0


async def test_authenticate_flood_disconnects(make_world: WorldFactory, bcrypt: Bcrypt) -> None:
    """Clients of a flood that disconnect leave the queue."""
    world = make_world(max_failures=LIMIT)
    credentials = world.device()
    await _fail(world, LIMIT)
    bcrypt.hold(WRONG)
    flood = [asyncio.create_task(world.authenticator.authenticate(_wrong())) for _ in range(MAX_QUEUED_PER_SOURCE)]
    await asyncio.to_thread(bcrypt.begun.acquire)
    for task in flood:
        task.cancel()
    await asyncio.gather(*flood, return_exceptions=True)
    bcrypt.release()
    outcome = await world.authenticator.authenticate(credentials.attempt(address=FLOODED))
    assert isinstance(outcome, Granted)


async def test_refusals_over_the_limit_are_delayed(make_world: WorldFactory) -> None:
    """Each refusal of a flood is delayed; a good key from the same address isn't, nor is another key."""
    world = make_world(max_failures=LIMIT, first_delay_seconds=3_600)
    credentials = world.device()
    await _fail(world, LIMIT - 1)
    flood = [asyncio.create_task(world.authenticator.authenticate(_wrong())) for _ in range(10)]
    outcome = await asyncio.wait_for(world.authenticator.authenticate(credentials.attempt(address=FLOODED)), SECONDS)
    assert isinstance(outcome, Granted)
    await until(lambda: world.authenticator._throttle._delayed == len(flood))
    assert not any(task.done() for task in flood)
    for task in flood:
        task.cancel()
    await asyncio.gather(*flood, return_exceptions=True)
    assert world.authenticator._throttle._delayed == 0


async def test_key_over_the_limit(make_world: WorldFactory) -> None:
    """Failures with one key from everywhere slow that key's further failures, not the device that knows its secret."""
    world = make_world(max_key_failures=LIMIT, first_delay_seconds=3_600)
    credentials, other = world.device(), world.device("S2")
    for number in range(LIMIT - 1):
        attempt = credentials.attempt(address=f"198.51.100.{number}", password=WRONG)
        assert await world.authenticator.authenticate(attempt) == Refused(RefusalReason.WRONG_SECRET)
    slowed = asyncio.create_task(
        world.authenticator.authenticate(credentials.attempt(address="203.0.113.9", password=WRONG))
    )
    await until(lambda: world.authenticator._throttle._delayed == 1)
    for good in (credentials, other):
        assert await asyncio.wait_for(world.connect(good), SECONDS)
    refused = await asyncio.wait_for(world.authenticator.authenticate(other.attempt(password=WRONG)), SECONDS)
    assert refused == Refused(RefusalReason.WRONG_SECRET)
    slowed.cancel()
    await asyncio.gather(slowed, return_exceptions=True)


async def test_failures_memory(make_world: WorldFactory) -> None:
    """However many addresses fail, the number tracked is bounded; a /64 counts as one address."""
    world = make_world(max_failures=LIMIT, max_tracked=5)
    for number in range(30):
        await _fail(world, 1, f"198.51.100.{number}")
    assert len(world.failures) == 5
    for number in range(10):
        await _fail(world, 1, f"2001:db8:0:1::{number:x}")
    assert world.failures.wait_seconds("2001:db8:0:1::/64") > 0


@pytest.mark.parametrize("why", ["granted", "store_closed"])
async def test_failures_not_counted(why: str, make_world: WorldFactory) -> None:
    """Neither success nor a problem of the server counts as a failure."""
    world = make_world(max_failures=LIMIT, cache_seconds=0)
    credentials = world.device()
    if why == "store_closed":
        world.store.close()
    for _ in range(LIMIT * 2):
        await world.authenticator.authenticate(credentials.attempt())
    assert len(world.failures) == 0


async def test_failures_window_over(make_world: WorldFactory) -> None:
    """After a minute without failures an address is like any other."""
    world = make_world(max_failures=LIMIT)
    await _fail(world, LIMIT)
    world.clock.advance(60)
    assert world.failures.wait_seconds(FLOODED) == 0
    await _fail(world, 1)
    assert world.failures.wait_seconds(FLOODED) == 0


async def test_build_authenticator(world: World, bcrypt: Bcrypt) -> None:
    """The authenticator follows the settings."""
    settings = Settings.model_validate(
        {
            "topics": {"preset": "losant"},
            "access": {"cache_seconds": 0, "max_failures_per_address_per_minute": LIMIT, "hash_workers": 1},
        }
    )
    pool = build_worker_pool(settings)
    authenticator = build_authenticator(settings, world.store, pool)
    credentials = world.device()
    for _ in range(2):
        outcome = await authenticator.authenticate(credentials.attempt())
        assert isinstance(outcome, Granted)
        assert outcome.principal.scope.publish == (f"losant/{credentials.client_id}/state",)
    assert bcrypt.calls == 2
    await authenticator.close()
    pool.close()


async def test_build_authenticator_malformed_pattern(world: World) -> None:
    """An unusable pattern is an error when the authenticator is built, not when a device connects."""
    settings = Settings.model_validate({"topics": {"publish": ["devices/x{device_id}"]}})
    with pytest.raises(TemplateError):
        build_authenticator(settings, world.store, world.pool)


async def test_queue_timeout(make_world: WorldFactory, bcrypt: Bcrypt, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt that waits too long for its turn is refused for now; one whose turn came may take its time."""
    monkeypatch.setattr("fleetkey.access.protection.failure_throttle.MAX_QUEUE_SECONDS", 0.1)
    world = make_world(max_failures=LIMIT)
    await _fail(world, LIMIT)
    bcrypt.hold(WRONG)
    first = asyncio.create_task(world.authenticator.authenticate(_wrong()))
    await asyncio.to_thread(bcrypt.begun.acquire)
    assert await world.authenticator.authenticate(_wrong()) == Refused(RefusalReason.OVERLOADED)
    assert not first.done()
    bcrypt.release()
    assert await first == Refused(RefusalReason.UNKNOWN_KEY)
