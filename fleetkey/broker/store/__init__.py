"""Storage for everything that survives a restart."""

from fleetkey.broker.disk_costs import (
    INBOUND_BYTES,
    message_bytes,
    retained_bytes,
    session_bytes,
    subscription_bytes,
)
from fleetkey.broker.store.broker_store import BrokerStore
from fleetkey.broker.store.loading import StoredSession
from fleetkey.broker.store.schema import check_broker_database

__all__ = [
    "INBOUND_BYTES",
    "BrokerStore",
    "StoredSession",
    "check_broker_database",
    "message_bytes",
    "retained_bytes",
    "session_bytes",
    "subscription_bytes",
]
