"""The bundled broker in a thread of the test's, with plugins that amqtt loads by name."""

from __future__ import annotations

import asyncio
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from fleetkey.access import build_authenticator, build_worker_pool
from fleetkey.broker import FleetkeyBroker, Limits, broker_config
from fleetkey.config import load_settings
from fleetkey.registry import open_store
from tests.integration.auth_plugin.plain_broker import PlainBroker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["PLUGINS", "running"]

START_SECONDS = 15
PLUGINS = "tests.integration.broker.amqtt_plugins"


@contextmanager
def running(
    folder: Path,
    plugins: dict[str, dict[str, Any]] | None = None,
    *,
    new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
    **mqtt: Any,
) -> Iterator[tuple[PlainBroker, FleetkeyBroker]]:
    """Run a broker on a port that the system picks; the second is what runs, on a loop of its own.

    Args:
        folder: where its data go.
        plugins: amqtt's, by name.
        new_loop: makes its event loop.
        mqtt: settings of `[mqtt]`.
    """
    data_dir = folder / "data"
    settings = load_settings(
        None,
        {"data_dir": data_dir, "mqtt.bind": "127.0.0.1:0", "mqtt.ws_bind": ""}
        | {f"mqtt.{name}": value for name, value in mqtt.items()},
    )
    loop = new_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def run(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(START_SECONDS)

    with closing(open_store(settings)) as store, closing(build_worker_pool(settings)) as pool:

        async def start() -> FleetkeyBroker:
            authenticator = build_authenticator(settings, store, pool)
            config = broker_config(settings.mqtt, authenticator)
            assert isinstance(config.plugins, dict)
            config.plugins.update(plugins or {})
            broker = FleetkeyBroker(
                config, authenticator, Limits.from_settings(settings.mqtt), settings.data_dir / "broker.db"
            )
            await broker.start()
            return broker

        async def stop(broker: FleetkeyBroker) -> None:
            await broker.shutdown()
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

        try:
            broker = run(start())
            try:
                port = broker.port_of("tcp")
                assert port is not None
                yield PlainBroker(data_dir, port), broker
            finally:
                run(stop(broker))
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(START_SECONDS)
            loop.close()
