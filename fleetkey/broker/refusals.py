"""Traces of everything that the broker refuses: a record each, and lines in the log within a budget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from fleetkey.access import RefusalLog, RefusalRecorder
from fleetkey.broker.listeners import ListenerName
from fleetkey.registry import RefusalListener, RefusalReason, RefusalStage, is_access_key, redacted, shown_claim

if TYPE_CHECKING:
    from fleetkey.access import Principal
    from fleetkey.broker.codec import Reason

    class Asking(Protocol):
        """The parts of a connection that are used here."""

        listener: str
        address: str
        transport: Any


__all__ = ["Claims", "Refusals", "Rejected"]

LISTENERS = {
    ListenerName.TCP: RefusalListener.MQTT,
    ListenerName.TLS: RefusalListener.MQTTS,
    ListenerName.WEBSOCKET: RefusalListener.WS,
}
OF_A_KEY = frozenset({RefusalReason.WRONG_SECRET})
"""Refusals of clients that proved nothing, but named a key that exists."""
WITH_WILL = frozenset({RefusalReason.FOREIGN_WILL, RefusalReason.WILL_TOO_LONG})


class Claims(NamedTuple):
    """What a CONNECT claims, as far as it could be read."""

    client_id: str | None = None
    username: str | None = None
    will_topic: str | None = None

    @property
    def key(self) -> str | None:
        """The user name, if it looks like a key; otherwise it may be a secret in the wrong place."""
        return self.username if self.username is not None and is_access_key(self.username) else None


class Rejected(NamedTuple):
    """A refused CONNECT: what the client is told, and for us the exact reason."""

    reason: Reason
    why: RefusalReason
    detail: str = ""
    device_id: str | None = None
    """The device that the client proved to be, or whose key it named."""
    is_proven: bool = False
    is_logged: bool = False
    """Whether the log has it already."""


class Refusals:
    """Records and logs refusals; costs nothing until there is one, and is never in the way of an answer.

    Args:
        recorder: records them; None: they are only counted.
        refusal_log: logs them within its budget; None: they aren't logged.
    """

    def __init__(self, recorder: RefusalRecorder | None = None, refusal_log: RefusalLog | None = None) -> None:
        self._recorder = recorder or RefusalRecorder()
        self._log = refusal_log

    def connect(self, connection: Asking, rejected: Rejected, claims: Claims, code: int | None) -> None:
        """Trace a refused CONNECT; `code` is the return code that the client gets, None if it gets none."""
        why, key = rejected.why, claims.key
        self._recorder.note(
            RefusalStage.CONNECT,
            why,
            _listener_of(connection),
            connection.address,
            key=key,
            client_id=claims.client_id,
            topic=claims.will_topic if why in WITH_WILL else None,
            detail=rejected.detail,
            device_id=rejected.device_id,
            is_known=rejected.device_id is not None or why in OF_A_KEY,
            is_proven=rejected.is_proven,
        )
        if self._log is None or rejected.is_logged:
            return
        fields: dict[str, Any] = {
            "reason": why.value,
            "address": connection.address,
            "code": code,
            "key": key,
            "device_id": rejected.device_id,
            "client_id": shown_claim(redacted(claims.client_id or "")),
        }
        if rejected.detail:
            fields["detail"] = rejected.detail
        if rejected.is_proven:
            self._log.proven("login_refused", key or "", **fields)
        else:
            self._log.stranger("login_refused", **fields)

    def early(self, connection: Asking, why: RefusalReason, detail: str = "") -> None:
        """Trace a connection that ended before it sent a complete CONNECT, or before that was decided."""
        self._early(_listener_of(connection), why, connection.address, detail)

    def handshake(self, listener: str, why: RefusalReason, address: str, detail: str) -> None:
        """Trace a TLS handshake that failed."""
        name = ListenerName(listener)
        self._early(RefusalListener.WSS if name is ListenerName.WEBSOCKET else LISTENERS[name], why, address, detail)

    def closed(
        self, connection: Asking, principal: Principal | None, client_id: str, why: RefusalReason, detail: str
    ) -> None:
        """Trace an accepted connection that is closed because of what its client did."""
        self._of_client(RefusalStage.CONNECTION, connection, principal, client_id, why, detail)

    def topic(
        self,
        stage: RefusalStage,
        connection: Asking,
        principal: Principal | None,
        client_id: str,
        topic: str,
        why: RefusalReason,
        detail: str,
    ) -> None:
        """Trace a refused publish or subscription."""
        self._of_client(stage, connection, principal, client_id, why, detail, topic)

    def _of_client(
        self,
        stage: RefusalStage,
        connection: Asking,
        principal: Principal | None,
        client_id: str,
        why: RefusalReason,
        detail: str,
        topic: str | None = None,
    ) -> None:
        self._recorder.note(
            stage,
            why,
            _listener_of(connection),
            connection.address,
            key=principal.key if principal is not None else None,
            client_id=client_id,
            topic=topic,
            detail=detail,
            device_id=principal.device_id if principal is not None else None,
            is_proven=principal is not None,
        )

    def _early(self, listener: RefusalListener, why: RefusalReason, address: str, detail: str) -> None:
        self._recorder.note(RefusalStage.CONNECT, why, listener, address, detail=detail)
        if self._log is not None:
            self._log.stranger(
                "connection_refused", reason=why.value, detail=detail, listener=listener.value, address=address
            )


def _listener_of(connection: Asking) -> RefusalListener:
    listener = LISTENERS[ListenerName(connection.listener)]
    if listener is RefusalListener.WS and connection.transport.get_extra_info("ssl_object") is not None:
        return RefusalListener.WSS
    return listener
