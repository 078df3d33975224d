"""The last refusal and the last success of a device or key, for the commands that show it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fleetkey.cli.output import as_fields
from fleetkey.management import MAX_PAGE
from fleetkey.management.schemas import EventOutcome

if TYPE_CHECKING:
    from fleetkey.cli.options import Fleet
    from fleetkey.management.schemas import EventAnswer

__all__ = ["last_events"]


def last_events(fleet: Fleet, identifier: str, *, as_json: bool) -> dict[str, Any]:
    """Return both under their names: for scripts as events, for people as a line each."""
    events = fleet.explain.explain(identifier, limit=MAX_PAGE).events
    found = {
        "last_refusal": next((event for event in events if _is_own_refusal(event, identifier)), None),
        "last_success": next((event for event in events if event.outcome is EventOutcome.SUCCEEDED), None),
    }
    show = as_fields if as_json else _line
    return {name: None if event is None else show(event) for name, event in found.items()}


def _is_own_refusal(event: EventAnswer, identifier: str) -> bool:
    """Whether it is a refusal of the device or key, and not of another client that claimed its id."""
    return event.refusal is not None and identifier in {event.refusal.device_id, event.refusal.key}


def _line(event: EventAnswer) -> str:
    return f"{event.at} {event.tried}: {event.result}"
