"""Which version of MQTT to speak with a broker."""

from __future__ import annotations

from typing import Literal

__all__ = ["MQTT_3_1_1", "MQTT_5", "MqttVersion", "VersionChoice", "check_version"]

MqttVersion = Literal["5", "3.1.1"]
MQTT_5: MqttVersion = "5"
MQTT_3_1_1: MqttVersion = "3.1.1"


def check_version(version: str | None) -> None:
    """Check a version that was chosen by the application; None leaves it to `VersionChoice`.

    Raises:
        ValueError: there is no such version here.
    """
    if version not in {None, MQTT_5, MQTT_3_1_1}:
        raise ValueError("the MQTT version must be '5', '3.1.1', or None for the newest that the broker speaks")


class VersionChoice:
    """Starts with 5, and uses 3.1.1 with a broker that speaks nothing newer.

    That is remembered for a broker that says so, as long as this lives. One that doesn't answer may be old or away, so
    the versions alternate until it answers in one of them; this asks no more often than without an older version.

    Args:
        fixed: the only version to use, or None.
    """

    def __init__(self, fixed: MqttVersion | None = None) -> None:
        self._fixed = fixed
        self._address = ""
        self._is_older = False
        self._has_answered = False
        self._next = MQTT_5

    def version_for(self, address: str) -> MqttVersion:
        """Return the version for the next connection to `host:port`."""
        if self._fixed is not None:
            return self._fixed
        if address != self._address:
            self._address, self._is_older, self._has_answered, self._next = address, False, False, MQTT_5
        return MQTT_3_1_1 if self._is_older else self._next

    def refused(self, version: MqttVersion) -> bool:
        """Note that the broker doesn't speak a version, and return whether to ask at once in another."""
        self._is_older = self._fixed is None and version == MQTT_5
        return self._is_older

    def answered(self, version: MqttVersion) -> None:
        """Note that the broker answered in a version."""
        if version == MQTT_5:
            self._has_answered = True
        self._next = MQTT_5

    def unanswered(self, version: MqttVersion) -> None:
        """Note that the broker gave no answer, although it was reached."""
        self._next = MQTT_3_1_1 if version == MQTT_5 and not self._has_answered else MQTT_5
