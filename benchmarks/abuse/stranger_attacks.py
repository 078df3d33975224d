"""What somebody without credentials can do to the broker's listeners over TCP and TLS."""

from __future__ import annotations

import ssl

from benchmarks.abuse.mqtt_packets import MALFORMED, bad_log_ins
from benchmarks.abuse.plan import Attack, Plan, Scene

__all__ = ["STRANGER_ATTACKS"]

PARALLEL = 50
SILENT = 1_500
"""More than the 1,024 files that a process may have open by default on most systems."""
SILENT_ADDRESSES = 100
REOPEN_SECONDS = 0.2
TRICKLE_SECONDS = 0.1
HEADER_BYTES = 5
"""Of a TLS record (RFC 8446, 5.1)."""
RECORD_BYTES = 16
"""OpenSSL refuses a handshake that begins with a record of less than about that."""


def _log_ins(scene: Scene) -> list[Plan]:
    attempts = bad_log_ins(scene.devices)
    return [
        Plan(
            port=scene.mqtt_port,
            connections=PARALLEL,
            noun="CONNECTs",
            steps=lambda _, number: (attempts[number % len(attempts)],),
            leaves=True,
        )
    ]


def _malformed(scene: Scene) -> list[Plan]:
    return [
        Plan(
            port=scene.mqtt_port,
            connections=PARALLEL,
            noun="connections",
            steps=lambda _, number: (MALFORMED[number % len(MALFORMED)],),
            leaves=True,
        )
    ]


def _silent(port: int) -> list[Plan]:
    return [
        Plan(
            port=port,
            connections=SILENT,
            noun="connections",
            addresses=SILENT_ADDRESSES,
            reopen_seconds=REOPEN_SECONDS,
        )
    ]


def _handshakes(scene: Scene) -> list[Plan]:
    hello = _client_hello()
    return [
        Plan(
            port=scene.tls_port,
            connections=PARALLEL,
            noun="handshakes",
            steps=lambda _slot, _number: (hello,),
            leaves=True,
        )
    ]


def _trickled_handshakes(scene: Scene) -> list[Plan]:
    return [
        Plan(
            port=scene.tls_port,
            connections=SILENT,
            noun="connections",
            drip=_client_hello(),
            drip_seconds=TRICKLE_SECONDS,
            drip_bytes=1,
            addresses=SILENT_ADDRESSES,
            reopen_seconds=REOPEN_SECONDS,
        )
    ]


def _handshakes_in_tiny_records(scene: Scene) -> list[Plan]:
    record = _client_hello()
    kind_and_version, content = record[: HEADER_BYTES - 2], record[HEADER_BYTES:]
    parts = [content[at : at + RECORD_BYTES] for at in range(0, len(content), RECORD_BYTES)]
    hello = b"".join(kind_and_version + len(part).to_bytes(2, "big") + part for part in parts)
    return [
        Plan(
            port=scene.tls_port,
            connections=PARALLEL,
            noun="handshakes",
            steps=lambda _slot, _number: (hello,),
            leaves=True,
        )
    ]


def _client_hello() -> bytes:
    """Return what a client begins with; the server signs its answer whoever sends it, and however often."""
    context = ssl.create_default_context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        context.wrap_bio(incoming, outgoing, server_hostname="localhost").do_handshake()
    except ssl.SSLWantReadError:
        return outgoing.read()
    raise AssertionError("a handshake without a server")


STRANGER_ATTACKS = (
    Attack(
        name="bad-secrets",
        summary="CONNECTs with wrong secrets, half of them for keys that exist, each from another address",
        plans=_log_ins,
    ),
    Attack(
        name="malformed",
        summary="Connections that begin with a malformed packet, each from another address",
        plans=_malformed,
    ),
    Attack(
        name="silent",
        summary="1,500 connections from 100 addresses that say nothing",
        plans=lambda scene: _silent(scene.mqtt_port),
        hits_http=True,
    ),
    Attack(
        name="tls-silent",
        summary="1,500 connections from 100 addresses to the TLS listener that say nothing",
        plans=lambda scene: _silent(scene.tls_port),
        hits_http=True,
        needs_tls=True,
    ),
    Attack(
        name="tls-handshakes",
        summary="Handshakes that are left when the server has signed its part",
        plans=_handshakes,
        needs_tls=True,
    ),
    Attack(
        name="tls-trickled",
        summary="1,500 connections from 100 addresses that send their handshake byte by byte",
        plans=_trickled_handshakes,
        needs_tls=True,
    ),
    Attack(
        name="tls-tiny-records",
        summary="The same handshakes, in records of 16 bytes",
        plans=_handshakes_in_tiny_records,
        needs_tls=True,
    ),
)
