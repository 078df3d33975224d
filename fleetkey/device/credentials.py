"""A device's credentials, parsed strictly, with a secret that isn't shown by accident."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from fleetkey.device import credentials_file
from fleetkey.device.errors import CredentialsFileError
from fleetkey.device.topics import check_topic_filter

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Credentials", "MalformedCredentialsError", "MqttSettings", "Secret"]

DEVICE_ID = re.compile(r"[0-9a-f]{24}")
ACCESS_KEY = re.compile(r"[0-9a-f]{32}")
ACCESS_SECRET = re.compile(r"[0-9a-f]{64}")
MAX_TEXT_LENGTH = 255
MAX_PORT = 65_535
MAX_FILTERS = 100


class MalformedCredentialsError(ValueError):
    """A document does not contain valid credentials; the message names the field, never its value.

    Attributes:
        kind: `unusable` if the document is valid JSON for something else, otherwise `corrupt`.
    """

    def __init__(self, reason: str, *, kind: Literal["corrupt", "unusable"] = "corrupt") -> None:
        super().__init__(reason)
        self.kind = kind


class Secret:
    """A string that is only shown by `reveal()`."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value: Final = value

    def reveal(self) -> str:
        """Return the secret itself. Call it only to pass it to the protocol or to write it to its file."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('…')"

    def __str__(self) -> str:
        return "…"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __reduce__(self) -> str:
        raise TypeError("a Secret can't be pickled or copied")


@dataclass(frozen=True, slots=True, kw_only=True)
class MqttSettings:
    """The broker's address, and what the credentials allow there.

    Attributes:
        host: name or IP address.
        port: 1 to 65535.
        tls: whether the port uses TLS.
        client_id: the MQTT client id to use; None lets an application choose its own.
        publish: topic filters that may be published to.
        subscribe: topic filters that may be subscribed to.
    """

    host: str
    port: int
    tls: bool
    client_id: str | None
    publish: tuple[str, ...]
    subscribe: tuple[str, ...]

    @property
    def address(self) -> str:
        """`host:port` for people, with brackets around an IPv6 host."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A key, its secret and the broker they are for.

    Attributes:
        key: the access key, the MQTT user name.
        secret: the access secret, the MQTT password.
        mqtt: the broker.
        device_id: 24 hex digits, or None for an application key.
        serial: the serial they were issued for; None if the file doesn't say.
    """

    key: str
    secret: Secret
    mqtt: MqttSettings
    device_id: str | None = None
    serial: str | None = None

    @classmethod
    def parse(cls, text: bytes | str) -> Credentials:
        """Parse a registration response or a credentials file; unknown fields are ignored.

        With a `deviceId`, the formats of id, key and secret are checked exactly. Without one, it is an application
        key, whose secret a person may have chosen.

        Raises:
            MalformedCredentialsError: a field is missing or wrong; names it.
        """
        document = _read_json(text)
        if not isinstance(document, dict) or not document.keys() & {"deviceId", "key", "secret", "mqtt"}:
            raise MalformedCredentialsError("not credentials", kind="unusable")
        fields = _Fields(document)
        device_id = fields.matching("deviceId", DEVICE_ID) if "deviceId" in document else None
        if device_id is None:
            key, secret = fields.text("key"), fields.text("secret")
        else:
            key, secret = fields.matching("key", ACCESS_KEY), fields.matching("secret", ACCESS_SECRET)
        mqtt = document.get("mqtt")
        if not isinstance(mqtt, dict):
            raise MalformedCredentialsError("mqtt is not an object")
        return cls(
            key=key,
            secret=Secret(secret),
            mqtt=_parse_mqtt(_Fields(mqtt, "mqtt."), device_id),
            device_id=device_id,
            serial=fields.text("serial") if "serial" in document else None,
        )

    @classmethod
    def load(cls, path: Path) -> Credentials:
        """Read a credentials file: a device's, or an application key's.

        Raises:
            CredentialsFileError: `missing`; `corrupt` if it is incomplete or damaged; `unusable` if it can't be read or
                contains something else.
        """
        try:
            return cls.parse(credentials_file.read(path))
        except MalformedCredentialsError as error:
            raise CredentialsFileError(path, str(error), kind=error.kind) from error

    def save(self, path: Path) -> None:
        """Write the file atomically: after a power cut, either the old or the new file exists.

        Raises:
            CredentialsFileError: `unusable` if it can't be written; the old file is unchanged.
        """
        credentials_file.write(path, json.dumps(self._document(), indent=2, ensure_ascii=False).encode() + b"\n")

    def _document(self) -> dict[str, object]:
        mqtt: dict[str, object] = {"host": self.mqtt.host, "port": self.mqtt.port, "tls": self.mqtt.tls}
        if self.mqtt.client_id is not None:
            mqtt["clientId"] = self.mqtt.client_id
        mqtt |= {"publish": list(self.mqtt.publish), "subscribe": list(self.mqtt.subscribe)}
        document: dict[str, object] = {} if self.device_id is None else {"deviceId": self.device_id}
        document |= {"key": self.key, "secret": self.secret.reveal(), "mqtt": mqtt}
        return document if self.serial is None else document | {"serial": self.serial}


def _read_json(text: bytes | str) -> object:
    document: object = None
    is_json = True
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        is_json = False
    # Raised here, outside the handler, because the parser's exception contains the whole text with the secret.
    if not is_json:
        raise MalformedCredentialsError("not JSON")
    return document


def _parse_mqtt(fields: _Fields, device_id: str | None) -> MqttSettings:
    client_id = fields.text("clientId") if device_id is not None or "clientId" in fields.document else None
    if device_id is not None and client_id != device_id:
        raise MalformedCredentialsError("mqtt.clientId is not the device id")
    port, tls = fields.document.get("port"), fields.document.get("tls")
    if isinstance(port, bool) or not isinstance(port, int) or not 1 <= port <= MAX_PORT:
        raise MalformedCredentialsError("mqtt.port is not a number from 1 to 65535")
    if not isinstance(tls, bool):
        raise MalformedCredentialsError("mqtt.tls is not true or false")
    host = fields.text("host")
    if any(character.isspace() for character in host):
        raise MalformedCredentialsError("mqtt.host has whitespace in it")
    return MqttSettings(
        host=host,
        port=port,
        tls=tls,
        client_id=client_id,
        # An application's topics aren't listed: they follow tags, and there may be very many.
        publish=fields.filters("publish") if device_id or "publish" in fields.document else (),
        subscribe=fields.filters("subscribe") if device_id or "subscribe" in fields.document else (),
    )


class _Fields:
    """A JSON object, read strictly; every error names the field, but never its value."""

    def __init__(self, document: Mapping[str, object], prefix: str = "") -> None:
        self.document = document
        self._prefix = prefix

    def text(self, name: str) -> str:
        value = self.document.get(name)
        # isprintable() also refuses lone surrogates, which JSON can express but UTF-8 can't encode.
        if not isinstance(value, str) or not 0 < len(value) <= MAX_TEXT_LENGTH or not value.isprintable():
            raise MalformedCredentialsError(f"{self._prefix}{name} is not a printable text of 1 to 255 characters")
        return value

    def matching(self, name: str, form: re.Pattern[str]) -> str:
        value = self.document.get(name)
        if not isinstance(value, str) or form.fullmatch(value) is None:
            raise MalformedCredentialsError(f"{self._prefix}{name} does not have the required format ({form.pattern})")
        return value

    def filters(self, name: str) -> tuple[str, ...]:
        value = self.document.get(name)
        if not isinstance(value, list) or len(value) > MAX_FILTERS:
            raise MalformedCredentialsError(
                f"{self._prefix}{name} is not a list of at most {MAX_FILTERS} topic filters"
            )
        filters: list[str] = []
        for item in value:
            if not isinstance(item, str) or not item.isprintable():
                raise MalformedCredentialsError(f"{self._prefix}{name} contains something other than printable text")
            try:
                check_topic_filter(item)
            except ValueError as error:
                raise MalformedCredentialsError(
                    f"{self._prefix}{name} contains an invalid topic filter: {error}"
                ) from error
            filters.append(item)
        return tuple(filters)
