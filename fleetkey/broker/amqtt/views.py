"""What amqtt's plugins see: sessions in amqtt's form, created when a plugin asks."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from amqtt.broker import RetainedApplicationMessage
from amqtt.session import Session as AmqttSession

from fleetkey.auth_plugin.session_principal import set_outcome
from fleetkey.broker.shared_group import SHARED

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fleetkey.access import Granted
    from fleetkey.broker.codec import Connect
    from fleetkey.broker.retained import RetainedMessage
    from fleetkey.broker.session import Session
    from fleetkey.broker.subscriptions import SubscriptionTrie

__all__ = ["SessionView", "SessionViews", "retained_view"]


class SessionView(AmqttSession):
    """An amqtt session without amqtt's state machine and queues: a read-only snapshot.

    `attributes` belong to the plugins, and are kept as long as the session.
    """

    def __init__(self, state: str) -> None:
        self._state = state
        super().__init__()

    def _init_states(self) -> None:
        state = self._state
        self.transitions = SimpleNamespace(state=state, is_connected=lambda: state == "connected")  # type: ignore[assignment]


class SessionViews:
    """Creates views; keeps nothing but the plugins' own attributes."""

    def __init__(self) -> None:
        # Weak, so that they go when the session does, however it ends.
        self._attributes: WeakKeyDictionary[Session, dict[str, Any]] = WeakKeyDictionary()

    def for_attempt(self, connect: Connect, granted: Granted, *, address: str, transport: Any) -> SessionView:
        """Return the view of a CONNECT on which other auth plugins decide."""
        view = SessionView("new")
        view.client_id, view.username = connect.client_id, connect.username
        view.password = connect.password.decode(errors="replace") if connect.password is not None else None
        view.clean_session, view.keep_alive = connect.clean_start, connect.keep_alive_seconds
        view.remote_address = address
        if connect.will is not None:
            view.will_flag, view.will_topic, view.will_message = True, connect.will.topic, connect.will.payload
            view.will_qos, view.will_retain = connect.will.qos, connect.will.is_retained
        view.ssl_object = transport.get_extra_info("ssl_object")
        set_outcome(view, granted)
        return view

    def for_session(self, session: Session) -> SessionView:
        """Return a session as plugins see it."""
        connection = session.connection
        view = SessionView("connected" if connection is not None else "disconnected")
        view.client_id, view.clean_session = session.client_id, not session.is_kept
        view.username = session.principal.key if session.principal is not None else None
        view.remote_address = connection.address if connection is not None else None
        view.attributes = self._attributes.setdefault(session, {})
        return view

    def all(self, sessions: Iterable[Session]) -> dict[str, tuple[SessionView, None]]:
        """Return every session, as `Broker.sessions` does."""
        return {session.client_id: (self.for_session(session), None) for session in sessions}

    def subscriptions(self, subscriptions: SubscriptionTrie) -> dict[str, list[tuple[SessionView, int]]]:
        """Return every subscription, as `Broker.subscriptions` does."""
        return {
            topic_filter: [
                (self.for_session(session), options.qos)
                for receiver, of_all in holders.items()
                for session, options in (receiver.options if of_all is SHARED else {receiver: of_all}).items()
                if not session.is_over
            ]
            for topic_filter, holders in subscriptions.filters()
        }


def retained_view(kept: RetainedMessage) -> RetainedApplicationMessage:
    """Return a retained message in amqtt's form."""
    return RetainedApplicationMessage(None, kept.topic, kept.payload, kept.qos)
