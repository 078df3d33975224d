"""The settings themselves: names, types, defaults and bounds.

The names are a contract (`docs/reference/settings.md`); every table here is a table of `fleetkey.toml`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from fleetkey.config.address import Address, parse_address
from fleetkey.config.fields import (
    BindAddress,
    Count,
    FrozenDict,
    FrozenMap,
    Networks,
    OptionalBindAddress,
    Positive,
    StoreUrl,
    Strings,
    Table,
    as_number,
    split_commas,
)
from fleetkey.config.file_values import FileSource
from fleetkey.config.profile_settings import MAX_PROFILES, ProfileSettings, check_profile_name
from fleetkey.config.verifier_settings import HmacSettings, HttpVerifierSettings, PatternSettings
from fleetkey.config.webhook_settings import MAX_HOOKS, WebhookSettings, check_webhook_name

__all__ = [
    "AccessSettings",
    "HttpSettings",
    "LogSettings",
    "MqttSettings",
    "ProfileSettings",
    "RegistrationSettings",
    "Settings",
    "StoreSettings",
    "TopicSettings",
    "WebhookSettings",
]


def _needs_both(certificate: Path | None, key: Path | None) -> None:
    if (certificate is None) != (key is None):
        msg = "tls_cert and tls_key go together; set both or neither"
        raise ValueError(msg)


class HttpSettings(Table):
    """`[http]`: where registration listens."""

    bind: BindAddress = "127.0.0.1:8080"
    """Address to listen on; port 0 lets the system pick."""
    tls_cert: Path | None = None
    """Certificate chain, PEM. With `tls_key`, the listener speaks HTTPS."""
    tls_key: Path | None = None
    """Private key of `tls_cert`, PEM."""
    trusted_proxies: Networks = ()
    """Addresses or networks whose `X-Forwarded-For` is believed."""
    max_connections: Positive = 1_000
    """HTTP connections at once; above it the answer is 503."""
    max_connections_per_address: Count = 100
    """Connections from one address (IPv6: one /64), trusted proxies exempt; above it 503. 0 = no bound."""
    admin_api: bool = True
    """Serve the admin API, `/api/v1`, to whoever has a token."""
    body_timeout_seconds: Annotated[float, Field(gt=0, le=300)] = 10.0
    """How long a request body may take to arrive; then 408."""
    metrics: Literal["off", "loopback", "open"] = "loopback"
    """Who may read `GET /metrics`: nobody, clients on this machine that came through no proxy, or everybody."""

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        _needs_both(self.tls_cert, self.tls_key)
        return self

    @property
    def address(self) -> Address:
        """`bind`, parsed."""
        return parse_address(self.bind)


class MqttSettings(Table):
    """`[mqtt]`: where the broker listens, and its limits."""

    bind: OptionalBindAddress = "127.0.0.1:1883"
    """Plain TCP listener; empty = none."""
    ws_bind: OptionalBindAddress = ""
    """MQTT over WebSocket; empty = none. Speaks TLS when `tls_cert` is set."""
    tls_bind: OptionalBindAddress = ""
    """MQTT over TLS; empty = none. Needs `tls_cert` and `tls_key`."""
    tls_cert: Path | None = None
    """Certificate chain, PEM."""
    tls_key: Path | None = None
    """Private key of `tls_cert`, PEM."""
    advertise_host: str = ""
    """Host that the registration answer names for MQTT; empty = the one the device reached registration on."""
    advertise_port: Annotated[int, Field(ge=0, le=65_535)] = 0
    """Port that the registration answer names, for a broker behind a port mapping; 0 = the listener's own."""
    connect_timeout_seconds: Annotated[float, Field(gt=0, le=300)] = 10.0
    """How long a connection may take to prove who it is."""
    max_connect_bytes: Annotated[int, Field(ge=128, le=1024 * 1024)] = 16 * 1024
    """Announced length of a CONNECT; above it the connection is closed."""
    max_packet_bytes: Annotated[int, Field(ge=128, le=256 * 1024 * 1024)] = 256 * 1024
    """Length of any other packet; above it the connection is closed."""
    max_connections: Positive = 20_000
    """Connections at once; further ones are closed."""
    max_connections_per_address: Count = 0
    """Connections from one address (IPv6: one /64); 0 = no bound, as it must be behind a proxy or NAT."""
    max_pending_connections: Positive = 4_000
    """Connections that have not proven who they are, at once."""
    max_pending_per_address: Count = 1_000
    """The same from one address (IPv6: one /64); 0 = no bound of its own."""
    max_topic_bytes: Annotated[int, Field(ge=1, le=65_535)] = 1_024
    """Length of a topic or filter; a longer topic closes the connection, a longer filter is refused."""
    max_topic_levels: Annotated[int, Field(ge=1, le=512)] = 32
    """Levels of a topic or filter, likewise."""
    max_subscriptions_per_device: Positive = 100
    """Subscriptions of a device's session; further filters are refused with 0x80."""
    max_subscriptions_per_application: Positive = 1_000
    """Subscriptions of an application's session."""
    max_inflight: Annotated[int, Field(ge=1, le=10_000)] = 32
    """QoS 1 and 2 messages sent to a client and not acknowledged; further ones wait."""
    max_queued_messages: Positive = 1_000
    """Messages that wait in one session; further ones are dropped."""
    max_queued_bytes: Positive = 4 * 1024 * 1024
    """Bytes that wait in one session."""
    max_retained: Positive = 100
    """Retained messages that one device, or one application key, may have; further ones are not retained."""
    max_unreleased: Annotated[int, Field(ge=1, le=10_000)] = 100
    """QoS 2 messages of a client that wait for its PUBREL; one more closes the connection."""
    write_buffer_bytes: Annotated[int, Field(ge=1024, le=1024 * 1024 * 1024)] = 1024 * 1024
    """Bytes that wait for a client that doesn't read; above it, it gets no QoS 0 messages and is not read from."""
    session_expiry_seconds: Annotated[int, Field(ge=1, le=10 * 365 * 86_400)] = 7 * 86_400
    """How long a persistent session outlives its connection."""
    presence_flush_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 1.0
    """How often who came and went is recorded."""
    presence_seen_seconds: Annotated[float, Field(ge=1, le=86_400)] = 60.0
    """How often it is recorded when each connected device was last heard of."""

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        _needs_both(self.tls_cert, self.tls_key)
        if self.tls_bind and self.tls_cert is None:
            msg = "tls_bind needs tls_cert and tls_key"
            raise ValueError(msg)
        if not (self.bind or self.tls_bind or self.ws_bind):
            msg = "the broker needs at least one of bind, tls_bind and ws_bind"
            raise ValueError(msg)
        return self


class RegistrationSettings(Table):
    """`[registration]`: who may register, and what happens when it comes again."""

    verifiers: Annotated[
        tuple[Literal["allowlist", "pattern", "hmac", "http", "open"], ...], NoDecode, BeforeValidator(split_commas)
    ] = ("allowlist",)
    """All of these must accept a serial; the default is closed: only listed serials."""
    open_beyond_loopback: bool = False
    """Let the `open` verifier serve an address that other machines can reach."""
    refuse_status: Annotated[Literal[400, 401], BeforeValidator(as_number)] = 400
    """HTTP status for a serial that may not register."""
    reregistration: Literal["rotate", "add", "deny"] = "rotate"
    """What a known device gets: `rotate` a new key, and the older ones end when it first connects or when
    `grace_seconds` are over; `add` one more key; `deny` 409."""
    grace_seconds: Annotated[int, Field(ge=0, le=365 * 86_400)] = 86_400
    """With `rotate`, how long the older keys still work if the new one never connects."""
    max_keys: Annotated[int, Field(ge=1, le=1_000)] = 50
    """Active keys a device may hold; above it the oldest is retired, one that never connected first."""
    key_lifetime_seconds: Annotated[int, Field(ge=0, le=10 * 365 * 86_400)] = 0
    """How long a device's key works; then the device registers again. 0 = no end."""
    require_approval: bool = False
    """New devices wait for `fleetkey devices approve`."""
    approval_retry_seconds: Positive = 60
    """`Retry-After` of the 202 that a waiting device gets."""
    max_per_address_per_minute: Count = 60
    """Registration attempts from one address (IPv6: one /64); 0 = no limit."""
    max_per_serial_per_hour: Count = 20
    """Registration attempts for one serial; 0 = no limit."""
    max_tracked: Positive = 10_000
    """Addresses, and serials, whose attempts are remembered at once; the least recent is forgotten first."""
    pattern: PatternSettings = PatternSettings()
    hmac: HmacSettings = HmacSettings()
    http: HttpVerifierSettings = HttpVerifierSettings()

    @model_validator(mode="after")
    def _someone_decides(self) -> Self:
        if not self.verifiers:
            msg = 'verifiers must name at least one verifier; to let every serial in, write ["open"]'
            raise ValueError(msg)
        missing = {
            "pattern": ("registration.pattern.serials", self.pattern.serials),
            "hmac": ("registration.hmac.secrets or secret_files", self.hmac.secrets or self.hmac.secret_files),
            "http": ("registration.http.url", self.http.url),
        }
        for verifier in self.verifiers:
            setting, value = missing.get(verifier, ("", True))
            if not value:
                msg = f"the verifier {verifier} in verifiers needs {setting}"
                raise ValueError(msg)
        if "http" in self.verifiers and self.http.secret is None and self.http.secret_file is None:
            msg = "the verifier http in verifiers needs registration.http.secret_file or secret, to sign what it asks"
            raise ValueError(msg)
        return self


class TopicSettings(Table):
    """`[topics]`: what a device may publish and subscribe to."""

    preset: Literal["default", "losant"] = "default"
    """`default`: `devices/{device_id}/#`; `losant`: Losant's state and command topics."""
    publish: Strings = ()
    """Patterns instead of the preset's; `{device_id}`, `{serial}` and `{tag:NAME}` are filled in."""
    subscribe: Strings = ()
    """Patterns instead of the preset's."""


class AccessSettings(Table):
    """`[access]`: how connecting clients are checked."""

    bcrypt_rounds: Annotated[int, Field(ge=4, le=14)] = 4
    """Cost of new hashes of generated secrets (ADR 0002)."""
    cache_seconds: Annotated[int, Field(ge=0, le=86_400)] = 3_600
    """How long a verified secret is remembered; 0 = never."""
    max_cached: Positive = 100_000
    """Verified secrets remembered at once; the least recent is forgotten first."""
    hash_workers: Annotated[int, Field(ge=1, le=64)] = 2
    """Threads that hash and verify secrets."""
    max_pending_hashes: Positive = 4_000
    """Logins and registrations that wait for a thread; above it the answer is CONNACK 3 or 503."""
    max_scope_devices: Positive = 100_000
    """Devices that one application key may reach by id or by tag; a key with more is refused. `--all-devices` has no
    such bound."""
    max_failures_per_address_per_minute: Count = 60
    """Failed logins from one address (IPv6: one /64) before its further unknown secrets are checked one at a time;
    0 = no limit."""
    max_failures_per_key_per_minute: Count = 20
    """Failed logins with one key before further ones are checked one at a time; 0 = no limit."""
    max_tracked: Positive = 10_000
    """Addresses, and keys, whose failed logins are remembered at once; the least recent is forgotten first."""


class StoreSettings(Table):
    """`[store]`: where the registry is kept."""

    url: StoreUrl = ""
    """`sqlite:///path`; empty = `fleetkey.db` in `data_dir`."""
    busy_timeout_seconds: Annotated[float, Field(gt=0, le=300)] = 8.0
    """How long a change waits for another process that is writing."""
    max_audit_rows: Positive = 1_000_000
    """Audit rows kept of what operators, devices and the server did; above it the oldest go."""
    max_stranger_audit_rows: Positive = 100_000
    """Audit rows kept of what strangers caused, such as refused registrations; above it the oldest of them go."""
    max_change_rows: Positive = 1_000_000
    """Rows of the change feed kept; above it the oldest go."""
    max_audit_days: Annotated[int, Field(ge=0, le=36_500)] = 0
    """Days for which audit rows are kept; 0 = by number alone."""
    backup_days: Annotated[int, Field(ge=0, le=3_650)] = 0
    """Age of the newest backup above which `fleetkey doctor` warns; 0 = never."""


class LogSettings(Table):
    """`[log]`: log lines, on standard error."""

    format: Literal["auto", "pretty", "json"] = "auto"
    """`auto`: pretty on a terminal, JSON otherwise."""
    level: Literal["debug", "info", "warning", "error"] = "info"


class Settings(BaseSettings):
    """All settings, frozen. Build one with `load_settings`."""

    model_config = SettingsConfigDict(
        env_prefix="FLEETKEY_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        validate_default=True,
        hide_input_in_errors=True,
    )

    data_dir: Path = Path("fleetkey-data")
    """Folder of the registry; made on first use, for its owner alone."""
    http: HttpSettings = HttpSettings()
    mqtt: MqttSettings = MqttSettings()
    registration: RegistrationSettings = RegistrationSettings()
    topics: TopicSettings = TopicSettings()
    access: AccessSettings = AccessSettings()
    store: StoreSettings = StoreSettings()
    log: LogSettings = LogSettings()
    profiles: Annotated[FrozenMap[ProfileSettings], Field(max_length=MAX_PROFILES)] = FrozenDict()
    """What devices of a kind get when they are created, by name of the profile."""
    webhooks: Annotated[FrozenMap[WebhookSettings], Field(max_length=MAX_HOOKS)] = FrozenDict()
    """Whom to tell of what happens, by name of the webhook."""

    @field_validator("profiles")
    @classmethod
    def _profiles_have_names(cls, profiles: Mapping[str, ProfileSettings]) -> Mapping[str, ProfileSettings]:
        for name in profiles:
            check_profile_name(name)
        return profiles

    @field_validator("webhooks")
    @classmethod
    def _webhooks_have_names(cls, webhooks: Mapping[str, WebhookSettings]) -> Mapping[str, WebhookSettings]:
        for name in webhooks:
            check_webhook_name(name)
        return webhooks

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags over variables over the file."""
        return init_settings, env_settings, FileSource(settings_cls)

    @model_validator(mode="after")
    def _open_stays_home(self) -> Self:
        open_to_all = "open" in self.registration.verifiers and len(set(self.registration.verifiers)) == 1
        if open_to_all and not self.http.address.is_loopback and not self.registration.open_beyond_loopback:
            msg = (
                "registration.verifiers is open to every serial and http.bind can be reached from other machines; "
                "bind to loopback, use the allowlist, or set registration.open_beyond_loopback = true"
            )
            raise ValueError(msg)
        return self
