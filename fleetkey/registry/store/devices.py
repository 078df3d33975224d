"""What others need from the devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from fleetkey.registry.model import (
        Device,
        DeviceScan,
        DeviceState,
        IssueDenied,
        IssuePending,
        IssueRequest,
        KeyIssued,
    )

__all__ = ["DeviceBatches", "DeviceChanges", "DeviceIssuing", "DeviceLookup", "DeviceSearch", "Devices"]


class DeviceIssuing(Protocol):
    """Registering: the only way in which devices, and keys of devices, come to be."""

    def issue_device_key(self, request: IssueRequest) -> KeyIssued | IssuePending | IssueDenied:
        """Find the serial's device or create it, and issue it a key by the policy: one transaction."""
        ...


class DeviceLookup(Protocol):
    """One device at a time."""

    def get_device(self, device_id: str) -> Device:
        """Return one device. Raises `NotFoundError`."""
        ...

    def find_device(self, serial: str) -> Device | None:
        """Return the device of a serial."""
        ...


class DeviceSearch(Protocol):
    """Devices by what they have in common."""

    def list_devices(
        self,
        *,
        after: str = "",
        limit: int = 100,
        state: DeviceState | None = None,
        tags: Mapping[str, str] | None = None,
        attributes: Mapping[str, str] | None = None,
        online: bool | None = None,
    ) -> list[Device]:
        """Return up to `limit` devices with ids after `after`, in order of id; all that is given must match."""
        ...

    def scan_devices(
        self,
        *,
        after: str = "",
        limit: int = 100,
        max_scanned: int,
        state: DeviceState | None = None,
        tags: Mapping[str, str] | None = None,
        attributes: Mapping[str, str] | None = None,
        online: bool | None = None,
        matches: Callable[[str], bool] | None = None,
        max_seconds: float | None = None,
    ) -> DeviceScan:
        """Look at up to `max_scanned` devices with ids after `after` and return up to `limit` that match.

        What leads is the rarest of state, tags, attributes and being online; the others are asked for each device that
        it finds. `matches` is asked about the serial. It ends after `max_seconds` as well, but looks at one at least.
        """
        ...


class DeviceChanges(Protocol):
    """What operators do to one device."""

    def set_device_state(self, device_id: str, state: DeviceState, *, actor: str) -> Device:
        """Approve (to active), reject, disable or enable. Raises `NotFoundError`."""
        ...

    def describe_device(
        self,
        device_id: str,
        *,
        name: str | None = None,
        attributes: Mapping[str, str | None] | None = None,
        actor: str,
    ) -> Device:
        """Set a device's name and attributes; None as an attribute's value takes it away.

        Raises:
            NotFoundError: there is no such device.
            TooManyLabelsError: it would have more attributes than a device may have.
        """
        ...

    def tag_device(self, device_id: str, tags: Mapping[str, str | None], *, actor: str) -> Device:
        """Set tags; None takes one away. Raises `NotFoundError` and `TooManyLabelsError`."""
        ...

    def delete_device(self, device_id: str, *, actor: str) -> None:
        """Forget a device and retire its keys. Raises `NotFoundError`."""
        ...


class DeviceBatches(Protocol):
    """What operators do to many devices. Each call is one transaction."""

    def set_device_states(
        self, device_ids: Sequence[str], state: DeviceState, *, expected: Collection[DeviceState], actor: str
    ) -> int:
        """Change the state of those of the devices that are in an expected one: one transaction, so give it few.

        Returns:
            how many were changed.

        Raises:
            NotFoundError: one of them doesn't exist; nothing was changed.
        """
        ...

    def tag_devices(self, device_ids: Sequence[str], tags: Mapping[str, str | None], *, actor: str) -> int:
        """Set tags of devices: one transaction, so give it few; those that are gone are passed over.

        Returns:
            how many hadn't just these already.

        Raises:
            TooManyLabelsError: one of them would have too many; none was changed.
        """
        ...

    def delete_devices(self, device_ids: Sequence[str], *, actor: str) -> int:
        """Forget devices and retire their keys: one transaction, so give it few. Return how many were there."""
        ...


class Devices(DeviceIssuing, DeviceLookup, DeviceSearch, DeviceChanges, DeviceBatches, Protocol):
    """All about devices."""

    def count_devices(self) -> int:
        """Return how many devices there are."""
        ...

    def count_online(self) -> int:
        """Return how many devices are connected."""
        ...
