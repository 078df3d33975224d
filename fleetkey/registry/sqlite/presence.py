"""Presence in SQLite: written in batches by the broker, read with the devices and application keys."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from fleetkey.registry.ids import is_access_key
from fleetkey.registry.sqlite.journal import SqliteJournal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fleetkey.registry.model import Presence

__all__ = ["PRESENCE_COLUMNS", "SqlitePresence"]

PRESENCE_COLUMNS = "is_online, connected_at, disconnected_at, last_seen_at, address, reason"
_UPSERT = f"""
INSERT INTO {{table}} ({{owner}}, {PRESENCE_COLUMNS})
SELECT {", ".join(f"json_extract(noted.value, '$[{place}]')" for place in range(7))}
FROM json_each(?) noted CROSS JOIN {{owners}} WHERE true
ON CONFLICT ({{owner}}) DO UPDATE SET
  is_online = excluded.is_online,
  connected_at = coalesce(excluded.connected_at, connected_at),
  disconnected_at = coalesce(excluded.disconnected_at, disconnected_at),
  last_seen_at = coalesce(excluded.last_seen_at, last_seen_at),
  address = iif(excluded.address = '', address, excluded.address),
  reason = iif(excluded.is_online, reason, excluded.reason)
"""  # noqa: S608 - the columns are ours
UPSERT_DEVICES = _UPSERT.format(
    table="presence",
    owner="device_id",
    owners="devices ON devices.device_id = json_extract(noted.value, '$[0]')",
)
UPSERT_KEYS = _UPSERT.format(
    table="key_presence",
    owner="owner",
    owners="access_keys k ON k.key = json_extract(noted.value, '$[0]') AND k.kind = 'application'",
)


class SqlitePresence(SqliteJournal):
    """Recording presence. It is not a change to the fleet, so it appears neither in the feed nor in the audit log."""

    def record_presence(self, entries: Mapping[str, Presence]) -> None:
        """Record presence in one transaction; None and empty values leave the previous ones."""
        rows = [
            (
                owner,
                int(entry.is_online),
                entry.connected_at,
                entry.disconnected_at,
                entry.last_seen_at,
                entry.address,
                entry.reason,
            )
            for owner, entry in entries.items()
        ]
        with self._writing() as database:
            # One statement for all of a kind, so that SQLite runs without the GIL and the broker isn't held up. Row by
            # row, each step would have to take the GIL from the event loop.
            keys = [row for row in rows if is_access_key(row[0])]
            devices = [row for row in rows if not is_access_key(row[0])] if keys else rows
            for statement, noted in ((UPSERT_DEVICES, devices), (UPSERT_KEYS, keys)):
                if noted:
                    database.conn.execute(statement, (json.dumps(noted),))

    def end_presence(self, *, reason: str) -> int:
        """Record that nobody is connected any more, as of when each was last seen; return how many were."""
        with self._writing() as database:
            return sum(
                database.conn.execute(
                    f"UPDATE {table} SET is_online = 0, reason = ?,"  # noqa: S608 - the table is ours
                    " disconnected_at = max(coalesce(last_seen_at, connected_at), coalesce(connected_at, last_seen_at))"
                    " WHERE is_online",
                    (reason,),
                ).rowcount
                for table in ("presence", "key_presence")
            )

    def count_online(self) -> int:
        """Return how many devices are connected."""
        with self._reading() as connection:
            return int(connection.execute("SELECT count(*) FROM presence WHERE is_online").fetchone()[0])
