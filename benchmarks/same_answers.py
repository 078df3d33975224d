"""Whether a refusal tells, by its bytes or by its time, what it was refused for.

A server with the default settings but for the limits, one client, one attempt at a time over loopback, each class of
attempt drawn at random: a serial or a key that exists beside one that doesn't. The answers must be the same bytes. Of
the times, two tests say whether they differ: Welch's t between the means, without the slowest tenth, which has what the
machine does besides, and the z of Mann and Whitney's rank test over all of them. Below 4.5, the bound of dudect
(Reparaz, Balasch, Verbauwhede: "Dude, is my code constant time?", 2017), nothing is found in so many trials.

The figure is the larger of |t| and |z|; beside it stands the same for two halves of the unknown ones, which is what
chance gives. The note says how often the slower one of each class would be told rightly: 0.5 is guessing.
"""

from __future__ import annotations

import base64
import bisect
import hashlib
import hmac
import json
import os
import random
import secrets
import socket
import statistics
import struct
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.figure import Benchmark, Figure, Target
from benchmarks.fleet import make_fleet
from benchmarks.server import served_at
from fleetkey.registry import DeviceState
from fleetkey.registry.sqlite import SqliteStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.fleet import Credential

__all__ = ["BENCHMARK"]

DEVICES = 1_000
TRIALS = int(os.environ.get("BENCH_TRIALS", "1500"))
"""Of each class."""
T_LIMIT = 4.5
KEPT = 0.9
GROUP_SECRET = "benchmark-group-secret-" + "0" * 41
NO_LIMITS = """
[registration]
max_per_address_per_minute = 0
max_per_serial_per_hour = 0
verifiers = {verifiers}
{more}
[access]
max_failures_per_address_per_minute = 0
max_failures_per_key_per_minute = 0
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Class:
    """One kind of attempt: makes the bytes of a new one each time."""

    name: str
    attempt: Callable[[], bytes]


def run() -> list[Figure]:
    """Measure serials and keys."""
    with tempfile.TemporaryDirectory(prefix="fleetkey-bench-") as name:
        return [
            *_serials(Path(name) / "hmac", '["hmac"]'),
            *_serials(Path(name) / "list", '["allowlist"]'),
            *_keys(Path(name) / "keys"),
        ]


def _fleet(folder: Path) -> tuple[list[Credential], list[Credential], dict[str, str]]:
    """Make a fleet; return credentials of active and of disabled devices, and the serials of all of them by id."""
    folder.mkdir()
    credentials = make_fleet(folder, devices=DEVICES, known=DEVICES // 2)
    half = len(credentials) // 2
    active, disabled = credentials[:half], credentials[half:]
    with closing(SqliteStore(folder / "fleetkey.db")) as store:
        serials = {one.device_id: store.get_device(one.device_id).serial for one in credentials}
        store.add_serials(list(serials.values()), actor="benchmark")
        for one in disabled:
            store.set_device_state(one.device_id, DeviceState.DISABLED, actor="benchmark")
    return active, disabled, serials


def _serials(folder: Path, verifiers: str) -> list[Figure]:
    active, disabled, serials = _fleet(folder)
    secret = folder / "group-secret"
    secret.write_text(GROUP_SECRET)
    secret.chmod(0o600)
    more = f"[registration.hmac.secret_files]\nplant = {json.dumps(str(secret))}" if "hmac" in verifiers else ""

    def unknown() -> str:
        return f"SN-{secrets.token_hex(8).upper()}"

    def registration(serial: str, proof: str | None) -> bytes:
        body = json.dumps({"serial": serial} | ({"proof": proof} if proof else {})).encode()
        return (
            b"POST /register HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
        )

    def wrong() -> str:
        return base64.b64encode(secrets.token_bytes(32)).decode()

    def right(serial: str) -> str:
        return base64.b64encode(hmac.digest(GROUP_SECRET.encode(), serial.encode(), hashlib.sha256)).decode()

    def any_of(credentials: Sequence[Credential]) -> str:
        return serials[secrets.choice(credentials).device_id]

    with served_at(folder, NO_LIMITS.format(verifiers=verifiers, more=more)) as (http, _):
        if "hmac" in verifiers:
            nobody = _Class(name="unknown serial, wrong proof", attempt=lambda: registration(unknown(), wrong()))
            others = [
                _Class(name="registered serial, wrong proof", attempt=lambda: registration(any_of(active), wrong())),
                _Class(
                    name="disabled serial, right proof",
                    attempt=lambda: registration(serial := any_of(disabled), right(serial)),
                ),
            ]
        else:
            nobody = _Class(name="unknown serial", attempt=lambda: registration(unknown(), None))
            others = [_Class(name="disabled serial on the list", attempt=lambda: registration(any_of(disabled), None))]
        with socket.create_connection(("127.0.0.1", http)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

            def ask(request: bytes) -> bytes:
                connection.sendall(request)
                answer = b""
                while b"\r\n\r\n" not in answer or not answer.rstrip().endswith(b"}"):
                    part = connection.recv(65536)
                    assert part, "the server closed the connection"
                    answer += part
                return b"\r\n".join(line for line in answer.split(b"\r\n") if not line.lower().startswith(b"date:"))

            return _compare(nobody, others, ask)


def _keys(folder: Path) -> list[Figure]:
    active, disabled, _ = _fleet(folder)

    def attempt(key: str, secret: bytes, client_id: str) -> bytes:
        payload = b"".join(_text(value) for value in (client_id.encode(), key.encode(), secret))
        variable = _text(b"MQTT") + b"\x04\xc2\x00\x3c"
        length = len(variable) + len(payload)
        return b"\x10" + bytes([length % 128 | 128, length // 128]) + variable + payload

    def some_secret() -> bytes:
        return secrets.token_hex(32).encode()

    def of(credentials: Sequence[Credential], *, secret_is_right: bool, client_id_is_right: bool = True) -> bytes:
        one = secrets.choice(credentials)
        return attempt(
            one.key,
            one.secret if secret_is_right else some_secret(),
            one.device_id if client_id_is_right else secrets.token_hex(12),
        )

    nobody = _Class(
        name="unknown key", attempt=lambda: attempt(secrets.token_hex(16), some_secret(), secrets.token_hex(12))
    )
    others = [
        _Class(name="key that exists, wrong secret", attempt=lambda: of(active, secret_is_right=False)),
        _Class(name="disabled device, right secret", attempt=lambda: of(disabled, secret_is_right=True)),
        _Class(
            name="right secret, wrong client id",
            attempt=lambda: of(active, secret_is_right=True, client_id_is_right=False),
        ),
    ]
    with served_at(folder, NO_LIMITS.format(verifiers='["allowlist"]', more="")) as (_, mqtt):

        def ask(packet: bytes) -> bytes:
            with socket.create_connection(("127.0.0.1", mqtt)) as connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                # Both ends abort, so that no port of thousands stays taken.
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.sendall(packet)
                answer = b""
                while part := connection.recv(64):
                    answer += part
                return answer

        return _compare(nobody, others, ask)


def _text(value: bytes) -> bytes:
    return len(value).to_bytes(2, "big") + value


def _compare(nobody: _Class, others: Sequence[_Class], ask: Callable[[bytes], bytes]) -> list[Figure]:
    """Try all classes in random order; return a figure for each that exists."""
    turns = [nobody, nobody, *others] * TRIALS
    random.shuffle(turns)
    took: dict[str, list[float]] = {each.name: [] for each in (nobody, *others)}
    answers: set[bytes] = set()
    for each in (nobody, *others):
        for _ in range(100):
            ask(each.attempt())
    for each in turns:
        request = each.attempt()
        start = time.perf_counter()
        answers.add(ask(request))
        took[each.name].append(time.perf_counter() - start)
    assert len(answers) == 1, answers
    first, second = took[nobody.name][::2], took[nobody.name][1::2]
    by_chance = _score(first, second)
    figures = []
    for other in others:
        told = _told_apart(took[other.name], took[nobody.name])
        shift = (statistics.median(took[other.name]) - statistics.median(took[nobody.name])) * 1e6
        figures.append(
            Figure(
                name=f"same answers, {other.name}",
                unit="t or z",
                ours_rounds=[_score(took[other.name], took[nobody.name])],
                peer_rounds=[by_chance],
                peer_name="two halves of the unknown ones",
                targets=(Target("ours", "<", T_LIMIT),),
                note=(
                    f"{TRIALS:,} trials each beside {nobody.name}; the same bytes; told apart by time: {told:.3f};"
                    f" median {statistics.median(took[nobody.name]) * 1e6:.0f} µs, shift {shift:+.1f} µs"
                ),
            )
        )
    return figures


def _score(one: Sequence[float], other: Sequence[float]) -> float:
    deviation = ((len(one) + len(other) + 1) / (12 * len(one) * len(other))) ** 0.5
    return max(abs(_t(one, other)), (_told_apart(one, other) - 0.5) / deviation)


def _t(one: Sequence[float], other: Sequence[float]) -> float:
    """Welch's t between two samples, without what is slower than nine tenths of both together."""
    bound = sorted([*one, *other])[int((len(one) + len(other)) * KEPT)]
    kept = [[value for value in sample if value <= bound] for sample in (one, other)]
    means = [statistics.fmean(sample) for sample in kept]
    errors = [statistics.variance(sample) / len(sample) for sample in kept]
    return float((means[0] - means[1]) / sum(errors) ** 0.5)


def _told_apart(one: Sequence[float], other: Sequence[float]) -> float:
    """Return how often the slower of one each is of the same class: the area under the ROC curve, from 0.5 on."""
    ranked = sorted(other)
    area = statistics.fmean(
        (bisect.bisect_left(ranked, value) + bisect.bisect_right(ranked, value)) / 2 / len(ranked) for value in one
    )
    return max(area, 1 - area)


BENCHMARK = Benchmark(name="same_answers", summary="whether a refusal tells what it was refused for", run=run)
