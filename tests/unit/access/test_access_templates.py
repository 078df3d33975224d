"""Patterns with placeholders, filled in to scopes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetkey.access import AccessError, Action, TemplateError, TopicTemplates, UnsafeValueError, decide
from fleetkey.config import TopicSettings
from fleetkey.registry import ApplicationScope, Device, DeviceState

ID = "5f0c1d2e3a4b5c6d7e8f9a0b"
OTHER = "5f0c1d2e3a4b5c6d7e8f9a0c"
UNSAFE = {
    "plus": "a+b",
    "hash": "a#b",
    "slash": "a/b",
    "dollar": "$a",
    "dollar_inside": "a$b",
    "nul": "a\0b",
    "space": "a b",
    "space_around": " a",
    "tab": "a\tb",
    "line_end": "a\n",
    "no_break_space": "a\u00a0b",
    "line_separator": "a\u2028b",
    "ideographic_space": "a\u3000b",
    "wildcard_alone": "+",
    "rest_alone": "#",
    "empty": "",
}


def _templates(*patterns: str) -> TopicTemplates:
    return TopicTemplates(publish=patterns, subscribe=patterns)


def _device(device_id: str = ID, serial: str = "S1", **tags: str) -> Device:
    return Device(device_id=device_id, serial=serial, state=DeviceState.ACTIVE, tags=tags, created_at=0, updated_at=0)


@pytest.mark.parametrize(
    ("settings", "publish", "subscribe"),
    [
        pytest.param({}, ("devices/{}/#",), ("devices/{}/#",), id="default"),
        pytest.param({"preset": "losant"}, ("losant/{}/state",), ("losant/{}/command",), id="losant"),
        pytest.param(
            {"preset": "losant", "publish": "up/{device_id}"}, ("up/{}",), ("losant/{}/command",), id="one_replaced"
        ),
        pytest.param({"publish": ["a", "b/{device_id}"], "subscribe": "c"}, ("a", "b/{}"), ("c",), id="own"),
    ],
)
def test_from_settings(settings: dict[str, object], publish: tuple[str, ...], subscribe: tuple[str, ...]) -> None:
    """The scope has the preset's patterns, or those in the settings, with the device's id filled in."""
    templates = TopicTemplates.from_settings(TopicSettings.model_validate(settings))
    scope = templates.for_device(device_id=ID, serial="S1", tags={})
    assert scope.publish == tuple(pattern.format(ID) for pattern in publish)
    assert scope.subscribe == tuple(pattern.format(ID) for pattern in subscribe)


@pytest.mark.parametrize(
    "pattern",
    [
        pytest.param("devices/x{device_id}/#", id="text_before"),
        pytest.param("devices/{device_id}x/#", id="text_after"),
        pytest.param("devices/{serial}{device_id}", id="two_in_a_level"),
        pytest.param("devices/{device}/#", id="unknown"),
        pytest.param("devices/{DEVICE_ID}/#", id="upper_case"),
        pytest.param("devices/{ device_id }/#", id="space_inside"),
        pytest.param("devices/{}/#", id="empty"),
        pytest.param("devices/{tag:}/#", id="tag_without_name"),
        pytest.param("devices/{tag}/#", id="tag_alone"),
        pytest.param("devices/{device_id/#", id="open"),
        pytest.param("devices/device_id}/#", id="closed"),
        pytest.param("devices/{{device_id}}/#", id="doubled"),
        pytest.param("devices/{device_id!r}/#", id="conversion"),
        pytest.param("devices/{tag:a/b}/#", id="slash_in_a_name"),
        pytest.param("devices/#/{device_id}", id="rest_inside"),
        pytest.param("devices/a+/{device_id}", id="partial_wildcard"),
        pytest.param("", id="nothing"),
        pytest.param("devices/\0/{device_id}", id="nul"),
    ],
)
def test_malformed_pattern(pattern: str) -> None:
    """A pattern that could never be filled in safely is rejected on construction, in either direction."""
    with pytest.raises(TemplateError) as caught:
        TopicTemplates(publish=(pattern,), subscribe=())
    assert repr(pattern) in str(caught.value)
    with pytest.raises(TemplateError):
        TopicTemplates(publish=(), subscribe=("ok", pattern))


def test_for_device_every_placeholder() -> None:
    """Id, serial and tags each fill a whole level; values may be in any script."""
    templates = _templates("a/{device_id}/{serial}/{tag:site}/{tag:the line}/#", "{tag:site}")
    scope = templates.for_device(device_id=ID, serial="S-1.é", tags={"site": "北", "the line": "x"})
    assert scope.publish == (f"a/{ID}/S-1.é/北/x/#", "北")


@pytest.mark.parametrize("value", UNSAFE.values(), ids=UNSAFE.keys())
@pytest.mark.parametrize("placeholder", ["serial", "tag:site"])
def test_for_device_unsafe_value(placeholder: str, value: str) -> None:
    """A value with characters special in topics is never filled in: the key has no scope at all."""
    templates = _templates("mine/{device_id}", f"x/{{{placeholder}}}/#")
    serial, tags = ("S1", {"site": value}) if placeholder.startswith("tag") else (value, {"site": "a"})
    with pytest.raises(UnsafeValueError) as caught:
        templates.for_device(device_id=ID, serial=serial, tags=tags)
    assert caught.value.placeholder == placeholder
    assert str(caught.value) == str(UnsafeValueError(placeholder))


def test_for_device_tag_missing() -> None:
    """A tag that the device lacks is an error; it doesn't become an empty level."""
    with pytest.raises(UnsafeValueError):
        _templates("{tag:site}/#").for_device(device_id=ID, serial="S1", tags={"other": "a"})


def test_for_device_unsafe_value_not_asked_for() -> None:
    """A serial or tag that no pattern uses may be anything."""
    scope = _templates("devices/{device_id}").for_device(device_id=ID, serial="a/#", tags={"site": "+"})
    assert scope.publish == (f"devices/{ID}",)


@pytest.mark.parametrize("value", ["{device_id}", "{tag:site}", "\\1", "\\g<0>", "%s", "{0}"])
def test_for_device_value_like_a_placeholder(value: str) -> None:
    """A value is filled in literally and once; a placeholder inside it isn't filled in."""
    scope = _templates("x/{serial}/#").for_device(device_id=ID, serial=value, tags={"site": "a"})
    assert scope.publish == (f"x/{value}/#",)


@given(st.text(max_size=20))
def test_for_device_any_value(value: str) -> None:
    """Whatever the serial is, the scope covers exactly one level below `x`, or there is no scope."""
    try:
        scope = _templates("x/{serial}").for_device(device_id=ID, serial=value, tags={})
    except AccessError:
        return
    assert decide(scope, Action.PUBLISH, f"x/{value}")
    for foreign in ("x/other-than-that", "x", "x/", f"y/{value}", f"x/{value}/below", "#", "x/#", "x/+"):
        assert not decide(scope, Action.SUBSCRIBE, foreign)


@pytest.mark.parametrize(("pattern", "expected"), [("{tag:a}/#", True), ("x/{serial}", False), ("tag:a", False)])
def test_uses_tags(pattern: str, expected: bool) -> None:  # noqa: FBT001 - a table
    """Tags are only read if a pattern of either direction uses one."""
    assert TopicTemplates(publish=(pattern,), subscribe=("x",)).uses_tags is expected
    assert TopicTemplates(publish=("x",), subscribe=(pattern,)).uses_tags is expected


def test_for_application_devices() -> None:
    """An application has both directions of each of its devices, and of no other."""
    templates = TopicTemplates(publish=("up/{device_id}",), subscribe=("down/{device_id}",))
    scope = templates.for_application(ApplicationScope(device_ids=(ID,)), [_device()])
    for action in Action:
        for direction in ("up", "down"):
            assert decide(scope, action, f"{direction}/{ID}")
            assert not decide(scope, action, f"{direction}/{OTHER}")
    assert not decide(scope, Action.SUBSCRIBE, "up/+")


def test_for_application_all() -> None:
    """All devices is a scope like any other: every device's topics and nothing else, least of all `$`."""
    templates = TopicTemplates(publish=("up/{device_id}",), subscribe=("{tag:site}/{serial}/#",))
    scope = templates.for_application(ApplicationScope(all_devices=True), [])
    assert scope.publish == scope.subscribe == ("up/+", "+/+/#")
    assert decide(scope, Action.SUBSCRIBE, "up/+")
    assert not decide(scope, Action.SUBSCRIBE, "#")
    assert not decide(scope, Action.SUBSCRIBE, "$SYS/#")
    assert not decide(scope, Action.PUBLISH, "elsewhere")


def test_for_application_extra_topics() -> None:
    """Extra topics count for their own direction; without devices there is nothing else."""
    scope = _templates("devices/{device_id}/#").for_application(
        ApplicationScope(publish=("alerts",), subscribe=("news/#", "$SYS/#")), []
    )
    assert (scope.publish, scope.subscribe) == (("alerts",), ("news/#", "$SYS/#"))
    assert not decide(scope, Action.RECEIVE, "alerts")
    assert not decide(scope, Action.PUBLISH, "news/x")


def test_for_application_extra_topic_literal() -> None:
    """An extra topic is taken literally; braces in it aren't a placeholder."""
    scope = _templates("x").for_application(ApplicationScope(publish=("devices/{device_id}",)), [_device()])
    assert not decide(scope, Action.PUBLISH, f"devices/{ID}")


def test_for_application_malformed_extra_topic() -> None:
    """An extra topic that isn't a topic filter is rejected, whatever else the key has."""
    with pytest.raises(TemplateError):
        _templates("x").for_application(ApplicationScope(all_devices=True, subscribe=("a/#/b",)), [])


@pytest.mark.parametrize("value", [*UNSAFE.values(), "x" * 70_000, "\ud800"], ids=[*UNSAFE, "too_long", "surrogate"])
def test_for_application_unsafe_device(value: str) -> None:
    """A device whose values can't be filled in is left out; the others are still reached."""
    templates = _templates("sites/{tag:site}/{device_id}")
    devices = [_device(OTHER, site=value), _device(site="a")]
    scope = templates.for_application(ApplicationScope(tags=(("fleet", "1"),)), devices)
    assert scope.of_devices == {OTHER: (), ID: (f"sites/a/{ID}",)}


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        (ApplicationScope(device_ids=(ID,)), {"up/\0/#", "by/\0/\0"}),
        (ApplicationScope(tags=(("site", "north"),)), {"up/\0/#", "by/\0/\0", "site/north/\0"}),
        (ApplicationScope(tags=(("site", "a/b"),)), {"up/\0/#", "by/\0/\0"}),
        (ApplicationScope(tags=(("site", "{serial}"),)), {"up/\0/#", "by/\0/\0", "site/{serial}/\0"}),
        (ApplicationScope(all_devices=True), set()),
        (ApplicationScope(subscribe=("up/a",)), set()),
    ],
    ids=["ids", "tag", "unsafe_tag", "tag_like_a_placeholder", "all", "topics_alone"],
)
def test_for_application_across_devices(scope: ApplicationScope, expected: set[str]) -> None:
    """A device's id and serial are left open; a tag is the one that the key names, or the pattern isn't spanned."""
    templates = TopicTemplates(
        publish=("up/{device_id}/#", "site/{tag:site}/#", "site/{tag:site}/{device_id}"),
        subscribe=("all/news",),
        of_profiles=("by/{device_id}/{serial}", "line/{tag:line}/{serial}"),
    )
    assert set(templates.for_application(scope, []).across_devices) == expected


def test_for_device_across_devices() -> None:
    """A device's own key spans nothing."""
    scope = _templates("devices/{device_id}/#").for_device(device_id=ID, serial="S", tags={})
    assert scope.across_devices == ()
    assert not decide(scope, Action.SUBSCRIBE, "devices/+/#", each_delivery_is_decided=True)
