"""The `http` verifier: your own API decides, and may say what the device gets."""

from __future__ import annotations

import asyncio
import hmac
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from fleetkey.access import read_shared_secret
from fleetkey.config.labels import LabelError, check_labels, check_name
from fleetkey.http.body import refuse_repeated
from fleetkey.http_client import HttpClient, RequestFailedError, ResponseTooLargeError
from fleetkey.registration.verifiers.verifier import Accepted, Claim, Rejected, Undecided
from fleetkey.registry import RefusalReason

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleetkey.access import Secret
    from fleetkey.config import HttpVerifierSettings

__all__ = ["HttpVerifier"]

log = structlog.get_logger(__name__)

MAX_ANSWER_BYTES = 16 * 1024
TIMESTAMP_HEADER = "Fleetkey-Timestamp"
SIGNATURE_HEADER = "Fleetkey-Signature"


class _Answer(msgspec.Struct, forbid_unknown_fields=True):
    """The API's response. Unknown fields and wrong types are errors, since they would otherwise be silently ignored."""

    accept: bool
    name: str = ""
    profile: str | None = None
    tags: dict[str, str] = {}
    attributes: dict[str, str] = {}


class HttpVerifier:
    """Posts each claim to the API, signed, and trusts only a complete response with status 200.

    Anything else (an error, another status, a redirect, a response that is too large or too late) is undecided, and
    the device is not accepted. At most `max_concurrent` requests run and `max_waiting` wait; the timeout includes the
    wait.
    """

    name = "http"

    def __init__(self, settings: HttpVerifierSettings, *, clock: Callable[[], float] = time.time) -> None:
        """Read the secret and prepare the client.

        Raises:
            SharedSecretError: the secret can't be used.
            SettingsError: the CA file can't be used.
        """
        self._settings = settings
        self._clock = clock
        self._secret: Secret = (
            read_shared_secret("registration.http.secret_file", path=settings.secret_file)
            if settings.secret_file
            else read_shared_secret("registration.http.secret", secret=settings.secret)
        )
        self._turns = asyncio.Semaphore(settings.max_concurrent)
        self._taken = 0
        self._client = HttpClient(
            settings.url,
            ca_file=settings.ca_file,
            setting="registration.http.ca_file",
            max_connections=settings.max_concurrent,
        )

    async def verify(self, claim: Claim) -> Accepted | Rejected | Undecided:
        """Ask the API."""
        settings = self._settings
        if self._taken >= settings.max_concurrent + settings.max_waiting:
            return Undecided(RefusalReason.HTTP_TOO_MANY_WAITING)
        self._taken += 1
        try:
            async with asyncio.timeout(settings.timeout_seconds), self._turns:
                status, content = await self._post(claim)
        except TimeoutError:
            return _undecided(RefusalReason.HTTP_TOO_SLOW)
        except ResponseTooLargeError:
            return _undecided(RefusalReason.HTTP_ANSWER_TOO_LARGE)
        except RequestFailedError as error:
            return _undecided(RefusalReason.HTTP_UNREACHABLE, error=str(error))
        finally:
            self._taken -= 1
        if status != HTTPStatus.OK:
            return _undecided(RefusalReason.HTTP_BAD_STATUS, status=status)
        return _verdict(content)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _post(self, claim: Claim) -> tuple[int, bytes]:
        body = msgspec.json.encode({"serial": claim.serial, "proof": claim.proof, "address": claim.address})
        timestamp = str(int(self._clock()))
        signature = hmac.digest(self._secret.reveal().encode(), timestamp.encode() + b"." + body, "sha256").hex()
        headers = {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            TIMESTAMP_HEADER: timestamp,
            SIGNATURE_HEADER: f"v1={signature}",
        }
        return await self._client.post(
            body, headers, timeout_seconds=self._settings.timeout_seconds, max_bytes=MAX_ANSWER_BYTES
        )


def _undecided(reason: RefusalReason, **fields: Any) -> Undecided:
    log.error("verifier_api_failed", reason=reason.value, **fields)
    return Undecided(reason)


def _verdict(content: bytes) -> Accepted | Rejected | Undecided:
    try:
        refuse_repeated(content)
        answer = msgspec.json.decode(content, type=_Answer)
        if not answer.accept:
            return Rejected(RefusalReason.HTTP_REFUSED)
        return Accepted(
            name=check_name(answer.name),
            profile=answer.profile,
            tags=check_labels(answer.tags, "tag"),
            attributes=check_labels(answer.attributes, "attribute"),
        )
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, LabelError) as error:
        return _undecided(RefusalReason.HTTP_BAD_ANSWER, error=str(error)[:200])
