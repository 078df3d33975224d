"""Topics and filters that an attacker might try."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from fleetkey.access import Action, TemplateError, TopicScope, decide, is_topic_filter, is_topic_name

MINE = "5f0c1d2e3a4b5c6d7e8f9a0b"
OTHER = "5f0c1d2e3a4b5c6d7e8f9a0c"
SCOPE = TopicScope(publish=[f"devices/{MINE}/#"], subscribe=[f"devices/{MINE}/#"])
EVERYTHING = TopicScope(publish=["#"], subscribe=["#"])
SYSTEM = TopicScope(publish=["$SYS/#"], subscribe=["$SYS/#", "$share/g/a"])
LONGEST = 65_535
DEEP = 30_000
TOPIC_ACTIONS = (Action.PUBLISH, Action.RECEIVE)

TRICKS = {
    "other_device": f"devices/{OTHER}/x",
    "other_device_itself": f"devices/{OTHER}",
    "upper_case_id": f"devices/{MINE.upper()}/x",
    "upper_case_level": f"Devices/{MINE}/x",
    "dot_dot": f"devices/../{MINE}/x",
    "dot": f"./devices/{MINE}/x",
    "empty_level_first": f"/devices/{MINE}/x",
    "empty_level_inside": f"devices//{MINE}/x",
    "percent_encoded": f"devices%2F{MINE}%2Fx",
    "percent_encoded_id": f"devices/{quote(MINE[:1])}%35{MINE[2:]}/x",
    "fullwidth_digit": f"devices/\uff15{MINE[1:]}/x",
    "cyrillic_letter": f"devices/{MINE.replace('a', chr(0x430))}/x",
    "combining_mark": f"devi\u0327ces/{MINE}/x",
    "zero_width": f"devices/{MINE}\u200b/x",
    "fullwidth_slash": f"devices\uff0f{MINE}\uff0fx",
    "backslash": f"devices\\{MINE}\\x",
    "space_before": f" devices/{MINE}/x",
    "space_after_id": f"devices/{MINE} /x",
    "line_end_after_id": f"devices/{MINE}\n/x",
    "id_as_prefix": f"devices/{MINE}0/x",
    "id_cut": f"devices/{MINE[:-1]}/x",
    "level_above": "devices",
    "level_above_with_slash": "devices/",
    "placeholder": "devices/{device_id}/x",
    "shared": f"$share/g/devices/{MINE}/x",
    "queue": f"$queue/devices/{MINE}/x",
    "system": "$SYS/broker/clients",
    "dollar_first": f"$devices/{MINE}/x",
    "nul_inside": f"devices/{MINE}/\0",
    "nul_after_id": f"devices/{MINE}\0/x",
    "surrogate": f"devices/{MINE}/\ud800",
    "surrogate_first": f"\udfff/devices/{MINE}",
    "too_long": f"devices/{MINE}/".ljust(LONGEST + 1, "x"),
    "too_long_in_bytes": f"devices/{MINE}/" + "é" * (LONGEST // 2),
    "empty": "",
}
FILTER_TRICKS = {
    "everything": "#",
    "everything_spelt_out": "+/#",
    "every_device": "devices/#",
    "any_device": "devices/+/x",
    "any_device_everything": "devices/+/#",
    "any_first_level": f"+/{MINE}/#",
    "any_first_level_dot_dot": "+/..",
    "any_levels": "+/+/+",
    "shared_everything": "$share/g/#",
    "shared_own": f"$share/g/devices/{MINE}/#",
    "shared_without_group": f"$share//devices/{MINE}/#",
    "system_everything": "$SYS/#",
    "dollar_alone": "$",
    "hash_inside": f"devices/{MINE}/#/x",
    "hash_in_level": f"devices/{MINE}/x#",
    "plus_in_level": f"devices/{MINE}+/x",
    "plus_after_own": f"devices/{MINE}/x+",
}


@pytest.mark.parametrize("topic", TRICKS.values(), ids=TRICKS.keys())
@pytest.mark.parametrize("action", Action)
def test_decide_trick(action: Action, topic: str) -> None:
    """None of these is among the device's own topics, for any action."""
    assert decide(SCOPE, action, topic) is False


@pytest.mark.parametrize("topic_filter", FILTER_TRICKS.values(), ids=FILTER_TRICKS.keys())
@pytest.mark.parametrize("action", Action)
def test_decide_filter_trick(action: Action, topic_filter: str) -> None:
    """None of these filters is covered by the device's own topics, and no filter can be published to or received."""
    assert decide(SCOPE, action, topic_filter) is False


@pytest.mark.parametrize(
    "topic",
    [
        pytest.param(f"devices/{MINE}", id="itself"),
        pytest.param(f"devices/{MINE}/", id="trailing_slash"),
        pytest.param(f"devices/{MINE}/x", id="below"),
        pytest.param(f"devices/{MINE}//x", id="empty_level_below"),
        pytest.param(f"devices/{MINE}/../{OTHER}", id="dot_dot_is_a_name"),
        pytest.param(f"devices/{MINE}/$SYS", id="dollar_below"),
        pytest.param(f"devices/{MINE}/\U0001f600 é", id="any_script"),
        pytest.param(f"devices/{MINE}/".ljust(LONGEST, "x"), id="longest"),
        pytest.param(f"devices/{MINE}/" + "/" * DEEP, id="deep"),
    ],
)
@pytest.mark.parametrize("action", Action)
def test_decide_own(action: Action, topic: str) -> None:
    """All of these are below the device's own level, so they are its own topics."""
    assert decide(SCOPE, action, topic) is True


@pytest.mark.parametrize("topic_filter", ["#", "+", "x/#", "+/+/#", "+/x", "/", "$x", "$share/g/#"])
def test_decide_own_filter(topic_filter: str) -> None:
    """Wildcards, and `$` anywhere but first, are allowed below the device's own level."""
    assert decide(SCOPE, Action.SUBSCRIBE, f"devices/{MINE}/{topic_filter}") is True


@pytest.mark.parametrize(
    "topic", ["$SYS/x", "$SYS", "$share/g/a", "$", "$SYS/#", "$share/g/#", "$share/g/a/b", "$queue/a"]
)
def test_decide_dollar_and_everything(topic: str) -> None:
    """Not even the scope `#` covers a first level that starts with `$`."""
    assert [decide(EVERYTHING, action, topic) for action in Action] == [False, False, False]


def test_decide_dollar_named() -> None:
    """A scope that names a `$` level covers it, but nothing may ever be published there."""
    assert decide(SYSTEM, Action.SUBSCRIBE, "$SYS/#")
    assert decide(SYSTEM, Action.SUBSCRIBE, "$SYS/+/clients")
    assert decide(SYSTEM, Action.RECEIVE, "$SYS/broker")
    assert decide(SYSTEM, Action.SUBSCRIBE, "$share/g/a")
    assert not decide(SYSTEM, Action.SUBSCRIBE, "$share/g/#")
    assert not decide(SYSTEM, Action.SUBSCRIBE, "$share/h/a")
    assert not decide(SYSTEM, Action.SUBSCRIBE, "+/broker")
    assert not decide(SYSTEM, Action.PUBLISH, "$SYS/broker")


@pytest.mark.parametrize("pattern", ["a/b/#", "+/+/+", "a/+", "#", "x"])
@pytest.mark.parametrize("topic", ["/" * DEEP, "a/b" * 20_000, "+/" * DEEP + "#", "a/" * DEEP + "b"])
def test_decide_deep(pattern: str, topic: str) -> None:
    """30,000 levels are decided just like three, without raising."""
    scope = TopicScope(publish=[pattern], subscribe=[pattern])
    for action in TOPIC_ACTIONS:
        assert decide(scope, action, topic) is (pattern == "#" and is_topic_name(topic))
    assert decide(scope, Action.SUBSCRIBE, topic) is (pattern == "#")


def test_decide_deep_pattern() -> None:
    """A pattern of 30,000 levels is either rejected on construction or decided; it never raises later."""
    text = "a/" * DEEP + "b"
    try:
        scope = TopicScope(publish=[text], subscribe=[text])
    except TemplateError:
        return
    assert [decide(scope, action, text) for action in Action] == [True, True, True]


@pytest.mark.parametrize("pattern", ["", "a/#/b", "a#", "a+/b", "a\0", "\ud800", "x" * (LONGEST + 1)])
def test_topic_scope_malformed_pattern(pattern: str) -> None:
    """A pattern that isn't a topic filter is rejected on construction."""
    assert not is_topic_filter(pattern)
    assert not is_topic_name(pattern)
    with pytest.raises(TemplateError):
        TopicScope(publish=[], subscribe=[pattern])
    with pytest.raises(TemplateError):
        TopicScope(publish=[pattern], subscribe=[])


def test_decide_empty_scope() -> None:
    """A scope without patterns allows nothing."""
    nothing = TopicScope(publish=[], subscribe=[])
    for topic in ("a", "#", "+", "/", "$SYS/#"):
        assert not any(decide(nothing, action, topic) for action in Action)
