"""The broker's bounds, taken from the settings once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fleetkey.config import MqttSettings

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a connection, a session and the whole broker; each is a setting of `[mqtt]`."""

    connect_timeout_seconds: float
    max_connect_bytes: int
    max_packet_bytes: int
    max_connections: int
    max_connections_per_address: int
    max_pending_connections: int
    max_pending_per_address: int
    max_topic_bytes: int
    max_topic_levels: int
    max_subscriptions_per_device: int
    max_subscriptions_per_application: int
    max_connections_per_application: int
    max_sessions_per_application: int
    max_filters_per_application: int
    max_messages_per_second: int
    max_bytes_per_second: int
    max_inflight: int
    max_queued_messages: int
    max_queued_bytes: int
    max_retained: int
    max_unreleased: int
    write_buffer_bytes: int
    session_expiry_seconds: int
    max_properties: int
    max_property_bytes: int
    max_user_properties: int
    max_topic_aliases: int
    max_shared_groups: int
    max_shared_members: int
    max_will_delay_seconds: int
    max_message_expiry_seconds: int
    max_keep_alive_seconds: int

    @classmethod
    def from_settings(cls, settings: MqttSettings) -> Limits:
        """Return the bounds from the settings."""
        return cls(**{name: getattr(settings, name) for name in cls.__dataclass_fields__})
