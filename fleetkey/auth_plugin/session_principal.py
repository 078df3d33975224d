"""Where an amqtt session keeps who it is: attributes that only the plugin writes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.access import Granted, Principal, Refused

if TYPE_CHECKING:
    from amqtt.session import Session

__all__ = ["principal_of", "refusal_of", "remember_outcome"]

OUTCOME = "fleetkey.outcome"


def remember_outcome(session: Session, outcome: Granted | Refused) -> None:
    """Note on the session how its authentication ended."""
    session.attributes[OUTCOME] = outcome


def principal_of(session: Session | None) -> Principal | None:
    """Return who the session is; None for anyone who was not authenticated."""
    outcome = session.attributes.get(OUTCOME) if session is not None else None
    return outcome.principal if isinstance(outcome, Granted) else None


def refusal_of(session: Session) -> Refused | None:
    """Return why the session was refused."""
    outcome = session.attributes.get(OUTCOME)
    return outcome if isinstance(outcome, Refused) else None
