"""The topics that a connection publishes to: what was decided about them, and their aliases."""

from __future__ import annotations

from sys import getsizeof
from typing import TYPE_CHECKING

from fleetkey.access import Action
from fleetkey.broker.codec import MalformedPacketError, ProtocolError, TopicAliasInvalidError, TopicNameInvalidError
from fleetkey.broker.codec.reader import decode_text
from fleetkey.broker.connection_lifecycle import ConnectionLifecycle

if TYPE_CHECKING:
    from fleetkey.access import Principal, TopicScope
    from fleetkey.broker.connection_parts import ConnectionParts
    from fleetkey.broker.route_cache import Route

__all__ = ["PublishTopics"]

MAX_REMEMBERED_BYTES = 32 * 1024
"""Bytes of the topic decisions cached per connection, with the topics' routes; beyond that, they are cleared."""
MAX_REMEMBERED_BYTES_OF_APPLICATION = 1024 * 1024
"""The same for an application, which may send commands to a whole fleet; they are also cleared if there is no room."""
REMEMBERED_BYTES = 112
"""Memory per such decision, in addition to its topic and route."""
NO_ALIASES: dict[int, bytes] = {}
"""Shared by all connections without aliases; never changed."""
ALIAS_BYTES = 100
"""Memory per alias, besides its topic."""


class PublishTopics(ConnectionLifecycle):
    """Decides each topic once, until the scope changes.

    An alias stands for a topic on its connection alone, and whoever uses it is decided by that topic.
    """

    __slots__ = ("_aliases", "_remembered_bytes", "_routes", "_scope")

    def __init__(self, parts: ConnectionParts, listener: str) -> None:
        super().__init__(parts, listener)
        self._scope: TopicScope | None = None
        self._routes: dict[bytes, Route | None] = {}
        """Routes of the topics decided so far, valid while the scope is `_scope`; None means refused."""
        self._remembered_bytes = 0
        """Bytes that they take."""
        self._aliases = NO_ALIASES
        """Topics by the alias that the client gave them."""

    def _topic_of_alias(self, first: int, data: bytes, topic_end: int, end: int) -> bytes:
        """Return the topic that an empty one stands for by its alias (MQTT 5.0, 3.3.2.3.4)."""
        alias = self.codec.read_publish(first, data, topic_end, end)[-1]
        self._check_alias(alias)
        topic_bytes = self._aliases.get(alias)
        if topic_bytes is None:
            msg = "an empty topic without an alias that is known"
            raise ProtocolError(msg)
        return topic_bytes

    def _note_alias(self, alias: int, topic_bytes: bytes) -> None:
        """Let an alias stand for a topic, until the connection ends or the alias is given to another topic."""
        self._check_alias(alias)
        older = self._aliases.get(alias)
        if older == topic_bytes:
            return
        if not self._aliases:
            self._aliases = {}
        self._aliases[alias] = topic_bytes
        self._grow(ALIAS_BYTES + len(topic_bytes) if older is None else len(topic_bytes) - len(older))

    def _check_alias(self, alias: int) -> None:
        if alias > self._parts.limits.max_topic_aliases:
            msg = "a topic alias over max_topic_aliases"
            raise TopicAliasInvalidError(msg, bound="max_topic_aliases")

    def _decide_topic(self, principal: Principal, topic_bytes: bytes) -> Route | None:
        """Decide a topic, valid until the scope changes; None means refused."""
        limits = self._parts.limits
        topic = decode_text(topic_bytes)
        if not topic or "+" in topic or "#" in topic:
            msg = "a topic that is empty or has a wildcard"
            raise MalformedPacketError(msg)
        if len(topic_bytes) > limits.max_topic_bytes or topic.count("/") >= limits.max_topic_levels:
            msg = "a topic over max_topic_bytes or max_topic_levels"
            raise TopicNameInvalidError(msg, bound="max_topic_bytes or max_topic_levels")
        is_allowed = principal.allows(Action.PUBLISH, topic)
        if principal.is_revoked:
            return None
        route = self._parts.router.resolve(topic_bytes, topic) if is_allowed else None
        if self._parts.topic_authorizer and self.session is not None:
            # Its answers must not be cached.
            return route if self._parts.topic_authorizer.allow(self.session, Action.PUBLISH, topic) else None
        # Routes are shared, but one that is over may be held by this connection alone.
        size = REMEMBERED_BYTES + getsizeof(topic_bytes) + (route.text_bytes if route is not None else 0)
        is_device = principal.device_id is not None
        most = MAX_REMEMBERED_BYTES if is_device else MAX_REMEMBERED_BYTES_OF_APPLICATION
        if self._remembered_bytes + size > most or not (is_device or self.has_room(size)):
            self._forget_topics()
        self._remembered_bytes += size
        self._routes[topic_bytes] = route
        self._grow(size)
        return route

    def _forget_topics(self) -> None:
        self._routes.clear()
        self._lasting_bytes -= self._remembered_bytes
        self._remembered_bytes = 0

    def _renew(self, route: Route) -> Route:
        """Resolve a route's topic again."""
        topic_bytes = route.topic_bytes
        renewed = self._parts.router.resolve(topic_bytes, route.topic)
        if topic_bytes in self._routes:
            self._routes[topic_bytes] = renewed
        return renewed
