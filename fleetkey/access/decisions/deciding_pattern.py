"""Which pattern of a scope decides: the explanation of `decide`, for operators rather than for each message."""

from __future__ import annotations

from fleetkey.access.decisions.scope import Action, TopicScope, decide
from fleetkey.access.decisions.topics import DEVICE_PLACE

__all__ = ["deciding_pattern"]


def deciding_pattern(
    scope: TopicScope, action: Action, topic: str, *, each_delivery_is_decided: bool = False
) -> str | None:
    """Return the first pattern of a scope that allows an action, as `decide` does; None if it isn't allowed.

    A pattern across devices, which is last, has `+` in their place. It takes time in proportion to the number of
    patterns.
    """
    if not decide(scope, action, topic, each_delivery_is_decided=each_delivery_is_decided):
        return None
    for each in scope.patterns(action):
        if decide(TopicScope(publish=(each,), subscribe=(each,)), action, topic):
            return each
    return next(
        each.replace(DEVICE_PLACE, "+")
        for each in scope.across_devices
        if decide(
            TopicScope(publish=(), subscribe=(), across_devices=(each,)), action, topic, each_delivery_is_decided=True
        )
    )
