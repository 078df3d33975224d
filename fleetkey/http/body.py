"""Reading a request's body: strictly, bounded in size and in time."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from litestar.exceptions import InternalServerException

from fleetkey.registry import RefusalReason

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from litestar import Request

__all__ = [
    "BodyError",
    "body_chunks",
    "decode_json",
    "read_json",
    "refuse_repeated",
]

JSON = frozenset({"application/json"})
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BodyError(Exception):
    """A refused body, with the status and a sentence that says what is wrong and where."""

    status: int
    reason: RefusalReason
    detail: str


async def read_json(
    request: Request[Any, Any, Any],
    *,
    max_bytes: int,
    timeout_seconds: float,
    charge: Callable[[int], None] | None = None,
) -> bytes:
    """Read a JSON body without decoding it.

    Args:
        request: the request.
        max_bytes: the maximum size.
        timeout_seconds: how long it may take to arrive.
        charge: called with the size of each piece before it is kept; may raise, to refuse it.

    Raises:
        BodyError: 400, 408, 413, 415.
    """
    content = bytearray()
    async for chunk in body_chunks(request, media_types=JSON, max_bytes=max_bytes, timeout_seconds=timeout_seconds):
        if charge is not None:
            charge(len(chunk))
        content += chunk
    return bytes(content)


async def body_chunks(
    request: Request[Any, Any, Any], *, media_types: frozenset[str], max_bytes: int, timeout_seconds: float
) -> AsyncIterator[bytes]:
    """Yield a body as it arrives.

    Raises:
        BodyError: 400 it ended early, 408 it took longer than `timeout_seconds`, 413 it is larger than `max_bytes`,
            415 it has another media type.
    """
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in media_types:
        raise BodyError(415, RefusalReason.WRONG_CONTENT_TYPE, f"Send the body as {' or '.join(sorted(media_types))}.")
    announced = request.headers.get("content-length", "")
    if announced.isascii() and announced.isdigit() and int(announced) > max_bytes:
        raise _too_large(max_bytes)
    size = 0
    deadline = asyncio.get_running_loop().time() + timeout_seconds
    chunks = aiter(request.stream())
    while True:
        try:
            # Only the wait counts: the time that the consumer spends on a chunk is not the client's.
            async with asyncio.timeout_at(deadline):
                chunk = await anext(chunks)
        except StopAsyncIteration:
            return
        except TimeoutError:
            raise BodyError(
                408, RefusalReason.BODY_TOO_SLOW, f"The body did not arrive within {timeout_seconds:g} s."
            ) from None
        except InternalServerException:
            # Litestar's way of reporting a client that disconnected; not an error to log.
            raise BodyError(400, RefusalReason.BODY_INCOMPLETE, "The body ended early.") from None
        size += len(chunk)
        if size > max_bytes:
            raise _too_large(max_bytes)
        yield chunk


def decode_json(content: bytes, shape: type[T]) -> T:
    """Return the decoded body. Raises `BodyError`: 400, with a sentence that says what is wrong and where."""
    try:
        refuse_repeated(content)
        return msgspec.json.decode(content, type=shape)
    except msgspec.ValidationError as error:
        raise BodyError(400, RefusalReason.MALFORMED_BODY, f"The body is invalid: {error}.") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BodyError(400, RefusalReason.MALFORMED_BODY, f"The body is not valid JSON: {error}.") from None
    except RecursionError:
        raise BodyError(400, RefusalReason.MALFORMED_BODY, "The body is nested too deeply.") from None


def refuse_repeated(content: bytes) -> None:
    """Refuse JSON with duplicate names in an object (RFC 8259, 4), which parsers interpret differently.

    Invalid JSON is left to the decoder.

    Raises:
        msgspec.ValidationError: says which name.
    """
    try:
        json.loads(content, object_pairs_hook=_once)
    except msgspec.ValidationError:
        raise
    except (ValueError, RecursionError):
        return


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            msg = f"Object has the field `{name[:64]}` twice"
            raise msgspec.ValidationError(msg)
        found[name] = value
    return found


def _too_large(max_bytes: int) -> BodyError:
    return BodyError(413, RefusalReason.BODY_TOO_LARGE, f"The body is larger than {max_bytes} bytes.")
