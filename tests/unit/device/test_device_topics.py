"""Topic names and filters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from fleetkey.device.topics import check_topic_filter, check_topic_name


@pytest.mark.parametrize("topic", ["a", "/", "a/b", "$SYS/x", "ü" * 32_767, " "])
def test_check_topic_name(topic: str) -> None:
    """These can be published to."""
    check_topic_name(topic)


@pytest.mark.parametrize("topic", ["", "a/+", "#", "a\0", "ü" * 32_768, "\ud800", "a+b"])
def test_check_topic_name_wrong(topic: str) -> None:
    """These can't."""
    with pytest.raises(ValueError, match="a topic"):
        check_topic_name(topic)


@pytest.mark.parametrize("topic_filter", ["#", "+", "a/#", "+/b/+", "/", "a//b", "$share/g/a"])
def test_check_topic_filter(topic_filter: str) -> None:
    """These can be subscribed to."""
    check_topic_filter(topic_filter)


@pytest.mark.parametrize("topic_filter", ["", "a#", "a/#/b", "a+/b", "##", "+#", "a\0", "\udcff"])
def test_check_topic_filter_wrong(topic_filter: str) -> None:
    """These can't."""
    with pytest.raises(ValueError, match="a topic filter"):
        check_topic_filter(topic_filter)


@given(st.text(alphabet="a/+#$", min_size=1, max_size=6))
def test_check_topic_filter_like_paho(topic_filter: str) -> None:
    """What passes here, paho accepts as well, so that it never raises in the device's thread."""
    try:
        check_topic_filter(topic_filter)
    except ValueError:
        return
    Client(CallbackAPIVersion.VERSION2).subscribe([(topic_filter, 1)])
