"""One table of settings for each verifier that needs some."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, SecretStr, model_validator

from fleetkey.config.fields import FrozenDict, FrozenMap, Positive, Strings, Table
from fleetkey.config.serial_pattern import SerialPattern
from fleetkey.config.urls import check_url

__all__ = ["HmacSettings", "HttpVerifierSettings", "PatternSettings"]

MAX_PATTERNS = 100
MAX_GROUPS = 100


def _patterns(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        SerialPattern(value)
    return values


class PatternSettings(Table):
    """`[registration.pattern]`: which serials the `pattern` verifier accepts."""

    serials: Annotated[Strings, Field(max_length=MAX_PATTERNS), AfterValidator(_patterns)] = ()
    """Patterns; one of them must match the whole serial."""


class HmacSettings(Table):
    """`[registration.hmac]`: the group secrets with which a factory proves serials."""

    secrets: Annotated[FrozenMap[SecretStr], Field(max_length=MAX_GROUPS)] = FrozenDict()
    """Group names to secrets of at least 32 characters; a proof by any of them counts, so they can be rotated."""
    secret_files: Annotated[FrozenMap[Path], Field(max_length=MAX_GROUPS)] = FrozenDict()
    """Group names to files that hold a secret alone; a line end after it doesn't count."""

    @model_validator(mode="after")
    def _groups_have_one_secret(self) -> Self:
        both = sorted(self.secrets.keys() & self.secret_files.keys())
        if both:
            msg = f"the group {both[0]} is in secrets and in secret_files; write it once"
            raise ValueError(msg)
        return self


class HttpVerifierSettings(Table):
    """`[registration.http]`: your own API, which decides."""

    url: Annotated[str, AfterValidator(check_url)] = ""
    """Where to post each claim; `https://`, or `http://` on this machine."""
    secret: SecretStr | None = None
    """With which requests are signed; at least 32 characters."""
    secret_file: Path | None = None
    """A file that holds the secret alone, instead of `secret`."""
    ca_file: Path | None = None
    """PEM file of the only authorities to trust; otherwise the usual ones."""
    timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 5.0
    """For the whole answer, waiting for a turn included; then the device gets 503."""
    max_concurrent: Annotated[int, Field(ge=1, le=1000)] = 20
    """Requests to the API at once; further ones wait."""
    max_waiting: Positive = 1000
    """Registrations that wait for their turn; further ones get 503 at once."""

    @model_validator(mode="after")
    def _secret_is_in_one_place(self) -> Self:
        if self.secret is not None and self.secret_file is not None:
            msg = "secret and secret_file are both set; write one of them"
            raise ValueError(msg)
        return self
