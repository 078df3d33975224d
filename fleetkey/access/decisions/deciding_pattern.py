"""Which pattern of a scope decides: the explanation of `decide`, for operators rather than for each message."""

from __future__ import annotations

from fleetkey.access.decisions.scope import Action, TopicScope, decide

__all__ = ["deciding_pattern"]


def deciding_pattern(scope: TopicScope, action: Action, topic: str) -> str | None:
    """Return the first pattern of a scope that allows an action, as `decide` does; None if it isn't allowed.

    It takes time in proportion to the number of patterns.
    """
    if not decide(scope, action, topic):
        return None
    patterns = scope.publish if action is Action.PUBLISH else scope.subscribe
    return next(each for each in patterns if decide(TopicScope(publish=(each,), subscribe=(each,)), action, topic))
