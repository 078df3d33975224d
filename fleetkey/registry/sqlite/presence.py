"""Presence in SQLite: written in batches by the broker, read with the devices."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from fleetkey.registry.sqlite.journal import SqliteJournal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleetkey.registry.model import Presence

__all__ = ["SqlitePresence"]

PRESENCE_COLUMNS = "is_online, connected_at, disconnected_at, last_seen_at, address, reason"
UPSERT = f"""
INSERT INTO presence (device_id, {PRESENCE_COLUMNS})
SELECT {", ".join(f"json_extract(noted.value, '$[{place}]')" for place in range(7))}
FROM json_each(?) noted CROSS JOIN devices ON devices.device_id = json_extract(noted.value, '$[0]') WHERE true
ON CONFLICT (device_id) DO UPDATE SET
  is_online = excluded.is_online,
  connected_at = coalesce(excluded.connected_at, connected_at),
  disconnected_at = coalesce(excluded.disconnected_at, disconnected_at),
  last_seen_at = coalesce(excluded.last_seen_at, last_seen_at),
  address = iif(excluded.address = '', address, excluded.address),
  reason = iif(excluded.is_online, reason, excluded.reason)
"""  # noqa: S608 - the columns are ours


class SqlitePresence(SqliteJournal):
    """Recording presence. It is not a change to the fleet, so it appears neither in the feed nor in the audit log."""

    def record_presence(self, entries: Mapping[str, Presence]) -> None:
        """Record devices' presence in one transaction; None and empty values leave the previous ones."""
        rows = [
            (
                device_id,
                int(entry.is_online),
                entry.connected_at,
                entry.disconnected_at,
                entry.last_seen_at,
                entry.address,
                entry.reason,
            )
            for device_id, entry in entries.items()
        ]
        with self._writing() as database:
            # One statement for all devices, so that SQLite runs without the GIL and the broker isn't held up. Row by
            # row, each step would have to take the GIL from the event loop.
            database.conn.execute(UPSERT, (json.dumps(rows),))

    def end_presence(self, *, reason: str) -> int:
        """Record that no device is connected any more, as of when each was last seen; return how many were."""
        with self._writing() as database:
            return int(
                database.conn.execute(
                    "UPDATE presence SET is_online = 0, reason = ?,"
                    " disconnected_at = max(coalesce(last_seen_at, connected_at), coalesce(connected_at, last_seen_at))"
                    " WHERE is_online",
                    (reason,),
                ).rowcount
            )

    def count_online(self) -> int:
        """Return how many devices are connected."""
        with self._reading() as connection:
            return int(connection.execute("SELECT count(*) FROM presence WHERE is_online").fetchone()[0])
