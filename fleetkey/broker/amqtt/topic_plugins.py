"""amqtt's other topic plugins, as a `TopicAuthorizer`: they must allow each topic, as must the principal's scope."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog
from amqtt.contexts import Action as AmqttAction

from fleetkey.access import Action

if TYPE_CHECKING:
    from amqtt.plugins.base import BaseTopicPlugin

    from fleetkey.broker.amqtt.views import SessionViews
    from fleetkey.broker.session import Session

__all__ = ["TopicPlugins"]

log = structlog.get_logger(__name__)

AMQTT_ACTIONS = {
    Action.PUBLISH: AmqttAction.PUBLISH,
    Action.SUBSCRIBE: AmqttAction.SUBSCRIBE,
    Action.RECEIVE: AmqttAction.RECEIVE,
}


class TopicPlugins:
    """All of them must agree, each time; answers are not cached.

    A plugin answers with a coroutine, but messages can't wait. So one that awaits something, fails or doesn't answer
    refuses.
    """

    def __init__(self, plugins: list[BaseTopicPlugin], views: SessionViews) -> None:
        self._plugins = plugins
        self._views = views
        self._complained_about: set[BaseTopicPlugin] = set()

    def __bool__(self) -> bool:
        """Return whether there is any plugin to ask."""
        return bool(self._plugins)

    def allow(self, session: Session, action: Action, topic: str) -> bool:
        """Ask every plugin about a topic, or a filter to subscribe to."""
        if not self._plugins:
            return True
        view = self._views.for_session(session)
        return all(self._ask(plugin, view, AMQTT_ACTIONS[action], topic) for plugin in self._plugins)

    def _ask(self, plugin: BaseTopicPlugin, view: object, action: AmqttAction, topic: str) -> bool:
        try:
            # A view is what plugins get as a session.
            answer = plugin.topic_filtering(session=view, topic=topic, action=action)  # type: ignore[arg-type]
            try:
                answer.send(None)
            except StopIteration as done:
                return bool(done.value)
            self._complain(plugin, "awaits something before it answers")
            answer.close()
        except Exception as error:  # noqa: BLE001 - a plugin may raise anything, even when it is closed
            self._complain(plugin, f"raised {type(error).__name__}")
        return False

    def _complain(self, plugin: BaseTopicPlugin, about: str) -> None:
        if plugin not in self._complained_about:
            self._complained_about.add(plugin)
            log.error("topic_plugin_refuses", plugin=type(plugin).__name__, reason=about)
