"""The amqtt plugin: authentication and topic decisions for any amqtt broker.

In the configuration of a plain amqtt broker:

    plugins:
      fleetkey.auth_plugin.FleetkeyAuthPlugin:
        data_dir: /var/lib/fleetkey
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import structlog
from amqtt.contexts import Action as AmqttAction
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin

from fleetkey.access import (
    AccessError,
    Action,
    Authenticator,
    ConnectAttempt,
    Granted,
    Refused,
    WorkerPool,
    build_authenticator,
    build_worker_pool,
)
from fleetkey.auth_plugin.session_principal import principal_of, set_outcome
from fleetkey.config import DEFAULT_FILE, SettingsError, load_settings
from fleetkey.registry import ChangeFollower, RefusalReason, SteadyClock, Store, StoreError, open_store, store_path

if TYPE_CHECKING:
    from collections.abc import Sequence

    from amqtt.contexts import BaseContext
    from amqtt.session import Session

    from fleetkey.registry import Change

__all__ = ["FleetkeyAuthPlugin"]

log = structlog.get_logger(__name__)

ACTIONS = {
    AmqttAction.PUBLISH: Action.PUBLISH,
    AmqttAction.SUBSCRIBE: Action.SUBSCRIBE,
    AmqttAction.RECEIVE: Action.RECEIVE,
}


class FleetkeyAuthPlugin(BaseAuthPlugin, BaseTopicPlugin):
    """Asks an `Authenticator` for every CONNECT and the connection's principal for every topic.

    The bundled broker passes its authenticator in. In any other amqtt broker the plugin opens the registry itself, and
    logs at startup which promises need the bundled broker.
    """

    @dataclass
    class Config:
        """The plugin's section of the amqtt configuration."""

        data_dir: str | None = None
        """Folder of the registry; None uses the one in the settings."""
        config_file: str | None = None
        """Path of a `fleetkey.toml`; None uses the one in the current folder, if there is one."""
        authenticator: Any = None
        """An existing `Authenticator`; with one the plugin opens nothing itself."""

    def __init__(self, context: BaseContext) -> None:
        """Use the authenticator in the configuration, or open the registry.

        Raises:
            SettingsError, StoreError, AccessError: amqtt refuses to start, but says only that the plugin failed; the
                log says why.
        """
        super().__init__(context)
        self._standalone: _StandaloneAccess | None = None
        if isinstance(self.config.authenticator, Authenticator):
            self._authenticator = self.config.authenticator
            return
        file = Path(self.config.config_file or DEFAULT_FILE).absolute()
        try:
            self._standalone = _StandaloneAccess(
                self.config.config_file, self.config.data_dir, context.loop or asyncio.get_running_loop()
            )
        except (SettingsError, StoreError, AccessError) as error:
            log.error(  # noqa: TRY400 - the message says it all
                "plugin_not_started",
                reason=str(error),
                settings_file=str(file),
                found=file.exists(),
                advice="correct what the reason says; relative paths in the plugin's configuration and in the settings "
                "count from the folder in which amqtt was started",
            )
            raise
        self._authenticator = self._standalone.authenticator
        log.warning(
            "plain_amqtt_broker",
            settings_file=str(file) if file.exists() else f"none: there is no {file}, so the defaults apply",
            registry=str(self._standalone.registry.absolute()),
            kept="authentication, client id and will at CONNECT, topics of publish, subscribe and live delivery",
            needs_the_bundled_broker="refusals that touch no session, sessions owned by their principal, retained and "
            "queued messages decided for their receiver, one filter for all devices of a key, connections closed on "
            "revocation",
        )

    async def authenticate(self, *, session: Session) -> bool | None:
        """Decide a CONNECT: True or False, never None; anything unexpected is a refusal."""
        try:
            outcome = await self._authenticator.authenticate(_attempt_of(session))
        except Exception:
            # Raised, it would leave the client without a CONNACK.
            log.exception("authentication_failed")
            outcome = Refused(RefusalReason.STORE_UNAVAILABLE)
        finally:
            session.password = None
        set_outcome(session, outcome)
        return isinstance(outcome, Granted)

    async def topic_filtering(
        self, *, session: Session | None = None, topic: str | None = None, action: AmqttAction | None = None
    ) -> bool | None:
        """Decide a topic from the session's principal alone: True or False, never None."""
        principal = principal_of(session)
        if principal is None or topic is None or action is None:
            return False
        # Not `allows_filter`: amqtt asks nobody about retained and queued messages.
        return principal.allows(ACTIONS[action], topic)

    async def close(self) -> None:
        """Close what the plugin opened."""
        if self._standalone is not None:
            await self._standalone.close()


class _StandaloneAccess:
    """The store, pool, authenticator and change follower of a plugin in a broker other than the bundled one."""

    def __init__(self, config_file: str | None, data_dir: str | None, loop: asyncio.AbstractEventLoop) -> None:
        settings = load_settings(Path(config_file) if config_file else None, {"data_dir": data_dir})
        self.registry = store_path(settings)
        self._store: Store = open_store(settings, clock=SteadyClock())
        self._pool: WorkerPool = build_worker_pool(settings)
        self.authenticator = build_authenticator(settings, self._store, self._pool)

        def tell(changes: Sequence[Change]) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self.authenticator.apply, changes)

        self._follower = ChangeFollower(self._store, tell)
        self._follower.start()

    async def close(self) -> None:
        await asyncio.to_thread(self._follower.stop)
        await self.authenticator.close()
        await asyncio.to_thread(self._pool.close)
        self._store.close()


def _attempt_of(session: Session) -> ConnectAttempt:
    password = session.password
    return ConnectAttempt(
        client_id=session.client_id or "",
        username=session.username,
        password=password.encode(errors="surrogatepass") if password is not None else None,
        address=session.remote_address or "",
        will_topic=session.will_topic if session.will_flag else None,
    )
