"""What a device posts to register, and what it is answered."""

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
    "description": "Printable characters, no white space at the ends",
}
"""For the description alone: the registrar refuses what can't be a serial, and has that audited."""


class RegisterBody(msgspec.Struct, forbid_unknown_fields=True):
    """What a device posts."""

    serial: Annotated[str, msgspec.Meta(extra_json_schema=SERIAL)]
    proof: Annotated[str | None, msgspec.Meta(description="What a verifier asks for beside the serial")] = None


class MqttAccess(msgspec.Struct):
    """Where and how the device connects."""

    host: str
    port: int
    tls: bool
    clientId: str  # noqa: N815 - the wire's spelling
    publish: list[str]
    subscribe: list[str]


class RegisterAnswer(msgspec.Struct):
    """A credential; the secret is shown here and never again."""

    deviceId: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{24}$")]  # noqa: N815 - the wire's spelling
    key: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]
    secret: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    mqtt: MqttAccess


class PendingAnswer(msgspec.Struct):
    """The device waits for an operator's approval."""

    status: str
    detail: str


REGISTER_RESPONSES = {
    200: ResponseSpec(data_container=RegisterAnswer, description="Registered", generate_examples=False),
    202: ResponseSpec(
        data_container=PendingAnswer, description="Waits for approval; see Retry-After", generate_examples=False
    ),
    400: problem_response("Malformed, or the serial may not register"),
    401: problem_response("The serial may not register, if the settings say 401"),
    408: problem_response("The body came too slowly"),
    409: problem_response("Registered already, and may not again"),
    413: problem_response("The body is too large"),
    415: problem_response("The body is not JSON"),
    429: problem_response("Too many attempts; see Retry-After"),
    503: problem_response("Can't be taken now; see Retry-After"),
}
