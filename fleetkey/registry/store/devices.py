"""The protocols for devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from fleetkey.registry.model import (
        Device,
        DeviceCount,
        DeviceOrder,
        DevicePlace,
        DeviceState,
        IssueDenied,
        IssuePending,
        IssueRequest,
        KeyIssued,
        Scan,
    )

__all__ = ["DeviceBatches", "DeviceChanges", "DeviceIssuing", "DeviceLookup", "DeviceSearch", "Devices"]


class DeviceIssuing(Protocol):
    """Registering: the only way in which devices and their keys are created."""

    def issue_device_key(self, request: IssueRequest) -> KeyIssued | IssuePending | IssueDenied:
        """Find or create the serial's device, and issue it a key according to the policy, in one transaction."""
        ...


class DeviceLookup(Protocol):
    """Looking up single devices."""

    def get_device(self, device_id: str) -> Device:
        """Return one device. Raises `NotFoundError`."""
        ...

    def find_device(self, serial: str) -> Device | None:
        """Return the device of a serial."""
        ...

    def find_devices(self, device_ids: Sequence[str]) -> list[Device]:
        """Return those devices that exist, ordered by id; name each only once."""
        ...


class DeviceSearch(Protocol):
    """Searching for devices."""

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
        """Return up to `limit` devices with ids after `after`, ordered by id; all given conditions must match."""
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
    ) -> Scan[Device]:
        """Look at up to `max_scanned` devices with ids after `after` and return up to `limit` that match.

        The rarest of state, tags, attributes and being online drives the search; the others are checked for each device
        found, and `matches` is called with its serial. It also stops after `max_seconds`, but examines at least one.
        """
        ...

    def count_found(
        self,
        *,
        after: str = "",
        max_scanned: int,
        state: DeviceState | None = None,
        tags: Mapping[str, str] | None = None,
        attributes: Mapping[str, str] | None = None,
        online: bool | None = None,
        matches: Callable[[str], bool] | None = None,
        max_seconds: float | None = None,
    ) -> DeviceCount:
        """Count the devices that `scan_devices` would find, without reading them."""
        ...

    def sort_devices(
        self,
        by: DeviceOrder,
        *,
        after: DevicePlace | None = None,
        limit: int,
        state: DeviceState | None = None,
        tags: Mapping[str, str] | None = None,
        attributes: Mapping[str, str] | None = None,
        online: bool | None = None,
        matches: Callable[[str], bool] | None = None,
        max_seconds: float,
    ) -> list[DevicePlace] | None:
        """Sort the devices that match: of equal ones the lower id comes first, and those never seen come last.

        Returns:
            The places of the first `limit` after a place; None if that takes more than `max_seconds`.
        """
        ...


class DeviceChanges(Protocol):
    """Changing single devices."""

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
        """Set a device's name and attributes; an attribute that is None is removed.

        Raises:
            NotFoundError: there is no such device.
            TooManyLabelsError: it would have too many attributes.
        """
        ...

    def tag_device(self, device_id: str, tags: Mapping[str, str | None], *, actor: str) -> Device:
        """Set tags; None removes one. Raises `NotFoundError` and `TooManyLabelsError`."""
        ...

    def delete_device(self, device_id: str, *, actor: str) -> None:
        """Delete a device and retire its keys. Raises `NotFoundError`."""
        ...


class DeviceBatches(Protocol):
    """Changing many devices. Each call is one transaction."""

    def set_device_states(
        self, device_ids: Sequence[str], state: DeviceState, *, expected: Collection[DeviceState], actor: str
    ) -> int:
        """Change the state of those devices that are in an expected state. It is one transaction, so pass only a few.

        Returns:
            how many were changed.

        Raises:
            NotFoundError: one of them doesn't exist; nothing was changed.
        """
        ...

    def tag_devices(self, device_ids: Sequence[str], tags: Mapping[str, str | None], *, actor: str) -> int:
        """Set tags of devices, ignoring those that don't exist. It is one transaction, so pass only a few.

        Returns:
            how many were changed.

        Raises:
            TooManyLabelsError: one of them would have too many tags; nothing was changed.
        """
        ...

    def delete_devices(self, device_ids: Sequence[str], *, actor: str) -> int:
        """Delete devices and retire their keys; return how many existed. It is one transaction, so pass only a few."""
        ...


class Devices(DeviceIssuing, DeviceLookup, DeviceSearch, DeviceChanges, DeviceBatches, Protocol):
    """Everything for devices."""

    def count_devices(self) -> int:
        """Return how many devices there are."""
        ...

    def count_online(self) -> int:
        """Return how many devices are connected."""
        ...
