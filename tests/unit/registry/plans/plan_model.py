"""A registry of one serial in memory: what a store is to plans, in as few lines as it takes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeVar

from fleetkey.registry.plans import (
    DeleteDevice,
    EndKeys,
    HeldKey,
    InsertDevice,
    InsertKey,
    MarkConnected,
    MarkRotated,
    RetireKeys,
    SetDeviceState,
)

if TYPE_CHECKING:
    from fleetkey.registry import Device
    from fleetkey.registry.plans import Plan

Result = TypeVar("Result")


@dataclass
class OneDevice:
    """The device, if there is one, with its active keys (oldest first) and its retired ones."""

    device: Device | None = None
    keys: list[HeldKey] = field(default_factory=list)
    retired: dict[str, str] = field(default_factory=dict)
    """Retired keys with their reasons."""

    def carry_out(self, plan: Plan[Result]) -> Result:
        """Make a plan's writes; one that can't be made is an error."""
        for write in plan.writes:
            match write:
                case InsertDevice(device=device):
                    assert self.device is None
                    self.device = device
                case SetDeviceState(state=state, at=at):
                    assert self.device is not None
                    self.device = replace(self.device, state=state, updated_at=at)
                case DeleteDevice(device_id=device_id):
                    assert self.device is not None
                    assert self.device.device_id == device_id
                    self.device = None
                case InsertKey():
                    assert self.device is not None
                    assert write.device_id == self.device.device_id
                    assert write.key not in {*self.names, *self.retired}
                    new = HeldKey(key=write.key, expires_at=write.expires_at, replaces_older=write.replaces_older)
                    self.keys.append(new)
                case EndKeys(keys=keys, expires_at=expires_at):
                    self._change(keys, expires_at=expires_at)
                case MarkRotated(keys=keys, at=at):
                    self._change(keys, rotated_at=at)
                case MarkConnected(key=key, at=at):
                    self._change((key,), first_connected_at=at)
                case RetireKeys(keys=keys, reason=reason):
                    assert set(keys) <= set(self.names)
                    self.keys = [key for key in self.keys if key.key not in keys]
                    self.retired |= dict.fromkeys(keys, reason)
        return plan.result

    @property
    def names(self) -> list[str]:
        """The active keys, oldest first."""
        return [key.key for key in self.keys]

    def live(self, now: int) -> list[HeldKey]:
        """Return the keys that may connect now."""
        return [key for key in self.keys if key.is_live(now)]

    def key(self, name: str) -> HeldKey | None:
        """Return an active key."""
        return next((key for key in self.keys if key.key == name), None)

    def _change(self, names: tuple[str, ...], **values: Any) -> None:
        assert names
        assert set(names) <= set(self.names)
        self.keys = [replace(key, **values) if key.key in names else key for key in self.keys]
