"""Where devices and back ends find the broker."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MqttEndpoint"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttEndpoint:
    """The broker as devices reach it; `host` None: the host at which the device reached registration."""

    host: str | None
    port: int
    is_tls: bool
