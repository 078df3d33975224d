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
from fleetkey.config.limit_settings import LimitSettings
from fleetkey.config.profile_settings import MAX_PROFILES, ProfileSettings, check_profile_name
from fleetkey.config.verifier_settings import HmacSettings, HttpVerifierSettings, PatternSettings
from fleetkey.config.webhook_settings import MAX_HOOKS, WebhookSettings, check_webhook_name

__all__ = [
    "AccessSettings",
    "HttpSettings",
    "LimitSettings",
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
        msg = "set both tls_cert and tls_key, or neither"
        raise ValueError(msg)


class HttpSettings(Table):
    """`[http]`: the HTTP listener for registration and the admin API."""

    bind: BindAddress = "127.0.0.1:8080"
    """Address to listen on; port 0 lets the system choose one."""
    tls_cert: Path | None = None
    """Certificate chain, PEM. With `tls_key`, the listener uses HTTPS."""
    tls_key: Path | None = None
    """Private key of `tls_cert`, PEM."""
    trusted_proxies: Networks = ()
    """Addresses or networks whose `X-Forwarded-For` is trusted."""
    max_connections: Positive = 1_000
    """Maximum number of HTTP connections; further ones get 503."""
    max_connections_per_address: Count = 100
    """Maximum number of connections from one address (IPv6: one /64), except trusted proxies; further ones get 503.
    0 = no limit."""
    admin_api: bool = True
    """Whether to serve the admin API, `/api/v1`, to clients with a token."""
    body_timeout_seconds: Annotated[float, Field(gt=0, le=300)] = 10.0
    """How long a request body may take to arrive before the response is 408."""
    metrics: Literal["off", "loopback", "open"] = "loopback"
    """Who may read `GET /metrics`: nobody, clients on this machine without a proxy, or everybody."""

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        _needs_both(self.tls_cert, self.tls_key)
        return self

    @property
    def address(self) -> Address:
        """The parsed `bind`."""
        return parse_address(self.bind)


class MqttSettings(Table):
    """`[mqtt]`: the broker's listeners and limits."""

    bind: OptionalBindAddress = "127.0.0.1:1883"
    """Plain TCP listener; empty = none."""
    ws_bind: OptionalBindAddress = ""
    """MQTT over WebSocket; empty = none. Uses TLS if `tls_cert` is set."""
    tls_bind: OptionalBindAddress = ""
    """MQTT over TLS; empty = none. Requires `tls_cert` and `tls_key`."""
    tls_cert: Path | None = None
    """Certificate chain, PEM."""
    tls_key: Path | None = None
    """Private key of `tls_cert`, PEM."""
    advertise_host: str = ""
    """MQTT host in registration responses; empty = the host under which the device reached registration."""
    advertise_port: Annotated[int, Field(ge=0, le=65_535)] = 0
    """MQTT port in registration responses, for a broker behind a port mapping; 0 = the listener's own."""
    connect_timeout_seconds: Annotated[float, Field(gt=0, le=300)] = 10.0
    """How long a connection may take to authenticate."""
    max_connect_bytes: Annotated[int, Field(ge=128, le=1024 * 1024)] = 16 * 1024
    """Maximum length of a CONNECT, as announced; a longer one closes the connection."""
    max_packet_bytes: Annotated[int, Field(ge=128, le=256 * 1024 * 1024)] = 256 * 1024
    """Maximum length of any other packet; a longer one closes the connection."""
    max_connections: Positive = 20_000
    """Maximum number of connections; further ones are closed."""
    max_connections_per_address: Count = 0
    """Maximum number of connections from one address (IPv6: one /64); 0 = no limit, as needed behind a proxy or NAT."""
    max_pending_connections: Positive = 4_000
    """Maximum number of connections that have not authenticated yet."""
    max_pending_per_address: Count = 1_000
    """The same for one address (IPv6: one /64); 0 = no separate limit."""
    max_topic_bytes: Annotated[int, Field(ge=1, le=65_535)] = 1_024
    """Maximum length of a topic or filter; a longer topic closes the connection, a longer filter is refused."""
    max_topic_levels: Annotated[int, Field(ge=1, le=512)] = 32
    """Maximum number of levels in a topic or filter, with the same effect."""
    max_subscriptions_per_device: Positive = 100
    """Maximum number of subscriptions in a device's session; further filters are refused with 0x80."""
    max_subscriptions_per_application: Positive = 1_000
    """Maximum number of subscriptions in an application's session."""
    max_connections_per_application: Positive = 1_000
    """Maximum number of connections with one application key; further ones get CONNACK 3."""
    max_sessions_per_application: Positive = 2_000
    """Maximum number of sessions of one application key, connected or not; clients without one get CONNACK 3."""
    max_filters_per_application: Positive = 10_000
    """Maximum number of subscriptions in all sessions of one application key; further filters are refused with 0x80."""
    max_messages_per_second: Count = 0
    """How many messages a device may publish per second before it is read from more slowly; 0 = no limit."""
    max_bytes_per_second: Count = 0
    """How many bytes of messages a device may publish per second, with the same effect; 0 = no limit."""
    max_inflight: Annotated[int, Field(ge=1, le=10_000)] = 32
    """Maximum number of unacknowledged QoS 1 and 2 messages to a client; further ones are queued."""
    max_queued_messages: Positive = 1_000
    """Maximum number of messages queued in one session; further ones are dropped."""
    max_queued_bytes: Positive = 4 * 1024 * 1024
    """Maximum number of bytes queued in one session."""
    max_retained: Positive = 100
    """Maximum number of retained messages of one device or application key; further ones are not retained."""
    max_unreleased: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Maximum number of a client's QoS 2 messages awaiting PUBREL; one more closes the connection."""
    write_buffer_bytes: Annotated[int, Field(ge=1024, le=1024 * 1024 * 1024)] = 1024 * 1024
    """Maximum number of bytes waiting for a slow client; above it, QoS 0 messages are dropped and reading stops."""
    session_expiry_seconds: Annotated[int, Field(ge=1, le=10 * 365 * 86_400)] = 7 * 86_400
    """How long a persistent session is kept after its connection ends."""
    max_properties: Annotated[int, Field(ge=1, le=10_000)] = 128
    """Maximum number of properties of an MQTT 5 packet; one with more closes the connection."""
    max_property_bytes: Annotated[int, Field(ge=16, le=1024 * 1024)] = 16 * 1024
    """Maximum length of the properties of an MQTT 5 packet, with the same effect."""
    max_user_properties: Annotated[int, Field(ge=0, le=10_000)] = 64
    """Maximum number of user properties of an MQTT 5 packet, with the same effect."""
    max_topic_aliases: Annotated[int, Field(ge=0, le=1_000)] = 16
    """Maximum number of topic aliases of an MQTT 5 connection, in each direction; 0 = none."""
    max_shared_groups: Positive = 100
    """Maximum number of groups of shared subscriptions of one device or application key; filters that would need
    another one are refused."""
    max_shared_members: Positive = 100
    """Maximum number of sessions in such a group; further ones are refused."""
    max_will_delay_seconds: Annotated[int, Field(ge=0, le=365 * 86_400)] = 86_400
    """Longest will delay of an MQTT 5 client; a longer one is treated as this."""
    max_message_expiry_seconds: Annotated[int, Field(ge=1, le=10 * 365 * 86_400)] = 30 * 86_400
    """Longest message expiry interval of an MQTT 5 client; a longer one is treated as this."""
    max_keep_alive_seconds: Annotated[int, Field(ge=0, le=65_535)] = 0
    """Longest keep-alive of an MQTT 5 client, which is told to use it instead of a longer one; 0 = no limit."""
    presence_flush_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 1.0
    """How often connects and disconnects are recorded."""
    presence_seen_seconds: Annotated[float, Field(ge=1, le=86_400)] = 60.0
    """How often the time of last contact of connected devices is recorded."""

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        _needs_both(self.tls_cert, self.tls_key)
        if self.tls_bind and self.tls_cert is None:
            msg = "tls_bind requires tls_cert and tls_key"
            raise ValueError(msg)
        if not (self.bind or self.tls_bind or self.ws_bind):
            msg = "the broker needs at least one of bind, tls_bind and ws_bind"
            raise ValueError(msg)
        return self


class RegistrationSettings(Table):
    """`[registration]`: who may register, and what happens when a device registers again."""

    verifiers: Annotated[
        tuple[Literal["allowlist", "pattern", "hmac", "http", "open"], ...], NoDecode, BeforeValidator(split_commas)
    ] = ("allowlist",)
    """All of these must accept a serial. The default is closed: only listed serials."""
    open_beyond_loopback: bool = False
    """Allow the `open` verifier on an address that other machines can reach."""
    refuse_status: Annotated[Literal[400, 401], BeforeValidator(as_number)] = 400
    """HTTP status for a serial that may not register."""
    reregistration: Literal["rotate", "add", "deny"] = "rotate"
    """What a known device gets: `rotate`: a new key, and the older ones expire when it first connects or after
    `grace_seconds`; `add`: an additional key; `deny`: 409."""
    grace_seconds: Annotated[int, Field(ge=0, le=365 * 86_400)] = 86_400
    """With `rotate`, how long the older keys keep working if the new one never connects."""
    max_keys: Annotated[int, Field(ge=1, le=1_000)] = 50
    """Maximum number of active keys per device; above it the oldest is retired, and those never used first."""
    key_lifetime_seconds: Annotated[int, Field(ge=0, le=10 * 365 * 86_400)] = 0
    """How long a device's key is valid before the device has to register again; 0 = no limit."""
    require_approval: bool = False
    """Whether new devices wait for `fleetkey devices approve`."""
    approval_retry_seconds: Positive = 60
    """`Retry-After` in the 202 response to a waiting device."""
    max_per_address_per_minute: Count = 60
    """Maximum number of registration attempts from one address (IPv6: one /64); 0 = no limit."""
    max_per_serial_per_hour: Count = 20
    """Maximum number of registration attempts for one serial; 0 = no limit."""
    max_tracked: Positive = 10_000
    """Maximum number of addresses, and of serials, whose attempts are tracked; the least recent is dropped first."""
    pattern: PatternSettings = PatternSettings()
    hmac: HmacSettings = HmacSettings()
    http: HttpVerifierSettings = HttpVerifierSettings()

    @model_validator(mode="after")
    def _someone_decides(self) -> Self:
        if not self.verifiers:
            msg = 'verifiers must name at least one verifier; to accept any serial, write ["open"]'
            raise ValueError(msg)
        missing = {
            "pattern": ("registration.pattern.serials", self.pattern.serials),
            "hmac": ("registration.hmac.secrets or secret_files", self.hmac.secrets or self.hmac.secret_files),
            "http": ("registration.http.url", self.http.url),
        }
        for verifier in self.verifiers:
            setting, value = missing.get(verifier, ("", True))
            if not value:
                msg = f"the verifier {verifier} in verifiers requires {setting}"
                raise ValueError(msg)
        if "http" in self.verifiers and self.http.secret is None and self.http.secret_file is None:
            msg = (
                "the verifier http in verifiers requires registration.http.secret_file or secret, to sign its requests"
            )
            raise ValueError(msg)
        return self


class TopicSettings(Table):
    """`[topics]`: what a device may publish and subscribe to."""

    preset: Literal["default", "losant"] = "default"
    """`default`: `devices/{device_id}/#`; `losant`: Losant's state and command topics."""
    publish: Strings = ()
    """Patterns instead of the preset's, with placeholders `{device_id}`, `{serial}` and `{tag:NAME}`."""
    subscribe: Strings = ()
    """Patterns instead of the preset's."""
    shared: bool = False
    """Whether devices are meant to share topics; otherwise patterns that let them do so are warned about."""


class AccessSettings(Table):
    """`[access]`: how clients are authenticated."""

    bcrypt_rounds: Annotated[int, Field(ge=4, le=14)] = 4
    """Cost of new hashes of generated secrets (ADR 0002)."""
    cache_seconds: Annotated[int, Field(ge=0, le=86_400)] = 3_600
    """How long a verified secret is cached; 0 = not at all."""
    max_cached: Positive = 100_000
    """Maximum number of cached secrets; the least recent is dropped first."""
    hash_workers: Annotated[int, Field(ge=1, le=64)] = 2
    """Threads that hash and verify secrets."""
    max_pending_hashes: Positive = 4_000
    """Maximum number of logins and registrations that wait for a thread; further ones get CONNACK 3 or 503."""
    max_scope_devices: Positive = 100_000
    """Maximum number of devices that an application key may access by id or by tag; a key with more is refused.
    `--all-devices` has no such limit."""
    max_failures_per_address_per_minute: Count = 60
    """Failed logins from one address (IPv6: one /64) before its further secrets that aren't cached are checked one at a
    time; 0 = no limit."""
    max_failures_per_key_per_minute: Count = 20
    """Failed logins with one key before further ones are checked one at a time; 0 = no limit."""
    max_tracked: Positive = 10_000
    """Maximum number of addresses, and of keys, whose failed logins are tracked; the least recent is dropped first."""


class StoreSettings(Table):
    """`[store]`: where the registry is stored, and for how long."""

    url: StoreUrl = ""
    """`sqlite:///path`; empty = `fleetkey.db` in `data_dir`."""
    busy_timeout_seconds: Annotated[float, Field(gt=0, le=300)] = 8.0
    """How long a change waits while another process writes."""
    max_audit_rows: Positive = 1_000_000
    """Maximum number of audit entries about operators, devices and the server; above it the oldest are deleted."""
    max_stranger_audit_rows: Positive = 100_000
    """Maximum number of audit entries caused by strangers, such as refused registrations; the oldest are deleted."""
    max_change_rows: Positive = 1_000_000
    """Maximum number of rows in the change feed; above it the oldest are deleted."""
    max_refusals: Annotated[int, Field(ge=1, le=10_000_000)] = 100_000
    """Maximum number of refusal records about devices, application keys and listed serials; above it the oldest are
    deleted."""
    max_refusals_per_device: Annotated[int, Field(ge=1, le=1_000)] = 40
    """The same for one device, application key or listed serial."""
    max_stranger_refusals: Annotated[int, Field(ge=1, le=10_000_000)] = 10_000
    """Maximum number of refusal records about strangers; the oldest are deleted."""
    max_refusal_days: Annotated[int, Field(ge=0, le=36_500)] = 30
    """How many days a refusal record is kept after its last refusal; 0 = limited only by number."""
    max_audit_days: Annotated[int, Field(ge=0, le=36_500)] = 0
    """How many days audit entries are kept; 0 = limited only by number."""
    backup_days: Annotated[int, Field(ge=0, le=3_650)] = 0
    """`fleetkey doctor` warns if the newest backup is older than this; 0 = never."""


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
    """Directory of the registry; created on first use, accessible only to its owner."""
    http: HttpSettings = HttpSettings()
    mqtt: MqttSettings = MqttSettings()
    registration: RegistrationSettings = RegistrationSettings()
    topics: TopicSettings = TopicSettings()
    access: AccessSettings = AccessSettings()
    limits: LimitSettings = LimitSettings()
    store: StoreSettings = StoreSettings()
    log: LogSettings = LogSettings()
    profiles: Annotated[FrozenMap[ProfileSettings], Field(max_length=MAX_PROFILES)] = FrozenDict()
    """Profiles by name: what devices of one kind get when they are created."""
    webhooks: Annotated[FrozenMap[WebhookSettings], Field(max_length=MAX_HOOKS)] = FrozenDict()
    """Webhooks by name."""

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
        """Flags override variables, which override the file."""
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
