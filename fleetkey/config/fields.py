"""The types of settings, with bounds, and checks with clear error messages."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    WrapSerializer,
)
from pydantic_settings import NoDecode

from fleetkey.config.address import AddressError, parse_address

__all__ = [
    "AS_BYTES",
    "BindAddress",
    "Count",
    "FrozenDict",
    "FrozenMap",
    "Networks",
    "OptionalBindAddress",
    "Positive",
    "Size",
    "StoreUrl",
    "Strings",
    "Table",
    "as_number",
    "split_commas",
]

MAX_COUNT = 1_000_000_000
MAX_SIZE_BYTES = 2**50
"""The highest value of a setting in bytes."""
SQLITE_SCHEME = "sqlite:///"
UNITS = ("", "KiB", "MiB", "GiB", "TiB")
SIZE = re.compile(rf"([0-9]{{1,15}}) ?({'|'.join(UNITS)})")


def split_commas(value: object) -> object:
    """Accept `a,b` as a list, for variables and flags."""
    if isinstance(value, str):
        return [part.strip() for part in value.split(",") if part.strip()]
    return value


def _address(value: str) -> str:
    if value:
        try:
            parse_address(value)
        except AddressError as error:
            raise ValueError(str(error)) from None
    return value


def _required_address(value: str) -> str:
    if not value:
        msg = "an address is required, such as 127.0.0.1:8080"
        raise ValueError(msg)
    return _address(value)


def _store_url(value: str) -> str:
    if value and (not value.startswith(SQLITE_SCHEME) or value == SQLITE_SCHEME):
        msg = f"{value.partition(':')[0]!r} is not a supported store; write sqlite:///path or leave it empty"
        raise ValueError(msg)
    return value


def _networks(values: tuple[str, ...]) -> tuple[str, ...]:
    networks = []
    for value in values:
        try:
            network = ipaddress.ip_network(value, strict=False)
        except ValueError:
            msg = f"{value!r} is neither an IP address nor a network such as 10.0.0.0/8"
            raise ValueError(msg) from None
        networks.append(str(network) if "/" in value else value)
    return tuple(networks)


def as_number(value: object) -> object:
    """Accept a number as text, for variables."""
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


def _as_bytes(value: object) -> object:
    """Accept `512MiB` for a number of bytes."""
    if isinstance(value, str):
        found = SIZE.fullmatch(value)
        if found is None:
            msg = "write a number of bytes, or a number with KiB, MiB, GiB or TiB, such as 512MiB"
            raise ValueError(msg)
        return int(found[1]) * 1024 ** UNITS.index(found[2])
    return value


V = TypeVar("V")


class FrozenDict(Mapping[str, V]):
    """An immutable mapping, so that settings can't change after they were read."""

    __slots__ = ("_values",)

    def __init__(self, values: Mapping[str, V] | None = None) -> None:
        self._values = dict(values or {})

    def __getitem__(self, name: str) -> V:
        """Return a value."""
        return self._values[name]

    def __iter__(self) -> Iterator[str]:
        """Yield the names, in the order of the file."""
        return iter(self._values)

    def __len__(self) -> int:
        """Return the number of names."""
        return len(self._values)

    def __repr__(self) -> str:
        """Return a plain dict."""
        return repr(self._values)

    def __deepcopy__(self, memo: object) -> FrozenDict[V]:
        """Return itself, since it is immutable."""
        return self


def _thaw(value: Mapping[str, Any], handler: SerializerFunctionWrapHandler) -> Any:
    return handler(dict(value))


FrozenMap = Annotated[Mapping[str, V], AfterValidator(FrozenDict), WrapSerializer(_thaw)]
Strings = Annotated[tuple[str, ...], NoDecode, BeforeValidator(split_commas)]
BindAddress = Annotated[str, AfterValidator(_required_address)]
OptionalBindAddress = Annotated[str, AfterValidator(_address)]
Count = Annotated[int, Field(ge=0, le=MAX_COUNT)]
Positive = Annotated[int, Field(ge=1, le=MAX_COUNT)]
AS_BYTES = BeforeValidator(_as_bytes)
"""In the metadata of a setting that may be a text such as `512MiB`."""
Size = Annotated[int, AS_BYTES, Field(le=MAX_SIZE_BYTES)]
Networks = Annotated[Strings, AfterValidator(_networks)]
StoreUrl = Annotated[str, AfterValidator(_store_url)]


class Table(BaseModel):
    """A table of `fleetkey.toml`: frozen, and unknown names are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, hide_input_in_errors=True)
