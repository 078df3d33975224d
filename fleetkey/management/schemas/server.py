"""The schema of the server itself."""

from __future__ import annotations

import msgspec

from fleetkey.management.schemas.tokens import TokenAnswer

__all__ = ["AboutAnswer", "MqttAnswer"]


class MqttAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The broker's address. A `host` of null means the host under which this server was reached."""

    host: str | None
    port: int
    tls: bool


class AboutAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The server, and the token in use."""

    version: str
    token: TokenAnswer
    mqtt: MqttAnswer
