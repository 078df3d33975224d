"""The process of `fleetkey serve`: signals, readiness, and shutdown."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from typing import TYPE_CHECKING

import uvloop

from fleetkey.broker import ListenerName
from fleetkey.cli.output import print_json, say
from fleetkey.cli.serve.runtime import Runtime
from fleetkey.cli.serve.sample import make_sample, print_next_steps

if TYPE_CHECKING:
    from fleetkey.config import Settings

__all__ = ["run_server"]

GARBAGE_THRESHOLDS = 10_000, 20, 20
"""When the garbage collector runs. Each run pauses the server to look through all connections, so it runs rarely."""

SWITCH_SECONDS = 0.000_5
"""How long a thread may keep the interpreter while another one waits for it. The event loop waits for the threads that
commit, hash and read pages whenever it comes back from the system, possibly several times for one message."""


def run_server(settings: Settings, *, sample: bool, as_json: bool) -> None:
    """Serve until SIGINT or SIGTERM. Raises what `Runtime` raises if it can't start."""
    sys.setswitchinterval(SWITCH_SECONDS)
    uvloop.run(_serve(settings, sample=sample, as_json=as_json))


async def _serve(settings: Settings, *, sample: bool, as_json: bool) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    # Set before anything starts: without a handler, a SIGHUP would end the process.
    hangup = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, hangup.set)
    runtime = Runtime(settings)
    await runtime.start()
    # Everything that exists now lives as long as the process, so the collector needn't look at it again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    made = await asyncio.to_thread(make_sample, runtime) if sample else None
    _print_ready(runtime, as_json=as_json)
    if sample and not as_json:
        print_next_steps(runtime, made)
    hangups = asyncio.create_task(_reload_at(hangup, runtime))
    await stop.wait()
    hangups.cancel()
    await runtime.stop()


async def _reload_at(hangup: asyncio.Event, runtime: Runtime) -> None:
    """Reload the certificates at each SIGHUP; signals that arrive during a reload count as one."""
    while True:
        await hangup.wait()
        hangup.clear()
        await runtime.reload()


def _print_ready(runtime: Runtime, *, as_json: bool) -> None:
    listeners = {listener: runtime.mqtt_address(listener) for listener in ListenerName}
    if as_json:
        print_json(
            {
                "event": "ready",
                "pid": os.getpid(),
                "http": runtime.http_url(),
                "mqtt": listeners[ListenerName.TCP],
                "mqtt_tls": listeners[ListenerName.TLS],
                "ws": listeners[ListenerName.WEBSOCKET],
                "data_dir": str(runtime.settings.data_dir),
            }
        )
        return
    names = {ListenerName.TCP: "MQTT", ListenerName.TLS: "MQTT over TLS", ListenerName.WEBSOCKET: "MQTT over WebSocket"}
    parts = [f"{names[listener]} on {address}" for listener, address in listeners.items() if address]
    say(f"Fleetkey is ready: registration on {runtime.http_url()}, {', '.join(parts)}", flush=True)
