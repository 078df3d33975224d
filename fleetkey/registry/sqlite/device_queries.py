"""Queries for devices: which index drives the search, and what is checked for each device it finds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from fleetkey.registry.model import DeviceOrder
from fleetkey.registry.sqlite.rows import DEVICE_VALUES, device_from

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Mapping, Sequence

    from fleetkey.registry.model import Device, DevicePlace, DeviceState

__all__ = ["labels_of", "page_query", "rarest_first", "read_device", "read_devices", "scan_query", "sort_query"]

MAX_READ = 500
"""How many devices are read in one query; more are read in several."""
READ_ONE = f"""
SELECT {DEVICE_VALUES} FROM devices d LEFT JOIN presence p ON p.device_id = d.device_id WHERE d.device_id = ?
"""  # noqa: S608 - ours
READ_MANY = f"""
SELECT json_group_array({DEVICE_VALUES}) FROM json_each(?) wanted
CROSS JOIN devices d ON d.device_id = wanted.value LEFT JOIN presence p ON p.device_id = d.device_id
"""  # noqa: S608 - ours
ORDERS = {
    DeviceOrder.SERIAL: ("d.serial", ">", "ASC"),
    DeviceOrder.CREATED: ("d.created_at", "<", "DESC"),
    DeviceOrder.SEEN: ("coalesce(s.last_seen_at, -1)", "<", "DESC"),
}
"""What devices are sorted by, what comes after a value, and the direction."""
MAX_COUNTED = 1000
"""How many devices are counted at most to find the rarest of several conditions."""

Label = tuple[str, str, str]
"""Table, name and value."""


def labels_of(tags: Mapping[str, str] | None, attributes: Mapping[str, str] | None) -> list[Label]:
    """Return tags and attributes with the tables they are stored in."""
    labels = [("device_tags", name, value) for name, value in (tags or {}).items()]
    return labels + [("device_attributes", name, value) for name, value in (attributes or {}).items()]


def read_device(connection: sqlite3.Connection, device_id: str) -> Device | None:
    """Return a device, if it exists."""
    row = connection.execute(READ_ONE, (device_id,)).fetchone()
    return device_from(msgspec.json.decode(row[0])) if row else None


def read_devices(connection: sqlite3.Connection, device_ids: Sequence[str]) -> list[Device]:
    """Return those devices that exist, ordered by id; name each only once.

    Reads `MAX_READ` devices per row: each step of SQLite releases the GIL and waits for it again, and with a row for
    each device and tag, that would take most of the time and slow down the event loop, too.
    """
    found: list[Device] = []
    for start in range(0, len(device_ids), MAX_READ):
        ids = msgspec.json.encode(device_ids[start : start + MAX_READ]).decode()
        (text,) = connection.execute(READ_MANY, (ids,)).fetchone()
        found += map(device_from, msgspec.json.decode(text))
    return sorted(found, key=lambda device: device.device_id)


def rarest_first(connection: sqlite3.Connection, labels: Sequence[Label]) -> list[Label]:
    """Sort labels by how many devices have them, counting up to `MAX_COUNTED`."""
    return sorted(labels, key=lambda label: _rarity(connection, label)) if len(labels) > 1 else list(labels)


def page_query(
    labels: Sequence[Label], state: DeviceState | None, *, online: bool | None = None
) -> tuple[str, list[str]]:
    """Return the query for a page's ids, and its parameters except the last two: `after` and the limit.

    The index of the first label drives the search.
    """
    query, where, parameters, cursor = "SELECT d.device_id FROM devices d", [], [], "d.device_id"
    if labels:
        (table, name, value), *others = labels
        # CROSS JOIN: SQLite takes the left table as the outer loop.
        query = f"SELECT d.device_id FROM {table} l CROSS JOIN devices d ON d.device_id = l.device_id"  # noqa: S608 - ours
        where, parameters, cursor = ["l.name = ? AND l.value = ?"], [name, value], "l.device_id"
        conditions, values = _has(others)
        where += conditions
        parameters += values
    if online and not labels:
        query = "SELECT d.device_id FROM presence l CROSS JOIN devices d ON d.device_id = l.device_id"
        where, cursor = ["l.is_online"], "l.device_id"
    elif online is not None:
        where.append(_connected(online=online))
    if state is not None:
        where.append("d.state = ?")
        parameters.append(state)
    where.append(f"{cursor} > ?")
    return f"{query} WHERE {' AND '.join(where)} ORDER BY {cursor} LIMIT ?", parameters


def scan_query(
    connection: sqlite3.Connection, labels: Sequence[Label], state: DeviceState | None, *, online: bool | None = None
) -> tuple[str, list[str]]:
    """Return a query for id, serial and whether the rest matches, and its parameters except `after` and the limit.

    The limit applies to the devices examined, not to matches: with two common labels that no device combines, a query
    must not scan the whole fleet.
    """
    ordered = rarest_first(connection, labels)
    counts: dict[str, int] = {}
    if ordered:
        counts["label"] = _rarity(connection, ordered[0])
    if state is not None:
        counts["state"] = _rarity_of_state(connection, state)
    if online:
        counts["online"] = _rarity_of_online(connection)
    rarest = min(counts, key=lambda name: counts[name], default="")
    lead, where, parameters = "devices", "", []
    if rarest == "online":
        lead, where, online = "presence", "is_online AND ", None
    elif rarest == "state":
        where, parameters, state = "state = ? AND ", [str(state)], None
    elif rarest == "label":
        (lead, name, value), *ordered = ordered
        where, parameters = "name = ? AND value = ? AND ", [name, value]
    inner = f"SELECT device_id FROM {lead} WHERE {where}device_id > ? ORDER BY device_id LIMIT ?"  # noqa: S608 - ours
    wanted, values = _has(ordered)
    if state is not None:
        wanted.append("d.state = ?")
        values.append(state)
    if online is not None:
        wanted.append(_connected(online=online))
    query = (
        f"SELECT d.device_id, d.serial, {' AND '.join(wanted) or '1'} FROM ({inner}) l"  # noqa: S608 - ours
        " CROSS JOIN devices d ON d.device_id = l.device_id ORDER BY l.device_id"
    )
    # The conditions come before the inner query, so their values come first.
    return query, [*values, *parameters]


def sort_query(
    labels: Sequence[Label],
    state: DeviceState | None,
    by: DeviceOrder,
    *,
    after: DevicePlace | None,
    online: bool | None = None,
) -> tuple[str, list[str | int]]:
    """Return the query for the sorted ids, serials and values of those that match, and its parameters but the limit."""
    value, follows, direction = ORDERS[by]
    where, values = _has(labels)
    parameters: list[str | int] = [*values]
    if after is not None:
        # The first condition is what an index can find.
        where.append(f"{value} {follows}= ? AND ({value} {follows} ? OR d.device_id > ?)")
        parameters += [after.value, after.value, after.device_id]
    if state is not None:
        where.append("d.state = ?")
        parameters.append(state)
    if online is not None:
        where.append(_connected(online=online))
    query = (
        f"SELECT d.device_id, d.serial, {value} FROM devices d LEFT JOIN presence s ON s.device_id = d.device_id"  # noqa: S608 - ours
        f" WHERE {' AND '.join(where) or '1'} ORDER BY {value} {direction}, d.device_id LIMIT ?"
    )
    return query, parameters


def _has(labels: Sequence[Label]) -> tuple[list[str], list[str]]:
    conditions, values = [], []
    for table, name, value in labels:
        inner = f"SELECT 1 FROM {table} o WHERE o.device_id = d.device_id AND o.name = ? AND o.value = ?"  # noqa: S608 - ours
        conditions.append(f"EXISTS ({inner})")
        values += [name, value]
    return conditions, values


def _connected(*, online: bool) -> str:
    inner = "SELECT 1 FROM presence p WHERE p.device_id = d.device_id AND p.is_online"
    return f"{'' if online else 'NOT '}EXISTS ({inner})"


def _rarity(connection: sqlite3.Connection, label: Label) -> int:
    table, name, value = label
    row = connection.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM {table} WHERE name = ? AND value = ? LIMIT {MAX_COUNTED})",  # noqa: S608 - ours
        (name, value),
    ).fetchone()
    return int(row[0])


def _rarity_of_state(connection: sqlite3.Connection, state: DeviceState) -> int:
    row = connection.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM devices WHERE state = ? LIMIT {MAX_COUNTED})",  # noqa: S608 - ours
        (state,),
    ).fetchone()
    return int(row[0])


def _rarity_of_online(connection: sqlite3.Connection) -> int:
    row = connection.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM presence WHERE is_online LIMIT {MAX_COUNTED})"  # noqa: S608 - ours
    ).fetchone()
    return int(row[0])
