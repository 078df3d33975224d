"""What happens beside the messages of 10,000 connected devices: presence is recorded, and tags change.

`presence`: all devices publish in turn while it is recorded every five seconds when each was heard of, twelve times as
often as by default; the peer is the same broker that records it once a day. Either is started anew for each round.

`tag change`: an application reaches the devices by a tag, and is connected like them. One device loses the tag; from
the commit on, the application subscribes to that device's topic again and again until that is refused.

`tag change of 10,000 devices`: all of them lose the tag, a chunk in a transaction as a bulk change does it; from the
last commit on, the application subscribes to the last device's topic until that is refused.
"""

from __future__ import annotations

import resource
import socket
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.broker_fleet import BrokerFleet, make_broker_fleet
from benchmarks.broker_loadgen import LoadGenerator, compile_loadgen, compiler_path
from benchmarks.broker_servers import HOST, fleetkey_broker, mosquitto_path
from benchmarks.figure import Benchmark, Figure, Target
from benchmarks.rounds import alternate
from fleetkey.access import hash_secret, new_secret
from fleetkey.broker.codec import MQTT_3_1_1, Kind, Reason
from fleetkey.management.bulk import BULK_CHUNK
from fleetkey.registry import ApplicationScope, new_access_key
from fleetkey.registry.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BENCHMARK"]

DEVICES = 10_000
OPEN_FILES = DEVICES + 1_000
MESSAGES = 600_000
WINDOW = 100
OFTEN_SECONDS, SELDOM_SECONDS = 5, 86_400
CHANGES = 10
BULK_CHANGES = 3
TAG = ("site", "north")
LOOK_SECONDS = 0.002
BCRYPT_ROUNDS = 4
REFUSED = 0x80
MILLISECONDS = 1e3


def run() -> list[Figure]:
    """Measure both, or say on standard error what is missing and return nothing."""
    if mosquitto_path() is None or compiler_path() is None:
        print("live_fleet: skipped, it needs a C compiler and mosquitto_passwd", file=sys.stderr)
        return []
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most != resource.RLIM_INFINITY and most < OPEN_FILES:
        print(f"live_fleet: skipped, it needs {OPEN_FILES:,} open files (ulimit -Hn)", file=sys.stderr)
        return []
    resource.setrlimit(resource.RLIMIT_NOFILE, (OPEN_FILES, most))
    with tempfile.TemporaryDirectory(prefix="fleetkey-bench-") as name:
        folder = Path(name)
        program = compile_loadgen(folder)
        fleet = make_broker_fleet(folder, devices=DEVICES, serials=[])
        return [_presence(program, fleet), *_tag_changes(program, fleet)]


def _presence(program: Path, fleet: BrokerFleet) -> Figure:
    def rate(seen_seconds: int) -> float:
        with (
            fleetkey_broker(fleet, presence_seen_seconds=seen_seconds) as broker,
            LoadGenerator(program, broker, fleet) as generator,
        ):
            generator.connect_back_end()
            generator.connect(0, DEVICES)
            generator.state(DEVICES, DEVICES)
            return generator.state(DEVICES, MESSAGES, window=WINDOW).rate

    ours, peer = alternate(lambda: rate(OFTEN_SECONDS), lambda: rate(SELDOM_SECONDS))
    return Figure(
        name="presence of 10,000 devices",
        unit="/s",
        ours_rounds=ours,
        peer_rounds=peer,
        peer_name="the same broker, which records nothing meanwhile",
        targets=(Target("ratio", ">=", 0.95),),
        note=f"state of all, QoS 0, {WINDOW} under way; recorded every {OFTEN_SECONDS} s",
    )


def _tag_changes(program: Path, fleet: BrokerFleet) -> list[Figure]:
    key, secret = new_access_key(), new_secret()
    with closing(SqliteStore(fleet.data_dir / "fleetkey.db")) as store:
        with store._writing() as database:  # noqa: SLF001 - one by one they would take minutes
            database.conn.executemany(
                "INSERT INTO device_tags (device_id, name, value) VALUES (?, ?, ?)",
                [(device.device_id, *TAG) for device in fleet.devices],
            )
        scope = ApplicationScope(tags=(TAG,))
        store.create_application_key(
            key=key, secret_hash=hash_secret(secret, BCRYPT_ROUNDS), name="tagged", scope=scope, actor="benchmark"
        )
        with fleetkey_broker(fleet) as broker, LoadGenerator(program, broker, fleet) as generator:
            generator.connect(0, DEVICES)
            with closing(_Application(broker.port, key, secret.reveal())) as application:
                one, one_committed = zip(*_changes(store, fleet, application), strict=True)
                many, many_committed = zip(*_bulk_changes(store, fleet, application), strict=True)
    return [
        Figure(
            name="tag change with 10,000 connections",
            unit="ms",
            ours_rounds=one,
            peer_rounds=one_committed,
            peer_name="the commit of the change alone",
            targets=(Target("ours", "<=", 1_000),),
            note=f"from the commit until the application is refused; the slowest of {CHANGES}: {max(one):,.0f} ms",
        ),
        Figure(
            name="tag change of 10,000 devices",
            unit="ms",
            ours_rounds=many,
            peer_rounds=many_committed,
            peer_name="the commits of the changes",
            targets=(Target("ours", "<=", 1_000),),
            note=f"from the last commit until the application is refused; the slowest: {max(many):,.0f} ms",
        ),
    ]


def _changes(store: SqliteStore, fleet: BrokerFleet, application: _Application) -> Iterator[tuple[float, float]]:
    for device in fleet.devices[:CHANGES]:
        topic = f"devices/{device.device_id}/state"
        assert application.subscribe(topic) != REFUSED
        before = time.perf_counter()
        store.tag_device(device.device_id, {TAG[0]: None}, actor="benchmark")
        committed = time.perf_counter()
        while application.subscribe(topic) != REFUSED:
            time.sleep(LOOK_SECONDS)
        yield (time.perf_counter() - committed) * MILLISECONDS, (committed - before) * MILLISECONDS


def _bulk_changes(store: SqliteStore, fleet: BrokerFleet, application: _Application) -> Iterator[tuple[float, float]]:
    ids = [device.device_id for device in fleet.devices]
    topic = f"devices/{ids[-1]}/state"
    for _ in range(BULK_CHANGES):
        _tag_all(store, ids, TAG[1])
        while application.subscribe(topic) == REFUSED:
            time.sleep(LOOK_SECONDS)
        before = time.perf_counter()
        _tag_all(store, ids, None)
        committed = time.perf_counter()
        while application.subscribe(topic) != REFUSED:
            time.sleep(LOOK_SECONDS)
        yield (time.perf_counter() - committed) * MILLISECONDS, (committed - before) * MILLISECONDS


def _tag_all(store: SqliteStore, ids: list[str], value: str | None) -> None:
    for start in range(0, len(ids), BULK_CHUNK):
        store.tag_devices(ids[start : start + BULK_CHUNK], {TAG[0]: value}, actor="benchmark")


class _Application:
    """A back end, byte by byte."""

    def __init__(self, port: int, key: str, secret: str) -> None:
        self._socket = socket.create_connection((HOST, port))
        body = _text("MQTT") + b"\x04\xc2\0\0" + _text("benchmark-tagged") + _text(key) + _text(secret)
        self._socket.sendall(bytes((Kind.CONNECT << 4, len(body) & 0x7F | 0x80, len(body) >> 7)) + body)
        assert self._socket.recv(4) == MQTT_3_1_1.connack(Reason.SUCCESS)

    def subscribe(self, topic_filter: str) -> int:
        """Return the SUBACK's code."""
        body = b"\0\1" + _text(topic_filter) + b"\0"
        self._socket.sendall(bytes((Kind.SUBSCRIBE << 4 | 2, len(body))) + body)
        answer = self._socket.recv(5)
        assert answer[0] == Kind.SUBACK << 4
        return answer[4]

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def _text(text: str) -> bytes:
    return len(text).to_bytes(2, "big") + text.encode()


BENCHMARK = Benchmark(name="live_fleet", summary="presence and tag changes beside 10,000 connections", run=run)
