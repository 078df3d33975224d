"""The decisions that operators take about devices: one table, and all that differs between them.

The service carries them out, commands, operations of the admin API and requests of the remote client are built from
them. One more is one more row.
"""

from __future__ import annotations

from dataclasses import dataclass

from fleetkey.management.schemas import BulkAction
from fleetkey.registry import DeviceState, Role

__all__ = ["APPROVE", "DECISIONS", "DISABLE", "ENABLE", "REJECT", "Decision"]

EVERY_STATE = frozenset(DeviceState)
NOT_IN_YET = frozenset({DeviceState.PENDING, DeviceState.REJECTED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """One verb."""

    action: BulkAction
    """Its name: of the command, of the bulk action, and in the path."""
    done: str
    """What devices are afterwards, in the words of a command."""
    role: Role = Role.OPERATOR
    """What a token needs for it."""
    state: DeviceState
    """The state that devices get."""
    refused: frozenset[DeviceState] = frozenset()
    """States of named devices that it doesn't go with."""
    instead: str = ""
    """What is said of a named device in such a state; `{device_id}` and `{state}` are filled in."""
    matching: DeviceState | None = None
    """The state that is looked for, when a filter says which devices."""
    expected: frozenset[DeviceState]
    """States of devices that match which are changed."""
    description: str
    """What it does, for the API's description."""
    help: str
    """What it does, for the command line, with examples."""

    @property
    def path(self) -> str:
        """What follows a device's path."""
        return self.action.value

    @property
    def expected_of_named(self) -> frozenset[DeviceState]:
        """States of named devices that are changed."""
        return EVERY_STATE - self.refused - {self.state}


APPROVE = Decision(
    action=BulkAction.APPROVE,
    done="approved",
    state=DeviceState.ACTIVE,
    refused=frozenset({DeviceState.DISABLED}),
    instead="device {device_id} is disabled, not pending; see: fleetkey devices enable {device_id}",
    matching=DeviceState.PENDING,
    expected=frozenset({DeviceState.PENDING}),
    description="Let a pending or rejected device have credentials the next time it registers.",
    help="""
    Let pending devices have credentials the next time they register: those named, or all that match.

    A rejected device that is named is approved as well.

    Examples:
    - `fleetkey devices approve 5f0c1d2e3a4b5c6d7e8f9a0c`
    - `fleetkey devices approve --tag site=north --serial-pattern 'SN-2026-[0-9]+'`
    """,
)
REJECT = Decision(
    action=BulkAction.REJECT,
    done="rejected",
    state=DeviceState.REJECTED,
    refused=frozenset({DeviceState.ACTIVE, DeviceState.DISABLED}),
    instead="device {device_id} is {state}, not pending; see: fleetkey devices disable {device_id}",
    matching=DeviceState.PENDING,
    expected=frozenset({DeviceState.PENDING}),
    description="Refuse a pending device; its serial can't register until it is approved or deleted.",
    help="""
    Refuse pending devices: those named, or all that match. Their serials can't register until you approve them.

    Examples:
    - `fleetkey devices reject 5f0c1d2e3a4b5c6d7e8f9a0c`
    - `fleetkey devices reject --serial-pattern 'TEST-.*'`
    """,
)
DISABLE = Decision(
    action=BulkAction.DISABLE,
    done="disabled",
    state=DeviceState.DISABLED,
    expected=frozenset({DeviceState.ACTIVE, DeviceState.PENDING}),
    description="Disconnect a device within a second and keep it out.",
    help="""
    Disconnect devices within a second and keep them out: those named, or all that match.

    They can't register their way back; a pending one that matches is disabled as well.

    Examples:
    - `fleetkey devices disable 5f0c1d2e3a4b5c6d7e8f9a0c`
    - `fleetkey devices disable --tag site=north`
    """,
)
ENABLE = Decision(
    action=BulkAction.ENABLE,
    done="enabled",
    state=DeviceState.ACTIVE,
    refused=NOT_IN_YET,
    instead="device {device_id} is {state}; see: fleetkey devices approve {device_id}",
    matching=DeviceState.DISABLED,
    expected=frozenset({DeviceState.DISABLED}),
    description="Let a disabled device in again, with the keys it had.",
    help="""
    Let disabled devices in again, with the keys they had: those named, or all that match.

    Examples:
    - `fleetkey devices enable 5f0c1d2e3a4b5c6d7e8f9a0c`
    - `fleetkey devices enable --tag site=north`
    """,
)

DECISIONS = {decision.action: decision for decision in (APPROVE, REJECT, DISABLE, ENABLE)}
"""All of them, in the order in which they are listed."""
