"""Settings: one frozen object from `fleetkey.toml`, `FLEETKEY_*` variables and flags."""

from fleetkey.config.address import Address, AddressError, parse_address
from fleetkey.config.endpoint import MqttEndpoint
from fleetkey.config.loader import DEFAULT_FILE, STARTER_VARIABLE, SettingsError, load_settings
from fleetkey.config.profile_settings import ProfileSettings
from fleetkey.config.serial_pattern import PatternError, SerialPattern
from fleetkey.config.settings import (
    AccessSettings,
    HttpSettings,
    LimitSettings,
    LogSettings,
    MqttSettings,
    RegistrationSettings,
    Settings,
    StoreSettings,
    TopicSettings,
)
from fleetkey.config.verifier_settings import HmacSettings, HttpVerifierSettings, PatternSettings
from fleetkey.config.webhook_settings import WebhookEvent, WebhookSettings

__all__ = [
    "DEFAULT_FILE",
    "STARTER_VARIABLE",
    "AccessSettings",
    "Address",
    "AddressError",
    "HmacSettings",
    "HttpSettings",
    "HttpVerifierSettings",
    "LimitSettings",
    "LogSettings",
    "MqttEndpoint",
    "MqttSettings",
    "PatternError",
    "PatternSettings",
    "ProfileSettings",
    "RegistrationSettings",
    "SerialPattern",
    "Settings",
    "SettingsError",
    "StoreSettings",
    "TopicSettings",
    "WebhookEvent",
    "WebhookSettings",
    "load_settings",
    "parse_address",
]
