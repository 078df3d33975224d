"""The decisions that operators make about devices, as a table of everything in which they differ.

The service, the commands, the admin API's operations and the remote client's requests are all built from it. Another
decision is another row.
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
    """One decision, such as to approve a device."""

    action: BulkAction
    """The name of the command and of the bulk action, and the last segment of the path."""
    done: str
    """The participle for a command's output, such as `approved`."""
    role: Role = Role.OPERATOR
    """The role that a token needs."""
    state: DeviceState
    """The new state of the devices."""
    refused: frozenset[DeviceState] = frozenset()
    """The states in which a named device is refused: alone it is a conflict, among others they are changed."""
    instead: str = ""
    """The message for a named device in such a state, with placeholders `{device_id}` and `{state}`."""
    matching: DeviceState | None = None
    """The state that is looked for, when a filter says which devices."""
    expected: frozenset[DeviceState]
    """The states in which matching devices are changed."""
    description: str
    """The description for the API."""
    help: str
    """The help text for the command line, with examples."""

    @property
    def path(self) -> str:
        """The segment after a device's path."""
        return self.action.value

    @property
    def expected_of_named(self) -> frozenset[DeviceState]:
        """The states in which named devices are changed."""
        return EVERY_STATE - self.refused - {self.state}


APPROVE = Decision(
    action=BulkAction.APPROVE,
    done="approved",
    state=DeviceState.ACTIVE,
    refused=frozenset({DeviceState.DISABLED}),
    instead="device {device_id} is disabled, not pending; see: fleetkey devices enable {device_id}",
    matching=DeviceState.PENDING,
    expected=frozenset({DeviceState.PENDING}),
    description="Approve a pending or rejected device: it gets credentials the next time it registers.",
    help="""
    Approve pending devices: those named, or all that match. They get credentials the next time they register.

    A rejected device is approved only if it is named.

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
    description="Reject a pending device; its serial can't register until it is approved or deleted.",
    help="""
    Reject pending devices: those named, or all that match. Their serials can't register until you approve them.

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
    description="Disconnect a device within a second, and refuse it from then on.",
    help="""
    Disable devices: those named, or all that match. They are disconnected within a second and refused from then on.

    A disabled device can't register again. Pending devices that match are disabled, too.

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
    description="Enable a disabled device: it may connect again, with the same keys.",
    help="""
    Enable disabled devices: those named, or all that match. They may connect again, with the same keys.

    Examples:
    - `fleetkey devices enable 5f0c1d2e3a4b5c6d7e8f9a0c`
    - `fleetkey devices enable --tag site=north`
    """,
)

DECISIONS = {decision.action: decision for decision in (APPROVE, REJECT, DISABLE, ENABLE)}
"""All decisions, in the order in which they are listed."""
