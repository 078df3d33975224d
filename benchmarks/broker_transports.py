"""MQTT 3.1.1 and 5 over TLS and over WebSocket, beside mosquitto with the same certificate."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

from benchmarks.broker_certificate import CERTIFICATE, PRIVATE_KEY, make_certificate
from benchmarks.broker_dialect import Dialect, Transport, Version
from benchmarks.broker_loadgen import has_openssl
from benchmarks.broker_phases import COMMANDS, DEVICES, Amounts, figures_beside, phases_of
from benchmarks.broker_servers import HOST, fleetkey_broker, mosquitto_broker
from benchmarks.broker_setting import broker_setting
from benchmarks.figure import Benchmark
from benchmarks.rounds import alternate

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from benchmarks.broker_cost import Costed
    from benchmarks.broker_fleet import BrokerFleet
    from benchmarks.broker_servers import Broker
    from benchmarks.broker_setting import Setting
    from benchmarks.figure import Figure

__all__ = ["BENCHMARK", "transport_figures"]

AMOUNTS = Amounts(connects=1_000, state=20_000, state_qos_1=20_000, commands=20_000)
TARGETS = {COMMANDS: 1.0}
VERSIONS = (Version.V3_1_1, Version.V5)


def run() -> list[Figure]:
    """Measure both, or say on standard error what is missing and leave that out."""
    with broker_setting("broker-transports", devices=DEVICES) as setting:
        if setting is None:
            return []
        return [*_tls(setting), *_websocket(setting)]


def _tls(setting: Setting) -> list[Figure]:
    if not has_openssl():
        _say_left_out(Transport.TLS, "the compiler finds no OpenSSL headers (Debian: apt-get install libssl-dev)")
        return []
    certificate = setting.folder / "tls"
    make_certificate(certificate)
    ours = {
        "tls_bind": f"{HOST}:0",
        "tls_cert": certificate / CERTIFICATE,
        "tls_key": certificate / PRIVATE_KEY,
    }
    return _measure(setting, Transport.TLS, partial(mosquitto_broker, certificate=certificate), ours)


def _websocket(setting: Setting) -> list[Figure]:
    # Its own server: one with a certificate has WebSocket over TLS alone.
    return _measure(
        setting, Transport.WEBSOCKET, partial(mosquitto_broker, has_websocket=True), {"ws_bind": f"{HOST}:0"}
    )


def _measure(
    setting: Setting,
    transport: Transport,
    start_peer: Callable[[BrokerFleet], AbstractContextManager[Broker]],
    ours: Mapping[str, object],
) -> list[Figure]:
    program, fleet = setting.program, setting.fleet
    with ExitStack() as stack:
        try:
            peer = stack.enter_context(start_peer(fleet))
        except RuntimeError as error:
            _say_left_out(transport, f"{error}: was it built without?")
            return []
        broker = stack.enter_context(fleetkey_broker(fleet, **ours))
        sides = [(of, Dialect(version, transport)) for version in VERSIONS for of in (broker, peer)]
        rounds = alternate(*(phases_of(stack, program, of, fleet, as_, AMOUNTS) for of, as_ in sides))
    return transport_figures(transport, *rounds)


def transport_figures(
    transport: Transport,
    old: Sequence[dict[str, Costed]],
    peer_old: Sequence[dict[str, Costed]],
    new: Sequence[dict[str, Costed]],
    peer_new: Sequence[dict[str, Costed]],
) -> list[Figure]:
    """Return the figures of rounds with either version on either broker."""
    return [
        figure
        for version, ours, peer in zip(VERSIONS, (old, new), (peer_old, peer_new), strict=True)
        for figure in figures_beside(
            Dialect(version, transport), ours, peer, peer_name="mosquitto", targets=TARGETS, notes=AMOUNTS.notes
        )
    ]


def _say_left_out(transport: Transport, reason: str) -> None:
    print(f"broker-transports: {transport} is left out, {reason}", file=sys.stderr)


BENCHMARK = Benchmark(
    name="broker-transports", summary="the bundled broker over TLS and WebSocket, beside mosquitto", run=run
)
