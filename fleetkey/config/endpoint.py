"""The broker's address for devices and back ends."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MqttEndpoint"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttEndpoint:
    """The broker's address for devices. A `host` of None means the host under which the device reached registration."""

    host: str | None
    port: int
    is_tls: bool
