"""The peer of warm authentication: amqtt's own database plugin, with its defaults."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Self, cast

from amqtt.contexts import BaseContext
from amqtt.contrib.auth_db.managers import UserManager
from amqtt.contrib.auth_db.plugin import UserAuthDBPlugin
from amqtt.session import Session

if TYPE_CHECKING:
    import asyncio
    from pathlib import Path

    from amqtt.broker import BrokerContext
    from amqtt.contexts import BrokerConfig

__all__ = ["AmqttDatabase"]

USERNAME = "device"
PASSWORD = "correct-horse-battery-staple"


class AmqttDatabase:
    """The plugin over an SQLite file with one user; use it as a context manager."""

    def __init__(self, runner: asyncio.Runner, path: Path) -> None:
        self._runner = runner
        self._connection = f"sqlite+aiosqlite:///{path}"
        # The plugin takes nothing from its broker but this section of the configuration.
        context = cast("BrokerContext", BaseContext())
        context.config = cast("BrokerConfig", UserAuthDBPlugin.Config(connection=self._connection, sync_schema=True))
        self._plugin = UserAuthDBPlugin(context)

    def __enter__(self) -> Self:
        """Make the table and the user."""
        self._runner.run(self._make_user())
        return self

    def __exit__(self, *_: object) -> None:
        """Close its connections."""
        self._runner.run(self._plugin.close())

    def seconds_per_login(self, count: int) -> float:
        """Decide the right password `count` times, one after the other, and return the time each took."""
        return self._runner.run(self._log_in(count)) / count

    async def _make_user(self) -> None:
        await self._plugin.on_broker_pre_start()
        async with UserManager(self._connection) as users:
            await users.create_user_auth(USERNAME, PASSWORD)

    async def _log_in(self, count: int) -> float:
        session = Session()
        session.username, session.password = USERNAME, PASSWORD
        start = time.perf_counter()
        outcomes = [await self._plugin.authenticate(session=session) for _ in range(count)]
        seconds = time.perf_counter() - start
        assert all(outcomes), "the peer refused its own user"
        return seconds
