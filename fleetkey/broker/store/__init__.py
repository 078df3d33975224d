"""Storage for everything that survives a restart."""

from fleetkey.broker.store.broker_store import BrokerStore
from fleetkey.broker.store.loading import StoredSession
from fleetkey.broker.store.schema import check_broker_database

__all__ = ["BrokerStore", "StoredSession", "check_broker_database"]
