"""Admission: deciding about a CONNECT, without changing any existing state."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from fleetkey.access import ConnectAttempt, Granted, Refused
from fleetkey.broker.codec import Reason
from fleetkey.broker.refusals import Rejected
from fleetkey.registry import RefusalReason

if TYPE_CHECKING:
    from fleetkey.access import Authenticator, Principal
    from fleetkey.broker.application_shares import ApplicationShares
    from fleetkey.broker.bounds import BoundLog
    from fleetkey.broker.codec import Connect
    from fleetkey.broker.limits import Limits
    from fleetkey.broker.ports import ConnectAuthorizer
    from fleetkey.broker.sessions import Sessions

__all__ = ["Admission", "Admitted"]

log = structlog.get_logger(__name__)


MAX_CLIENT_ID_BYTES = 256
"""Length of a client id. It is kept, and in each line of the log about its client."""


class Admitted(NamedTuple):
    """The client is authenticated and may use the session of this client id."""

    principal: Principal
    client_id: str


class Admission:
    """Asks the authenticator, and any other authority that must agree."""

    def __init__(
        self,
        limits: Limits,
        authenticator: Authenticator,
        connect_authorizer: ConnectAuthorizer,
        sessions: Sessions,
        bounds: BoundLog,
        applications: ApplicationShares,
    ) -> None:
        self._limits = limits
        self._authenticator = authenticator
        self._connect_authorizer = connect_authorizer
        self._must_ask = bool(connect_authorizer)
        self._sessions = sessions
        self._bounds = bounds
        self._applications = applications

    def decide_at_once(self, connect: Connect, address: str) -> Admitted | Rejected | None:
        """Decide without waiting, if the secret is cached or the will is invalid. None: use `decide`."""
        # These don't depend on who the client is, so check them before authenticating.
        if connect.authentication_method is not None:
            return Rejected(Reason.BAD_AUTHENTICATION_METHOD, RefusalReason.AUTHENTICATION_METHOD)
        if self._is_will_too_long(connect):
            return Rejected(Reason.NOT_AUTHORIZED, RefusalReason.WILL_TOO_LONG)
        if len(connect.client_id.encode()) > MAX_CLIENT_ID_BYTES:
            return Rejected(Reason.INVALID_CLIENT_ID, RefusalReason.CLIENT_ID_TOO_LONG)
        if self._must_ask:
            return None
        granted = self._authenticator.recall(_attempt_of(connect, address))
        return self._decided(connect, granted) if granted is not None else None

    async def decide(self, connect: Connect, address: str, transport: Any) -> Admitted | Rejected:
        """Decide what `decide_at_once` couldn't. Act on the result before returning to the event loop."""
        attempt = _attempt_of(connect, address)
        try:
            if self._must_ask:
                outcome = await self._authenticator.authenticate(attempt)
                if isinstance(outcome, Granted) and not await self._connect_authorizer.agree(
                    connect, outcome, address=address, transport=transport
                ):
                    return _of(outcome.principal, Reason.NOT_AUTHORIZED, RefusalReason.PLUGIN_REFUSED)
            else:
                outcome = await self._authenticator.verify(attempt)
        except Exception:
            # Fail closed: on any error, the client is answered with a refusal.
            log.exception("authentication_failed")
            return Rejected(Reason.SERVER_BUSY, RefusalReason.INTERNAL_ERROR)
        return self._decided(connect, outcome)

    def _decided(self, connect: Connect, outcome: Granted | Refused) -> Admitted | Rejected:
        if isinstance(outcome, Refused):
            busy = Reason.CONNECTION_RATE_EXCEEDED if outcome.is_throttled else Reason.SERVER_BUSY
            return Rejected(
                busy if outcome.may_pass else Reason.NOT_AUTHORIZED,
                outcome.reason,
                device_id=outcome.device_id,
                is_proven=outcome.is_proven,
                is_logged=True,
            )
        principal = outcome.principal
        if principal.is_revoked:
            return _of(principal, Reason.NOT_AUTHORIZED, RefusalReason.REVOKED)
        client_id = connect.client_id
        if not client_id and connect.is_mqtt_5:
            # MQTT 5.0, 3.1.3-6: the client is told.
            client_id = principal.device_id or f"auto-{secrets.token_hex(12)}"
        elif not client_id:
            if connect.is_session_kept:
                # MQTT 3.1.1, 3.1.3-8: a persistent session needs a client id.
                return _of(principal, Reason.INVALID_CLIENT_ID, RefusalReason.CLIENT_ID_MISSING)
            client_id = f"auto-{secrets.token_hex(12)}"
        existing = self._sessions.get(client_id)
        if existing is not None and existing.owner != principal.owner:
            return _of(principal, Reason.INVALID_CLIENT_ID, RefusalReason.SESSION_OF_ANOTHER)
        if bound := self._sessions.bound_reached(principal.owner, client_id, is_kept=connect.is_session_kept):
            self._bounds.reached(bound, owner=principal.owner)
            return _of(principal, Reason.SERVER_BUSY, RefusalReason.BOUND_REACHED, bound)
        if bound := self._applications.bound_reached(principal, existing):
            return _of(principal, Reason.SERVER_BUSY, RefusalReason.BOUND_REACHED, bound)
        return Admitted(principal, client_id)

    def _is_will_too_long(self, connect: Connect) -> bool:
        if connect.will is None:
            return False
        limits, topic = self._limits, connect.will.topic
        return len(topic.encode()) > limits.max_topic_bytes or topic.count("/") >= limits.max_topic_levels


def _of(principal: Principal, reason: Reason, why: RefusalReason, detail: str = "") -> Rejected:
    """Return a refusal of a client that proved who it is."""
    return Rejected(reason, why, detail, principal.device_id, is_proven=True)


def _attempt_of(connect: Connect, address: str) -> ConnectAttempt:
    return ConnectAttempt(
        client_id=connect.client_id,
        username=connect.username,
        password=connect.password,
        address=address,
        will_topic=connect.will.topic if connect.will else None,
        is_mqtt_5=connect.is_mqtt_5,
    )
