"""The outcome of a session's authentication, kept in an attribute of the amqtt session that only the plugin writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.access import Granted, Principal, Refused

if TYPE_CHECKING:
    from amqtt.session import Session

__all__ = ["principal_of", "refusal_of", "set_outcome"]

OUTCOME = "fleetkey.outcome"


def set_outcome(session: Session, outcome: Granted | Refused) -> None:
    """Set the outcome of a session's authentication."""
    session.attributes[OUTCOME] = outcome


def principal_of(session: Session | None) -> Principal | None:
    """Return a session's principal; None if it wasn't authenticated."""
    outcome = session.attributes.get(OUTCOME) if session is not None else None
    return outcome.principal if isinstance(outcome, Granted) else None


def refusal_of(session: Session) -> Refused | None:
    """Return why a session was refused; None if it wasn't."""
    outcome = session.attributes.get(OUTCOME)
    return outcome if isinstance(outcome, Refused) else None
