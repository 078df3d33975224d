"""What is shown of the server itself."""

from __future__ import annotations

import msgspec

from fleetkey.management.schemas.tokens import TokenAnswer

__all__ = ["AboutAnswer", "MqttAnswer"]


class MqttAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Where the broker is; `host` null: the host at which this server was reached."""

    host: str | None
    port: int
    tls: bool


class AboutAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The server, and the token that asks."""

    version: str
    token: TokenAnswer
    mqtt: MqttAnswer
