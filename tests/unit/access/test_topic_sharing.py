"""Which topics devices share: found in the patterns, before any device connects."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleetkey.access import Action, SharingKind, TopicTemplates, can_meet, decide, find_sharing
from fleetkey.config import ProfileSettings, TopicSettings

HEARD, IMPERSONATED, BROADCAST = SharingKind.HEARD, SharingKind.IMPERSONATED, SharingKind.BROADCAST
OWN = "devices/{device_id}/#"
SITE = "site/{tag:site}/#"
LEVELS = ("a", "b", "+", "{device_id}", "{serial}", "{tag:site}")
WORDS = ("a", "b", "north", "1" * 24, "2" * 24, "SN-1", "SN-2")
PATTERNS = st.builds(
    lambda levels, has_rest: "/".join([*levels, *(["#"] if has_rest else [])]),
    st.lists(st.sampled_from(LEVELS), min_size=1, max_size=3),
    st.booleans(),
)


def _kinds(publish: list[str], subscribe: list[str], **profiles: ProfileSettings) -> set[tuple[SharingKind, str, str]]:
    topics = TopicSettings(publish=tuple(publish), subscribe=tuple(subscribe))
    return {(one.kind, one.first, one.second) for one in find_sharing(topics, profiles) if not one.is_meant}


@pytest.mark.parametrize(
    ("publish", "subscribe", "found"),
    [
        ([], [], set()),
        (["site/{tag:site}/{device_id}/#"], ["site/{tag:site}/{serial}/#"], set()),
        (["all/#"], [], {(IMPERSONATED, "all/#", "all/#")}),
        (["all/#"], ["all/x"], {(HEARD, "all/#", "all/x"), (IMPERSONATED, "all/#", "all/#")}),
        ([OWN], ["#"], {(HEARD, OWN, "#")}),
        ([OWN], ["devices/+/state"], {(HEARD, OWN, "devices/+/state")}),
        ([OWN], [OWN, "announcements/+"], {(BROADCAST, "announcements/+", "announcements/+")}),
        ([SITE], [SITE], {(HEARD, SITE, SITE), (IMPERSONATED, SITE, SITE)}),
        ([OWN], ["$SYS/#"], {(BROADCAST, "$SYS/#", "$SYS/#")}),
        (["$x/y"], ["#"], {(BROADCAST, "#", "#")}),
        (["to/+/{device_id}"], ["to/{device_id}/+"], {(HEARD, "to/+/{device_id}", "to/{device_id}/+")}),
    ],
    ids=["preset", "own", "publish", "both", "all", "wildcard", "announcements", "tag", "system", "dollar", "mailbox"],
)
def test_patterns(publish: list[str], subscribe: list[str], found: set[tuple[SharingKind, str, str]]) -> None:
    """Who publishes to what is shared is heard or can impersonate; who only receives it gets a broadcast."""
    assert _kinds(publish, subscribe) == found


def test_profile_that_hears_the_others() -> None:
    """Devices with a profile are compared with those without one, in both directions."""
    found = _kinds([], [], gateway=ProfileSettings(subscribe=("devices/#",)))
    assert found == {(HEARD, OWN, "devices/#")}
    found = _kinds([], [], lamp=ProfileSettings(publish=("lamps/#",), subscribe=("lamps/{device_id}",)))
    assert found == {(HEARD, "lamps/#", "lamps/{device_id}"), (IMPERSONATED, "lamps/#", "lamps/#")}


@pytest.mark.parametrize(
    ("shared", "of_profile", "is_meant"),
    [(True, None, True), (False, True, True), (False, None, False), (True, False, False)],
    ids=["topics", "profile", "neither", "not_this_profile"],
)
def test_sharing_that_is_meant(*, shared: bool, of_profile: bool | None, is_meant: bool) -> None:
    """`shared` says that it is meant: in a profile for its devices, in `[topics]` for all that don't say otherwise."""
    profile = ProfileSettings(publish=("lamps/#",), subscribe=("lamps/#",), shared=of_profile)
    found = find_sharing(TopicSettings(shared=shared), {"lamp": profile})
    assert {(one.kind, one.is_meant) for one in found} == {(HEARD, is_meant), (IMPERSONATED, is_meant)}


def test_sharing_meant_by_one_profile_only() -> None:
    """A pattern that one profile shares on purpose is warned about where others have it, too."""
    profile = ProfileSettings(shared=True)
    assert _kinds(["all/#"], [], lamp=profile) == {(IMPERSONATED, "all/#", "all/#")}


def test_tags_that_two_patterns_need() -> None:
    """Devices share a pattern with a tag only if they have the same value."""
    (sharing,) = find_sharing(TopicSettings(publish=("site/{tag:site}/{device_id}",), subscribe=(SITE,)), {})
    assert (sharing.kind, sharing.tags) == (HEARD, ("site",))


@given(publish=st.lists(PATTERNS, min_size=1, max_size=3), subscribe=st.lists(PATTERNS, min_size=1, max_size=3))
def test_agrees_with_what_is_decided(publish: list[str], subscribe: list[str]) -> None:
    """What a device is allowed to publish and another to receive is found in the patterns, whichever they are."""
    topics = TopicSettings(publish=tuple(publish), subscribe=tuple(subscribe))
    templates = TopicTemplates.from_settings(topics)
    one, other = (
        templates.for_device(device_id=digit * 24, serial=f"SN-{digit}", tags={"site": "north"}) for digit in "12"
    )
    kinds = {sharing.kind for sharing in find_sharing(topics, {})}
    for size in range(1, 4):
        for words in itertools.product(WORDS, repeat=size):
            topic = "/".join(words)
            if decide(one, Action.PUBLISH, topic) and decide(other, Action.RECEIVE, topic):
                assert HEARD in kinds, topic
            if decide(one, Action.PUBLISH, topic) and decide(other, Action.PUBLISH, topic):
                assert IMPERSONATED in kinds, topic


@given(first=PATTERNS, second=PATTERNS)
def test_meeting_is_symmetric(first: str, second: str) -> None:
    """It makes no difference which of two patterns is named first."""
    assert can_meet(first, second) == can_meet(second, first)
