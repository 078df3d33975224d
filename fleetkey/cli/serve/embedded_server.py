"""A server in a thread of the same process, for the demo and for tests."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Self

import uvloop

from fleetkey.broker import ListenerName
from fleetkey.cli.errors import CommandError
from fleetkey.cli.serve.runtime import Runtime

if TYPE_CHECKING:
    from fleetkey.config import Settings
    from fleetkey.registry import Store

__all__ = ["EmbeddedServer"]

START_SECONDS = 30
STOP_SECONDS = 15


class EmbeddedServer:
    """A `Runtime` with its own thread and event loop; use it as a context manager."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ready = threading.Event()
        self._stop: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failure: BaseException | None = None
        self._runtime: Runtime | None = None
        self._thread = threading.Thread(target=self._run, name="fleetkey-server", daemon=True)

    def __enter__(self) -> Self:
        """Start the server and wait until it is ready. Raises whatever the start raised."""
        self._thread.start()
        if not self._ready.wait(START_SECONDS):
            msg = f"the server did not start within {START_SECONDS} s"
            raise CommandError(msg)
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        """Stop the server and wait until it has stopped."""
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(STOP_SECONDS)

    @property
    def runtime(self) -> Runtime:
        """The running server. Other threads may only read from it."""
        if self._runtime is None:
            msg = "the server is not running"
            raise CommandError(msg)
        return self._runtime

    @property
    def store(self) -> Store:
        """The registry, safe to use from any thread."""
        return self.runtime.store

    @property
    def http_url(self) -> str:
        """The URL of registration and the admin API."""
        return self.runtime.http_url()

    def mqtt_port(self, listener: ListenerName = ListenerName.TCP) -> int:
        """Return the port of a listener."""
        address = self.runtime.mqtt_address(listener)
        if address is None:
            msg = f"there is no {listener} listener"
            raise CommandError(msg)
        return int(address.rpartition(":")[2])

    def _run(self) -> None:
        try:
            uvloop.run(self._serve())
        except BaseException as error:  # noqa: BLE001 - raised in the thread that started it
            self._failure = error
            self._ready.set()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._runtime = Runtime(self._settings)
        await self._runtime.start()
        self._ready.set()
        await self._stop.wait()
        await self._runtime.stop()
