"""What it costs that back ends by tag listen to a fleet with one filter each, in a broker's core without sockets.

10,000 devices, a hundred at each of 100 sites, and a key for each site, whose back end subscribes to `devices/+/state`.
Every message matches all 100 subscriptions and is due to one of them. The peer is the same core with one back end for
all devices, so both sides send as many messages.

`known topics`: each device publishes to one topic again and again. `new topics`: no topic comes twice, so its receivers
are looked up, and each key is asked, for the first time.

`tag change`: one device loses the tag by which 100 keys reach all devices. From the moment at which the change is known
until all scopes are as they should be. The peer compiles one such scope anew.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from benchmarks.bare_connections import Sink, admit, packet, text
from benchmarks.figure import Benchmark, Figure, Target
from benchmarks.fleet import BCRYPT_ROUNDS, make_fleet
from benchmarks.logins import opened_authenticator
from benchmarks.rounds import alternate
from fleetkey.access import ConnectAttempt, Granted, hash_secret, new_secret
from fleetkey.broker import FleetkeyBroker, Limits, broker_config, scheduler
from fleetkey.broker.codec import Kind
from fleetkey.broker.connection import Connection
from fleetkey.cli.logs import configure_logs
from fleetkey.config import load_settings
from fleetkey.registry import ApplicationScope, Change, ChangeKind, new_access_key
from fleetkey.registry.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from fleetkey.access import Authenticator, Principal

__all__ = ["BENCHMARK"]

DEVICES = 10_000
KEYS = 100
MESSAGES, NEW_TOPICS = 10_000, 1_000
MESSAGES_PER_TURN = 64
ROUNDS = 7
TAG_CHANGES = 7
FOLLOW_SECONDS = 60
FILTER = "devices/+/state/#"
PAYLOAD = b"x" * 64
SETTLE_SECONDS = 0.1
MICROSECONDS, MILLISECONDS = 1e6, 1e3
SITE, FLEET = "site", ("fleet", "all")
PUBLISHER = ApplicationScope(publish=("devices/#",))


def run() -> list[Figure]:
    """Measure messages, and then changes."""
    configure_logs(load_settings(None, {"log.level": "warning"}).log)
    with tempfile.TemporaryDirectory(prefix="fleetkey-benchmark-") as name:
        data_dir = Path(name)
        make_fleet(data_dir, devices=DEVICES, known=0)
        with closing(SqliteStore(data_dir / "fleetkey.db")) as store:
            ids = _tag_all(store)
            clients = _Clients(store)
            with (
                asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
                opened_authenticator(runner, data_dir) as authenticator,
            ):
                return [
                    *_messages(runner, data_dir, authenticator, clients, ids),
                    _changes(runner, authenticator, store, clients, ids),
                ]


def _tag_all(store: SqliteStore) -> list[str]:
    ids = [device.device_id for device in store.list_devices(limit=DEVICES)]
    assert len(ids) == DEVICES
    for number in range(KEYS):
        store.tag_devices(ids[number::KEYS], {SITE: str(number), FLEET[0]: FLEET[1]}, actor="benchmark")
    return ids


class _Clients:
    """Application keys; each has logged in once, so that its secret is cached."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store

    async def log_in(self, authenticator: Authenticator, scope: ApplicationScope) -> tuple[Principal, tuple[str, ...]]:
        """Make a key; return its principal, and what it connects with: client id, key and secret."""
        key, secret = new_access_key(), new_secret()
        self._store.create_application_key(
            key=key, secret_hash=hash_secret(secret, BCRYPT_ROUNDS), name="benchmark", scope=scope, actor="benchmark"
        )
        client_id = f"benchmark-{key}"
        outcome = await authenticator.authenticate(
            ConnectAttempt(client_id=client_id, username=key, password=secret.reveal().encode(), address="127.0.0.1")
        )
        assert isinstance(outcome, Granted)
        return outcome.principal, (client_id, key, secret.reveal())


class _PausableSink(Sink):
    """Knows whether its connection reads."""

    def __init__(self) -> None:
        super().__init__()
        self.reading = asyncio.Event()
        self.reading.set()

    def pause_reading(self) -> None:
        self.reading.clear()

    def resume_reading(self) -> None:
        self.reading.set()


class _Core:
    """A broker without listeners, with its back ends and one client that publishes for all devices."""

    def __init__(self, broker: FleetkeyBroker, publisher: Sequence[str], back_ends: Sequence[Sequence[str]]) -> None:
        self._core = broker.core
        self.heard = Sink()
        """What all back ends were sent."""
        self._sent = _PausableSink()
        self._publisher = admit(broker.core, Connection, self._sent, *publisher)
        for back_end in back_ends:
            connection = admit(broker.core, Connection, self.heard, *back_end)
            connection.data_received(packet(Kind.SUBSCRIBE << 4 | 2, b"\0\1" + text(FILTER) + b"\0"))

    async def publish(self, messages: Iterable[bytes]) -> float:
        """Publish; return the processor time until all back ends were sent what is due to them."""
        start = time.thread_time()
        for number, message in enumerate(messages):
            self._publisher.data_received(message)
            if not number % MESSAGES_PER_TURN:
                await asyncio.sleep(0)
            # While its receivers are looked up in turns of the loop.
            await self._sent.reading.wait()
        self._core.scheduler._flush()  # noqa: SLF001
        return time.thread_time() - start

    async def close(self) -> None:
        """Close the broker's store."""
        await self._core.close()


def _messages(
    runner: asyncio.Runner, folder: Path, authenticator: Authenticator, clients: _Clients, ids: list[str]
) -> list[Figure]:
    cores = runner.run(_open_cores(folder, authenticator, clients))
    counter = itertools.count()

    figures = [
        _figure("known topics", runner, cores, ids[:MESSAGES], lambda: itertools.repeat("state")),
        _figure("new topics", runner, cores, ids[:NEW_TOPICS], lambda: (f"state/{number}" for number in counter)),
    ]
    for core in cores:
        runner.run(core.close())
    return figures


async def _open_cores(folder: Path, authenticator: Authenticator, clients: _Clients) -> list[_Core]:
    """Return a core with a back end for each site, and one with a back end for all."""
    settings = load_settings(None, {"data_dir": folder})
    config, limits = broker_config(settings.mqtt, authenticator), Limits.from_settings(settings.mqtt)
    # All clients are let in within one turn of the loop here.
    scheduler.CONNECTS_PER_TURN = KEYS + 2
    sites = [ApplicationScope(tags=((SITE, str(number)),)) for number in range(KEYS)]
    cores = []
    for name, scopes in (("sites", sites), ("all", [ApplicationScope(subscribe=("#",))])):
        publisher, *back_ends = [(await clients.log_in(authenticator, scope))[1] for scope in (PUBLISHER, *scopes)]
        broker = FleetkeyBroker(config, authenticator, limits, folder / f"{name}.db")
        await broker.core.start()
        cores.append(_Core(broker, publisher, back_ends))
    return cores


def _figure(
    name: str, runner: asyncio.Runner, cores: list[_Core], ids: list[str], tails: Callable[[], Iterator[str]]
) -> Figure:
    def measure(core: _Core) -> float:
        # Let the core do what it left to later turns of the loop, such as releasing routes.
        runner.run(asyncio.sleep(SETTLE_SECONDS))
        return runner.run(_seconds_per_message(core, ids, tails())) * MICROSECONDS

    ours, peer = alternate(lambda: measure(cores[0]), lambda: measure(cores[1]), rounds=ROUNDS)
    return Figure(
        name=f"across devices, {name}",
        unit="µs",
        ours_rounds=ours,
        peer_rounds=peer,
        peer_name="one back end that may have everything",
        targets=(Target("ratio", "<=", 1.2),) if name == "known topics" else (),
        note=f"{DEVICES:,} devices, {KEYS} keys by tag with one filter each; processor time, no sockets",
    )


async def _seconds_per_message(core: _Core, ids: list[str], tails: Iterator[str]) -> float:
    messages = [packet(Kind.PUBLISH << 4, text(f"devices/{sender}/{next(tails)}") + PAYLOAD) for sender in ids]
    before = core.heard.written
    seconds = await core.publish(messages)
    assert core.heard.written - before == sum(map(len, messages))
    return seconds / len(messages)


def _changes(
    runner: asyncio.Runner, authenticator: Authenticator, store: SqliteStore, clients: _Clients, ids: list[str]
) -> Figure:
    scope = ApplicationScope(tags=(FLEET,))

    async def log_in() -> list[Principal]:
        return [(await clients.log_in(authenticator, scope))[0] for _ in range(KEYS)]

    principals = runner.run(log_in())
    leaving, all_followed = iter(ids), asyncio.Semaphore(0)
    followed = itertools.count(1)
    authenticator.on_rescoped(lambda _: None if next(followed) % KEYS else all_followed.release())

    async def leave() -> float:
        device_id = next(leaving)
        store.tag_device(device_id, {FLEET[0]: None}, actor="benchmark")
        start = time.perf_counter()
        authenticator.apply([Change(seq=0, at=0, kind=ChangeKind.DEVICE_TAGGED, device_id=device_id)])
        await asyncio.wait_for(all_followed.acquire(), FOLLOW_SECONDS)
        assert not any(device_id in principal.scope.of_devices for principal in principals)
        return (time.perf_counter() - start) * MILLISECONDS

    def compile_one() -> float:
        start = time.perf_counter()
        authenticator._verification.revalidate(principals[0].key)  # noqa: SLF001
        return (time.perf_counter() - start) * MILLISECONDS

    ours, peer = alternate(lambda: runner.run(leave()), compile_one, rounds=TAG_CHANGES)
    return Figure(
        name="across devices, tag change",
        unit="ms",
        ours_rounds=ours,
        peer_rounds=peer,
        peer_name="one of the scopes compiled anew",
        targets=(Target("ours", "<=", 1_000),),
        note=f"one device, {KEYS} keys that reach {DEVICES:,} devices each; the slowest: {max(ours):,.0f} ms",
    )


BENCHMARK = Benchmark(
    name="across_devices", summary="back ends by tag that listen to a fleet with one filter each", run=run
)
