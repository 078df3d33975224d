"""Which version of MQTT a device asks in next."""

from __future__ import annotations

from fleetkey.device.versions import MQTT_3_1_1, MQTT_5, VersionChoice

ADDRESS = "h:1"


def test_refused() -> None:
    """A broker that refuses 5 is asked in 3.1.1 from then on; another broker begins with 5."""
    choice = VersionChoice()
    assert choice.version_for(ADDRESS) == MQTT_5
    assert choice.refused(MQTT_5)
    assert choice.version_for(ADDRESS) == MQTT_3_1_1
    choice.answered(MQTT_3_1_1)
    assert choice.version_for(ADDRESS) == MQTT_3_1_1
    assert choice.version_for("h:2") == MQTT_5


def test_refused_both() -> None:
    """There is nothing older than 3.1.1: a broker that refuses it is asked in 5 again."""
    choice = VersionChoice()
    assert choice.version_for(ADDRESS) == MQTT_5
    assert choice.refused(MQTT_5)
    assert not choice.refused(MQTT_3_1_1)
    assert choice.version_for(ADDRESS) == MQTT_5


def test_unanswered() -> None:
    """Silence makes the versions alternate until there is an answer in 5."""
    choice = VersionChoice()
    asked = []
    for _ in range(4):
        asked.append(choice.version_for(ADDRESS))
        choice.unanswered(asked[-1])
    assert asked == [MQTT_5, MQTT_3_1_1, MQTT_5, MQTT_3_1_1]
    choice.answered(MQTT_3_1_1)
    assert choice.version_for(ADDRESS) == MQTT_5
    choice.answered(MQTT_5)
    choice.unanswered(MQTT_5)
    assert choice.version_for(ADDRESS) == MQTT_5


def test_fixed() -> None:
    """A version that is asked for stays."""
    choice = VersionChoice(MQTT_5)
    assert not choice.refused(MQTT_5)
    choice.unanswered(MQTT_5)
    assert choice.version_for(ADDRESS) == MQTT_5
