"""The settings of verifiers, one table for each."""

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
    """Group names to secrets of at least 32 characters. A proof by any of them is accepted, so they can be rotated."""
    secret_files: Annotated[FrozenMap[Path], Field(max_length=MAX_GROUPS)] = FrozenDict()
    """Group names to files that contain only a secret; a line break at the end is ignored."""

    @model_validator(mode="after")
    def _groups_have_one_secret(self) -> Self:
        both = sorted(self.secrets.keys() & self.secret_files.keys())
        if both:
            msg = f"the group {both[0]} is in both secrets and secret_files; list it once"
            raise ValueError(msg)
        return self


class HttpVerifierSettings(Table):
    """`[registration.http]`: your own API, which decides who may register."""

    url: Annotated[str, AfterValidator(check_url)] = ""
    """Where to post each claim; `https://`, or `http://` on this machine."""
    secret: SecretStr | None = None
    """The secret that signs requests; at least 32 characters."""
    secret_file: Path | None = None
    """A file that contains only the secret, instead of `secret`."""
    ca_file: Path | None = None
    """PEM file with the only certificate authorities to trust; by default, the usual ones."""
    timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 5.0
    """Time limit for a response, including the wait before the request; then the device gets 503."""
    max_concurrent: Annotated[int, Field(ge=1, le=1000)] = 20
    """Maximum number of concurrent requests to the API; further ones wait."""
    max_waiting: Positive = 1000
    """Maximum number of registrations that wait; further ones get 503 at once."""

    @model_validator(mode="after")
    def _secret_is_in_one_place(self) -> Self:
        if self.secret is not None and self.secret_file is not None:
            msg = "secret and secret_file are both set; set only one of them"
            raise ValueError(msg)
        return self
