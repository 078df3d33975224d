"""Settings: one frozen object from `fleetkey.toml`, `FLEETKEY_*` variables and flags."""

from fleetkey.config.address import Address, AddressError, parse_address
from fleetkey.config.loader import SettingsError, load_settings
from fleetkey.config.settings import (
    AccessSettings,
    HttpSettings,
    LogSettings,
    MqttSettings,
    RegistrationSettings,
    Settings,
    StoreSettings,
    TopicSettings,
)

__all__ = [
    "AccessSettings",
    "Address",
    "AddressError",
    "HttpSettings",
    "LogSettings",
    "MqttSettings",
    "RegistrationSettings",
    "Settings",
    "SettingsError",
    "StoreSettings",
    "TopicSettings",
    "load_settings",
    "parse_address",
]
