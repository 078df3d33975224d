"""amqtt's other auth plugins, as a `ConnectAuthorizer`: they must agree with the authenticator."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amqtt.plugins.base import BaseAuthPlugin

    from fleetkey.access import Granted
    from fleetkey.broker.amqtt.views import SessionViews
    from fleetkey.broker.codec import Connect

__all__ = ["AuthPlugins"]


class AuthPlugins:
    """All of them must agree; no opinion counts as agreement."""

    def __init__(self, plugins: list[BaseAuthPlugin], views: SessionViews) -> None:
        self._plugins = plugins
        self._views = views

    def __bool__(self) -> bool:
        """Return whether there is any plugin to ask."""
        return bool(self._plugins)

    async def agree(self, connect: Connect, granted: Granted, *, address: str, transport: Any) -> bool:
        """Ask every plugin. Any exception is a refusal."""
        view = self._views.for_attempt(connect, granted, address=address, transport=transport)
        answers = await asyncio.gather(*(plugin.authenticate(session=view) for plugin in self._plugins))
        view.password = None
        return all(answer is None or answer for answer in answers)
