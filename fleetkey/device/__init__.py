"""The device client: it registers once, saves its credentials and connects.

    from fleetkey.device import Device

    with Device("SN-0001", "https://fleet.example.com", "/var/lib/sensor/device.json") as device:
        device.wait_connected(30)
        device.publish(device.topic("state"), '{"data": {"temperature": 21.5}}', qos=1)

It needs only the standard library and paho-mqtt, and logs as `fleetkey.device`.
"""

from fleetkey.device.backoff import Backoff
from fleetkey.device.client import Device
from fleetkey.device.credentials import Credentials, MqttSettings, Secret
from fleetkey.device.errors import (
    BrokerRefused,
    BrokerUnreachable,
    ConnectionLost,
    CredentialsFileError,
    DeviceError,
    NoOwnTopic,
    OutboxFull,
    PublishRefused,
    RegistrationPending,
    RegistrationRefused,
    RegistrationUnreachable,
    SubscriptionRefused,
)
from fleetkey.device.outbox import Delivery, Message
from fleetkey.device.registration import Registrar

__all__ = [
    "Backoff",
    "BrokerRefused",
    "BrokerUnreachable",
    "ConnectionLost",
    "Credentials",
    "CredentialsFileError",
    "Delivery",
    "Device",
    "DeviceError",
    "Message",
    "MqttSettings",
    "NoOwnTopic",
    "OutboxFull",
    "PublishRefused",
    "Registrar",
    "RegistrationPending",
    "RegistrationRefused",
    "RegistrationUnreachable",
    "Secret",
    "SubscriptionRefused",
]
