"""Reading a registration's body: strictly, bounded in size and in time."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from litestar import Request

__all__ = ["MAX_BODY_BYTES", "BodyError", "RegisterBody", "read_body"]

MAX_BODY_BYTES = 8 * 1024


class RegisterBody(msgspec.Struct, forbid_unknown_fields=True):
    """What a device posts."""

    serial: str
    proof: str | None = None


@dataclass(frozen=True, slots=True)
class BodyError(Exception):
    """A body that can't be taken, with its status and a sentence that says what is wrong and where."""

    status: int
    reason: str
    detail: str


async def read_body(request: Request[Any, Any, Any], *, timeout_seconds: float) -> RegisterBody:
    """Read and parse the body.

    Raises:
        BodyError: 400 malformed, 408 too slow, 413 over `MAX_BODY_BYTES`, 415 not JSON.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise BodyError(415, "wrong_content_type", "Send the body as application/json.")
    announced = request.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced) > MAX_BODY_BYTES:
        raise _too_large()
    body = bytearray()
    try:
        async with asyncio.timeout(timeout_seconds):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise _too_large()
    except TimeoutError:
        raise BodyError(408, "body_too_slow", f"The body did not arrive within {timeout_seconds:g} s.") from None
    try:
        return msgspec.json.decode(body, type=RegisterBody)
    except msgspec.ValidationError as error:
        raise BodyError(400, "malformed_body", f"The body is not as expected: {error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BodyError(400, "malformed_body", f"The body is not valid JSON: {error}.") from None
    except RecursionError:
        raise BodyError(400, "malformed_body", "The body is nested too deeply.") from None


def _too_large() -> BodyError:
    return BodyError(413, "body_too_large", f"The body is over {MAX_BODY_BYTES} bytes.")
