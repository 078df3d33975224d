"""Issuing keys to devices in SQLite."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.registry.ids import new_device_id
from fleetkey.registry.plans import plan_issue
from fleetkey.registry.sqlite.devices import SqliteDevices

if TYPE_CHECKING:
    from fleetkey.registry.model import IssueRequest
    from fleetkey.registry.plans import IssueResult

__all__ = ["SqliteIssuing"]


class SqliteIssuing(SqliteDevices):
    """Issuing a device's keys; `plan_issue` decides."""

    def issue_device_key(self, request: IssueRequest) -> IssueResult:
        """Find or create the serial's device, and issue it a key according to the policy.

        The transaction holds the write lock from its first read, so simultaneous calls for one serial are serialized
        and create a single device.
        """
        with self._writing() as database:
            connection = database.conn
            device = self._device_of(connection, request.serial)
            keys = self._active_keys(connection, device.device_id) if device else []
            plan = plan_issue(request, device, keys, now=self._now(), new_device_id=new_device_id())
            return self._carry_out(connection, plan)
