"""The pattern that decides, against the decision itself."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from fleetkey.access import Action, TopicScope, decide, deciding_pattern, is_topic_filter
from fleetkey.access.decisions.topics import DEVICE_PLACE

EXAMPLES = 200

LEVELS = st.lists(st.sampled_from(["a", "b", "", "+", "$s"]), min_size=1, max_size=4)
FILTERS = st.builds(lambda levels, ending: "/".join([*levels, *ending]), LEVELS, st.sampled_from([[], ["#"]])).filter(
    is_topic_filter
)
PATTERNS = st.lists(FILTERS, max_size=4)


@settings(max_examples=EXAMPLES, deadline=None)
@given(PATTERNS, PATTERNS, st.sampled_from(Action), FILTERS | st.text(max_size=6))
def test_deciding_pattern(publish: list[str], subscribe: list[str], action: Action, topic: str) -> None:
    """There is one exactly if the scope allows the action; it is of that direction, and alone allows it too."""
    scope = TopicScope(publish=publish, subscribe=subscribe)
    found = deciding_pattern(scope, action, topic)
    assert (found is not None) is decide(scope, action, topic)
    if found is not None:
        patterns = publish if action is Action.PUBLISH else subscribe
        assert decide(TopicScope(publish=[found], subscribe=[found]), action, topic)
        before = patterns[: patterns.index(found)]
        assert not decide(TopicScope(publish=before, subscribe=before), action, topic)


@settings(max_examples=EXAMPLES, deadline=None)
@given(PATTERNS, PATTERNS, PATTERNS, st.sampled_from(Action), FILTERS)
def test_deciding_pattern_of_devices(
    own: list[str], of_device: list[str], across: list[str], action: Action, topic: str
) -> None:
    """The patterns of devices count too, and where each delivery is decided, those across devices."""
    scope = TopicScope(
        publish=own,
        subscribe=own,
        across_devices=[pattern.replace("+", DEVICE_PLACE, 1) for pattern in across],
        of_devices={"device": tuple(of_device)},
    )
    for is_decided in (False, True):
        found = deciding_pattern(scope, action, topic, each_delivery_is_decided=is_decided)
        assert (found is not None) is decide(scope, action, topic, each_delivery_is_decided=is_decided)
        assert found is None or found in [*own, *of_device, *(across if is_decided else [])]
