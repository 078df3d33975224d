"""The request and the responses of a registration."""

from __future__ import annotations

from typing import Annotated

import msgspec
from litestar.openapi.datastructures import ResponseSpec

from fleetkey.http.openapi import problem_response
from fleetkey.registry.ids import MAX_SERIAL_CHARACTERS

__all__ = ["REGISTER_RESPONSES", "MqttAccess", "PendingAnswer", "RegisterAnswer", "RegisterBody"]

SERIAL = {
    "minLength": 1,
    "maxLength": MAX_SERIAL_CHARACTERS,
    "description": "Printable characters, without leading or trailing whitespace",
}
"""Only for the OpenAPI description: the registrar itself refuses and audits invalid serials."""


class RegisterBody(msgspec.Struct, forbid_unknown_fields=True):
    """What a device sends."""

    serial: Annotated[str, msgspec.Meta(extra_json_schema=SERIAL)]
    proof: Annotated[str | None, msgspec.Meta(description="What a verifier requires in addition to the serial")] = None


class MqttAccess(msgspec.Struct):
    """Where and how the device connects."""

    host: str
    port: int
    tls: bool
    clientId: str  # noqa: N815 - the spelling in JSON
    publish: list[str]
    subscribe: list[str]


class RegisterAnswer(msgspec.Struct):
    """A credential; the secret is shown here and never again."""

    deviceId: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{24}$")]  # noqa: N815 - the spelling in JSON
    key: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]
    secret: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    mqtt: MqttAccess


class PendingAnswer(msgspec.Struct):
    """The device is waiting for an operator's approval."""

    status: str
    detail: str


REGISTER_RESPONSES = {
    200: ResponseSpec(data_container=RegisterAnswer, description="Registered", generate_examples=False),
    202: ResponseSpec(
        data_container=PendingAnswer, description="Waiting for approval; see Retry-After", generate_examples=False
    ),
    400: problem_response("Malformed request, or the serial may not register"),
    401: problem_response("The serial may not register, if refuse_status is 401"),
    408: problem_response("The body arrived too slowly"),
    409: problem_response("Already registered, and may not register again"),
    413: problem_response("The body is too large"),
    415: problem_response("The body is not JSON"),
    429: problem_response("Too many attempts; see Retry-After"),
    503: problem_response("Temporarily unavailable; see Retry-After"),
}
