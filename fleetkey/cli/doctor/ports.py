"""Whether each address to listen on is free, or taken by this fleet's own server or by something else."""

from __future__ import annotations

import errno
import itertools
import socket
from typing import TYPE_CHECKING

import httpx
import msgspec

from fleetkey.cli.doctor.findings import Finding, Verdict
from fleetkey.config import parse_address
from fleetkey.operations import FleetFiles, serving_pid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from fleetkey.config import HttpSettings, Settings

__all__ = ["collisions", "ports"]

HEALTH_SECONDS = 2.0
"""How long a server on the registration address has to answer its health check."""
MAX_HEALTH_BYTES = 1024
"""How much of the health check's answer is read."""
PORT_ADVICE = "Stop what uses it, or choose another port."


UNSPECIFIED = frozenset({"0.0.0.0", "::"})  # noqa: S104 - compared, not bound


class _Health(msgspec.Struct):
    status: str
    version: str


def ports(settings: Settings) -> Iterator[Finding]:
    """Check each address: whether it is free, or in use by this fleet's own server."""
    databases = FleetFiles.from_settings(settings)
    pid = serving_pid(databases.registry) or serving_pid(databases.broker)
    yield _port("http port", settings.http.bind, lambda: _registration(settings.http, pid))
    for name, bind in (
        ("mqtt", settings.mqtt.bind),
        ("mqtt tls", settings.mqtt.tls_bind),
        ("mqtt ws", settings.mqtt.ws_bind),
    ):
        if bind:
            yield _port(f"{name} port", bind, lambda: _broker(pid))


def collisions(settings: Settings) -> Iterator[Finding]:
    """Find listeners that would have the same address and port: the server can't start with them."""
    mqtt = settings.mqtt
    binds = {
        "http.bind": settings.http.bind,
        "mqtt.bind": mqtt.bind,
        "mqtt.tls_bind": mqtt.tls_bind,
        "mqtt.ws_bind": mqtt.ws_bind,
    }
    targets = {name: _targets(bind, is_http=name == "http.bind") for name, bind in binds.items() if bind}
    for (one, ones), (other, others) in itertools.combinations(targets.items(), 2):
        if any(_is_same_target(first, second) for first in ones for second in others):
            detail = f"{one} ({binds[one]}) and {other} ({binds[other]}) have the same address and port"
            yield Finding("listeners", Verdict.FAILED, detail, "Give each listener a port of its own.")


def _targets(bind: str, *, is_http: bool) -> set[tuple[int, str, int]]:
    """Return family, host and port of the sockets of a listener; none if the host is unknown or the port is any."""
    address = parse_address(bind)
    if not address.port:
        return set()
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        # Reported with the port.
        return set()
    targets = {
        (int(family), str(target[0]), address.port) for family, _, _, _, target in found[: 1 if is_http else None]
    }
    if is_http and address.host == "::":
        # The only socket that accepts IPv4, too.
        targets.add((int(socket.AF_INET), "0.0.0.0", address.port))  # noqa: S104 - compared, not bound
    return targets


def _is_same_target(one: tuple[int, str, int], other: tuple[int, str, int]) -> bool:
    (family, host, port), (other_family, other_host, other_port) = one, other
    same_host = host == other_host or bool({host, other_host} & UNSPECIFIED)
    return (family, port) == (other_family, other_port) and same_host


def _port(check: str, bind: str, holder: Callable[[], tuple[Verdict, str, str]]) -> Finding:
    address = parse_address(bind)
    try:
        family, kind, protocol, _, target = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(target)
            probe.listen(1)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            verdict, by, advice = holder()
            return Finding(check, verdict, f"{bind} is in use{by}", advice)
        advice = "Choose an address of this machine, and a port above 1023 unless you run as root."
        return Finding(check, Verdict.FAILED, f"{bind}: {error.strerror or error}", advice)
    return Finding(check, Verdict.OK, f"{bind} is free")


def _registration(http: HttpSettings, pid: int | None) -> tuple[Verdict, str, str]:
    is_fleetkey = _is_live(http)
    if pid is not None and is_fleetkey:
        return Verdict.OK, f" by this fleet's server (pid {pid})", ""
    return Verdict.WARNING, " by another fleet's server" if is_fleetkey else " by something else", PORT_ADVICE


def _broker(pid: int | None) -> tuple[Verdict, str, str]:
    if pid is not None:
        return Verdict.OK, f"; this fleet's server is running (pid {pid})", ""
    return Verdict.WARNING, " by something else", PORT_ADVICE


def _is_live(http: HttpSettings) -> bool:
    """Ask whatever listens there whether it is Fleetkey; anything but a clear yes counts as no."""
    address = parse_address(http.bind)
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address.host, address.host)  # noqa: S104 - compared, not bound
    url = httpx.URL(scheme="https" if http.tls_cert else "http", host=host, port=address.port, path="/health/live")
    try:
        # The certificate names the host that devices use, not this one, and the request holds nothing secret.
        with httpx.stream("GET", url, timeout=HEALTH_SECONDS, trust_env=False, verify=False) as answer:  # noqa: S501
            content = next(answer.iter_bytes(MAX_HEALTH_BYTES), b"")
        return msgspec.json.decode(content, type=_Health).status == "live"
    except (httpx.HTTPError, httpx.StreamError, msgspec.MsgspecError):
        return False
