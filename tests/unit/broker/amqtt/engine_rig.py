"""A bundled engine that listens nowhere, with clients that are no sockets."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from fleetkey.access import build_authenticator, build_worker_pool
from fleetkey.broker import BundledEngine
from fleetkey.broker.codec import SubscriptionOptions
from fleetkey.config import load_settings
from fleetkey.registry import open_store
from tests.unit.broker.rig import Loop, Sink, connect, message, principal

if TYPE_CHECKING:
    from pathlib import Path

    from fleetkey.broker.session import Session

__all__ = ["DEVICE", "OTHER", "EngineRig", "new_engine"]

DEVICE, OTHER = "0" * 24, "1" * 24


class EngineRig:
    """An engine that listens nowhere, and its clients."""

    def __init__(self, engine: BundledEngine) -> None:
        self.engine = engine
        self.host = engine._broker
        self.core = engine._core
        self.loop = Loop()

    def join(self, owner: str, *filters: str, clean: bool = False) -> tuple[Sink, Session]:
        """Let a device in and subscribe."""
        who = principal(owner, is_device=True)
        sink = Sink(who, self.loop)
        session = self.core.sessions.open(sink, connect(clean=clean), who, owner).session
        sink.belong(session, self.core.sessions.leave)
        for topic_filter in filters:
            self.core.sessions.subscribe(session, topic_filter, SubscriptionOptions(1))
        return sink, session

    def retain(self, topic: str, owner: str) -> None:
        """Retain a message of an owner's."""
        self.core.publisher.retain(message(topic, b"kept", owner=owner))


def new_engine(folder: Path, **mqtt_settings: object) -> BundledEngine:
    """Return an engine that isn't started, with these settings of `[mqtt]` and no other listener."""
    settings = load_settings(None, {"data_dir": folder / "data"})
    mqtt = settings.mqtt.model_copy(update={"bind": "", **mqtt_settings})
    with closing(open_store(settings)) as store, closing(build_worker_pool(settings)) as pool:
        return BundledEngine(mqtt, build_authenticator(settings, store, pool), folder / "broker.db")
