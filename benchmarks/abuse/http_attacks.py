"""What a stranger can do to registration's address."""

from __future__ import annotations

from benchmarks.abuse.plan import Attack, Plan, Scene
from fleetkey.management import MAX_PAGE

__all__ = ["HTTP_ATTACKS"]

GET = b"GET /health/live HTTP/1.1\r\nHost: localhost\r\n\r\n"
PIPELINED = 500
POST = b"POST /register HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
TRAILER = b"x: " + b"y" * 500 + b"\r\n"
TRAILERS = 200
SLOW_CONNECTIONS, DRIP_SECONDS = 500, 0.5
ALL_CONNECTIONS = 1_100
"""More than `[http] max_connections`."""
REOPEN_SECONDS = 0.2
UNREAD_CONNECTIONS, SLOW_RECEIVE_BYTES = 900, 4_096


def _trailers(scene: Scene) -> list[Plan]:
    return [
        Plan(
            port=scene.http_port,
            connections=4,
            noun="trailer lines",
            lead=lambda _: POST + b"Transfer-Encoding: chunked\r\n\r\n0\r\n",
            flood=lambda _: TRAILER * TRAILERS,
            per_flood=TRAILERS,
        )
    ]


def _pipelined(scene: Scene, *, is_reading: bool) -> list[Plan]:
    return [
        Plan(
            port=scene.http_port,
            connections=4,
            noun="requests",
            flood=lambda _: GET * PIPELINED,
            per_flood=PIPELINED,
            is_reading=is_reading,
        )
    ]


def _slow(scene: Scene, lead: bytes, drip: bytes) -> list[Plan]:
    return [
        Plan(
            port=scene.http_port,
            connections=SLOW_CONNECTIONS,
            noun="connections",
            lead=lambda _: lead,
            drip=drip,
            drip_seconds=DRIP_SECONDS,
            reopen_seconds=REOPEN_SECONDS,
        )
    ]


def _all_connections(scene: Scene) -> list[Plan]:
    return [
        Plan(
            port=scene.http_port,
            connections=ALL_CONNECTIONS,
            noun="connections",
            lead=lambda _: b"GET / HTTP/1.1\r\n",
            addresses=1,
            reopen_seconds=REOPEN_SECONDS,
        )
    ]


def _refusals(scene: Scene) -> list[Plan]:
    body = b'{"serial": "SN-%08d"}'
    head = POST + b"Connection: close\r\nContent-Length: %d\r\n\r\n" % len(body % 0)
    return [
        Plan(
            port=scene.http_port,
            connections=50,
            noun="registrations",
            steps=lambda _, number: (head + body % number,),
            leaves=True,
        )
    ]


def _unread_pages(scene: Scene) -> list[Plan]:
    headers = f"Host: localhost\r\nAuthorization: Bearer {scene.token}"
    request = f"GET /api/v1/devices?limit={MAX_PAGE} HTTP/1.1\r\n{headers}\r\n\r\n"
    return [
        Plan(
            port=scene.http_port,
            connections=UNREAD_CONNECTIONS,
            noun="connections",
            lead=lambda _: request.encode(),
            is_reading=False,
            receive_buffer=SLOW_RECEIVE_BYTES,
            reopen_seconds=REOPEN_SECONDS,
        )
    ]


HTTP_ATTACKS = (
    Attack(
        name="http-trailers",
        summary="Chunked registrations whose trailer lines never end",
        plans=_trailers,
        hits_http=True,
    ),
    Attack(
        name="http-unread",
        summary="4 connections pipeline requests and read no answer",
        plans=lambda scene: _pipelined(scene, is_reading=False),
        hits_http=True,
    ),
    Attack(
        name="http-requests",
        summary="4 connections pipeline requests as fast as they are answered",
        plans=lambda scene: _pipelined(scene, is_reading=True),
        hits_http=True,
    ),
    Attack(
        name="http-slow-headers",
        summary="500 connections send a header line every half second",
        plans=lambda scene: _slow(scene, b"GET / HTTP/1.1\r\n", b"a: b\r\n"),
        hits_http=True,
    ),
    Attack(
        name="http-slow-bodies",
        summary="500 connections send a byte of a body every half second",
        plans=lambda scene: _slow(scene, POST + b"Content-Length: 8000\r\n\r\n", b" "),
        hits_http=True,
    ),
    Attack(
        name="http-connections",
        summary="One address opens more connections than `[http] max_connections`",
        plans=_all_connections,
        hits_http=True,
    ),
    Attack(
        name="http-refusals",
        summary="Registrations of unknown serials, each from another address",
        plans=_refusals,
        hits_http=True,
    ),
    Attack(
        name="http-unread-pages",
        summary="900 connections with a token ask for the largest page of devices, and read nothing",
        plans=_unread_pages,
        hits_http=True,
        needs_labels=True,
    ),
)
