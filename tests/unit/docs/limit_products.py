"""What one client, and all of them together, can take, computed from the defaults of the settings and the constants.

`PRODUCTS` is the table of `docs/reference/limits.md` in the page's order; a new kind is a `Product` in it. What a thing
costs beyond the bytes that a bound counts is measured (`make bench ARGS=broker-memory`) and rounded up.
"""

from __future__ import annotations

from dataclasses import dataclass
from sys import getsizeof

from fleetkey.admin_api.bodies import MAX_BODIES_BYTES, MAX_BODIES_BYTES_PER_TOKEN
from fleetkey.admin_api.cache import MAX_REMEMBERED_BYTES
from fleetkey.admin_api.serials import MAX_IMPORTS, SPOOLED_BYTES
from fleetkey.broker.codec import Will
from fleetkey.broker.connection import MAX_UNDECIDED_BYTES
from fleetkey.broker.connection_limits import MAX_PENDING_BYTES, PENDING_CONNECTION_BYTES
from fleetkey.broker.lingering import MAX_LINGERING_BYTES
from fleetkey.broker.memory_costs import (
    CONNECTION_BYTES,
    DELIVERY_BYTES,
    DEVICE_BYTES,
    GROUP_BYTES,
    GROUP_MEMBER_BYTES,
    INBOUND_BYTES,
    MESSAGE_BYTES,
    SESSION_BYTES,
    TLS_BYTES,
    WEBSOCKET_BYTES,
    message_bytes,
    most_filter_bytes,
    retained_bytes,
    retained_node_bytes,
    will_bytes,
)
from fleetkey.broker.message import Message
from fleetkey.broker.publish_topics import MAX_REMEMBERED_BYTES as MAX_REMEMBERED_TOPIC_BYTES
from fleetkey.broker.publish_topics import MAX_REMEMBERED_BYTES_OF_APPLICATION
from fleetkey.broker.route_cache import MAX_ROUTE_BYTES
from fleetkey.broker.store.group_commit import MAX_WAITING_BYTES
from fleetkey.broker.transport.frames import MAX_MESSAGE_BYTES
from fleetkey.config import Settings
from fleetkey.http.connections import MAX_HELD_BYTES
from fleetkey.http.framing import MAX_FRAMING_BYTES, MAX_HEADER_BYTES
from fleetkey.http.protocol import MAX_QUEUED_BYTES, MAX_UNREAD_BODY_BYTES
from fleetkey.http.unsent import MAX_UNSENT_BYTES, MAX_UNSENT_BYTES_PER_ADDRESS
from fleetkey.registration.registrar import MAX_DEVICE_REFUSALS
from fleetkey.registration.route import MAX_BODY_BYTES

__all__ = ["PRODUCTS", "Product"]

KIBIBYTE, MEBIBYTE = 2**10, 2**20
OWNERS = 1_000
"""Devices: nothing bounds how many there are, so this is an example."""
KEYS, TOKENS = 10, 10
"""Examples, too."""

MEMORY = "`limits.memory`"
SECRET_BYTES, TRACKED_BYTES, ATTEMPT_BYTES = 2_500, 950, 33
BYTES_PER_CHARACTER = 4
"""The most that one takes in UTF-8."""

settings = Settings.model_construct()
access, http, limits, mqtt = settings.access, settings.http, settings.limits, settings.mqtt
registration = settings.registration


@dataclass(frozen=True, slots=True, kw_only=True)
class Product:
    """One row of the table.

    Args:
        kind: what is kept; names the bounds.
        one_bytes: what one client can make the server keep of it.
        clients: how many there can be.
        whose: what they are.
        total_bytes: the bound on all of it; None = it depends on the machine, or there is none.
        total: the name of that bound; empty = there is none.
    """

    kind: str
    one_bytes: int
    clients: int
    whose: str
    total_bytes: int | None = None
    total: str = ""

    def cells(self) -> list[str]:
        """Return the row as the page has it."""
        product = self.one_bytes * self.clients
        applies = self.total or "none"
        if self.total_bytes is not None:
            applies = f"{self.total}, {_mebibytes(self.total_bytes)} MiB"
        return [
            self.kind,
            _size(self.one_bytes),
            f"{self.clients:,} {self.whose}" if self.clients > 1 else self.whose,
            f"{_mebibytes(product)} MiB",
            applies,
        ]


def _mebibytes(size: int) -> str:
    return _number(size / MEBIBYTE)


def _size(size: int) -> str:
    return f"{_mebibytes(size)} MiB" if size >= MEBIBYTE else f"{_number(size / KIBIBYTE)} KiB"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}"


def _filters(count: int) -> int:
    """Return what filters cost that have as many bytes and levels as they may have, and share none."""
    return count * most_filter_bytes(
        "/".join(["x" * (mqtt.max_topic_bytes // mqtt.max_topic_levels)] * mqtt.max_topic_levels)
    )


def _tracked(*limits: int) -> int:
    """Return what one name costs in trackers with these limits."""
    return sum(TRACKED_BYTES + ATTEMPT_BYTES * limit for limit in limits)


LONGEST_WILL = Will(topic="x", payload=bytes(mqtt.max_connect_bytes), qos=1, is_retained=False)
LONGEST = Message("x", b"x", bytes(mqtt.max_packet_bytes), 1)
RETAINED_BYTES = message_bytes(LONGEST) + retained_bytes("x") + mqtt.max_topic_levels * retained_node_bytes("x")
HTTP_INPUT_BYTES = MAX_HEADER_BYTES + MAX_FRAMING_BYTES + MAX_QUEUED_BYTES + MAX_UNREAD_BODY_BYTES + MAX_BODY_BYTES

PRODUCTS = (
    Product(
        kind="All that a device makes the server keep (`limits.memory_per_device`)",
        one_bytes=limits.memory_per_device,
        clients=OWNERS,
        whose="devices",
        total=MEMORY,
    ),
    Product(
        kind="All that an application key makes it keep (`limits.memory_per_application`)",
        one_bytes=limits.memory_per_application,
        clients=KEYS,
        whose="keys",
        total=MEMORY,
    ),
    Product(
        kind="Disk space of a device (`limits.disk_per_device`)",
        one_bytes=limits.disk_per_device,
        clients=OWNERS,
        whose="devices",
        total="`limits.disk`",
    ),
    Product(
        kind="Disk space of an application key (`limits.disk_per_application`)",
        one_bytes=limits.disk_per_application,
        clients=KEYS,
        whose="keys",
        total="`limits.disk`",
    ),
    Product(
        kind="Connection before its login",
        one_bytes=PENDING_CONNECTION_BYTES,
        clients=mqtt.max_pending_connections,
        whose="pending connections",
    ),
    Product(
        kind="TLS handshake in progress",
        one_bytes=TLS_BYTES,
        clients=mqtt.max_pending_connections,
        whose="handshakes",
    ),
    Product(
        kind="CONNECT (`mqtt.max_connect_bytes`)",
        one_bytes=mqtt.max_connect_bytes,
        clients=mqtt.max_pending_connections,
        whose="pending connections",
    ),
    Product(
        kind="Sent before the login is decided (`MAX_UNDECIDED_BYTES`)",
        one_bytes=MAX_UNDECIDED_BYTES,
        clients=mqtt.max_pending_connections,
        whose="pending connections",
        total_bytes=MAX_PENDING_BYTES,
        total="`MAX_PENDING_BYTES`",
    ),
    Product(
        kind="Connection, over TLS and WebSocket",
        one_bytes=CONNECTION_BYTES + TLS_BYTES + WEBSOCKET_BYTES,
        clients=mqtt.max_connections,
        whose="connections",
        total=MEMORY,
    ),
    Product(
        kind="Incomplete packet (`mqtt.max_packet_bytes`)",
        one_bytes=mqtt.max_packet_bytes,
        clients=mqtt.max_connections,
        whose="connections",
        total=MEMORY,
    ),
    Product(
        kind="Incomplete WebSocket message (`MAX_MESSAGE_BYTES`)",
        one_bytes=MAX_MESSAGE_BYTES,
        clients=mqtt.max_connections,
        whose="connections",
        total=MEMORY,
    ),
    Product(
        kind="Output that isn't read (`mqtt.write_buffer_bytes`, and the packet that exceeds it)",
        one_bytes=mqtt.write_buffer_bytes + mqtt.max_packet_bytes,
        clients=mqtt.max_connections,
        whose="connections",
        total=MEMORY,
    ),
    Product(
        kind="Output that isn't read when the connection is closed",
        one_bytes=mqtt.write_buffer_bytes + mqtt.max_packet_bytes,
        clients=mqtt.max_connections,
        whose="connections",
        total_bytes=MAX_LINGERING_BYTES,
        total="`MAX_LINGERING_BYTES`",
    ),
    Product(
        kind="Topics that a device's connection remembers (`MAX_REMEMBERED_BYTES`)",
        one_bytes=MAX_REMEMBERED_TOPIC_BYTES,
        clients=mqtt.max_connections,
        whose="connections",
        total=MEMORY,
    ),
    Product(
        kind="Topics that an application's connection remembers (`MAX_REMEMBERED_BYTES_OF_APPLICATION`)",
        one_bytes=MAX_REMEMBERED_BYTES_OF_APPLICATION,
        clients=mqtt.max_connections,
        whose="connections",
        total=MEMORY,
    ),
    Product(
        kind="Topic aliases that a client chose (`mqtt.max_topic_aliases`)",
        one_bytes=mqtt.max_topic_aliases * getsizeof(bytes(mqtt.max_topic_bytes)),
        clients=mqtt.max_connections,
        whose="connections",
        total=MEMORY,
    ),
    Product(
        kind="Topic aliases in messages to a client (`mqtt.max_topic_aliases`)",
        one_bytes=mqtt.max_topic_aliases * getsizeof(bytes(mqtt.max_topic_bytes)),
        clients=mqtt.max_connections,
        whose="connections",
        total=MEMORY,
    ),
    Product(kind="Session", one_bytes=SESSION_BYTES + DEVICE_BYTES, clients=OWNERS, whose="sessions", total=MEMORY),
    Product(
        kind="Filters of a device (`mqtt.max_subscriptions_per_device`)",
        one_bytes=_filters(mqtt.max_subscriptions_per_device),
        clients=OWNERS,
        whose="devices",
        total=MEMORY,
    ),
    Product(
        kind="Filters of an application's session (`mqtt.max_subscriptions_per_application`)",
        one_bytes=_filters(mqtt.max_subscriptions_per_application),
        clients=OWNERS,
        whose="sessions",
        total=MEMORY,
    ),
    Product(
        kind="Groups of shared subscriptions, and their members (`mqtt.max_shared_groups`, `mqtt.max_shared_members`)",
        one_bytes=mqtt.max_shared_groups * (GROUP_BYTES + mqtt.max_shared_members * GROUP_MEMBER_BYTES),
        clients=KEYS,
        whose="keys",
        total=MEMORY,
    ),
    Product(
        kind="Will that waits out its delay, also on disk",
        one_bytes=will_bytes(LONGEST_WILL),
        clients=OWNERS,
        whose="sessions",
        total=MEMORY,
    ),
    Product(
        kind="Queued messages, also on disk (`mqtt.max_queued_bytes`, `mqtt.max_queued_messages`)",
        one_bytes=mqtt.max_queued_bytes + mqtt.max_queued_messages * (MESSAGE_BYTES + DELIVERY_BYTES),
        clients=OWNERS,
        whose="sessions",
        total=MEMORY,
    ),
    Product(
        kind="Messages in flight, also on disk (`mqtt.max_inflight`)",
        one_bytes=mqtt.max_inflight * (message_bytes(LONGEST) + DELIVERY_BYTES),
        clients=OWNERS,
        whose="sessions",
        total=MEMORY,
    ),
    Product(
        kind="QoS 2 messages not released yet (`mqtt.max_unreleased`)",
        one_bytes=mqtt.max_unreleased * INBOUND_BYTES,
        clients=OWNERS,
        whose="sessions",
        total=MEMORY,
    ),
    Product(
        kind="Retained messages, also on disk (`mqtt.max_retained`)",
        one_bytes=mqtt.max_retained
        * (message_bytes(LONGEST) + retained_bytes("x") + mqtt.max_topic_levels * retained_node_bytes("x")),
        clients=OWNERS,
        whose="devices or keys",
        total=MEMORY,
    ),
    Product(
        kind="Routes",
        one_bytes=MAX_ROUTE_BYTES,
        clients=1,
        whose="all clients",
        total_bytes=MAX_ROUTE_BYTES,
        total="`MAX_ROUTE_BYTES`",
    ),
    Product(
        kind="What waits for the disk",
        one_bytes=MAX_WAITING_BYTES,
        clients=1,
        whose="all clients",
        total_bytes=MAX_WAITING_BYTES,
        total="`MAX_WAITING_BYTES`",
    ),
    Product(
        kind="HTTP input (headers, framing, queued requests, registration's body)",
        one_bytes=HTTP_INPUT_BYTES,
        clients=http.max_connections,
        whose="HTTP connections",
    ),
    Product(
        kind="Bodies of requests to the admin API (`MAX_BODIES_BYTES_PER_TOKEN`)",
        one_bytes=MAX_BODIES_BYTES_PER_TOKEN,
        clients=TOKENS,
        whose="tokens",
        total_bytes=MAX_BODIES_BYTES,
        total="`MAX_BODIES_BYTES`",
    ),
    Product(
        kind="HTTP input that isn't parsed yet",
        one_bytes=MAX_HELD_BYTES,
        clients=1,
        whose="all clients",
        total_bytes=MAX_HELD_BYTES,
        total="`MAX_HELD_BYTES`",
    ),
    Product(
        kind="HTTP output that isn't read (`MAX_UNSENT_BYTES_PER_ADDRESS`)",
        one_bytes=MAX_UNSENT_BYTES_PER_ADDRESS,
        clients=http.max_connections // http.max_connections_per_address,
        whose="addresses",
        total_bytes=MAX_UNSENT_BYTES,
        total="`MAX_UNSENT_BYTES`",
    ),
    Product(
        kind="Imports (`SPOOLED_BYTES`)",
        one_bytes=SPOOLED_BYTES,
        clients=MAX_IMPORTS,
        whose="imports",
    ),
    Product(
        kind="Responses that the admin API caches",
        one_bytes=MAX_REMEMBERED_BYTES,
        clients=1,
        whose="all clients",
        total_bytes=MAX_REMEMBERED_BYTES,
        total="`MAX_REMEMBERED_BYTES`",
    ),
    Product(
        kind="Cached secret and scope (`access.max_cached`)",
        one_bytes=SECRET_BYTES,
        clients=access.max_cached,
        whose="keys",
    ),
    Product(
        kind="Attempts of an address, key, serial or device that are counted (`access.max_tracked`,"
        " `registration.max_tracked`)",
        one_bytes=_tracked(access.max_failures_per_address_per_minute, access.max_failures_per_key_per_minute)
        + _tracked(
            registration.max_per_address_per_minute,
            registration.max_per_serial_per_hour,
            registration.max_per_serial_per_hour,
            MAX_DEVICE_REFUSALS,
            1,
        ),
        clients=max(access.max_tracked, registration.max_tracked),
        whose="of each",
    ),
)
