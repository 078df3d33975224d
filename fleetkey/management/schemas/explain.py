"""The schemas of explanations: whether a topic would be allowed, and what became of a client."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import msgspec

from fleetkey.management.schemas.refusals import RefusalAnswer
from fleetkey.management.schemas.times import Time

__all__ = [
    "ConditionAnswer",
    "ConditionEffect",
    "EventAnswer",
    "EventOutcome",
    "ExplainAnswer",
    "TopicAction",
    "TopicAnswer",
]


class TopicAction(StrEnum):
    """What a client would do with a topic or filter."""

    PUBLISH = "publish"
    SUBSCRIBE = "subscribe"
    WILL = "will"


class TopicAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a device or an application key may do something with a topic, and which pattern decides."""

    device_id: str | None
    key: str | None
    action: TopicAction
    topic: str
    allowed: bool
    pattern: Annotated[str | None, msgspec.Meta(description="The pattern that allows it; null if none does.")]
    origin: Annotated[str, msgspec.Meta(description="Where the pattern, or all of the patterns, come from.")]
    why: Annotated[str, msgspec.Meta(description="The decision in a sentence.")]
    patterns: Annotated[list[str], msgspec.Meta(description="The patterns of that direction, at most 20.")]
    more_patterns: Annotated[int, msgspec.Meta(description="How many more patterns there are.")]
    refused: Annotated[
        str | None, msgspec.Meta(description="Why it can't connect at present, whatever the topic; null if it can.")
    ]
    command: Annotated[str | None, msgspec.Meta(description="The command that changes `refused`, or shows more.")]


class EventOutcome(StrEnum):
    """What came of what was tried."""

    REFUSED = "refused"
    SUCCEEDED = "succeeded"
    CHANGED = "changed"
    """An operator, or the server, changed something."""


class EventAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What was tried, what came of it, why, and what to do."""

    at: Time
    outcome: EventOutcome
    tried: Annotated[str, msgspec.Meta(description="What was tried: for people.")]
    result: Annotated[str, msgspec.Meta(description="What came of it, in one word or a few.")]
    who: Annotated[str, msgspec.Meta(description="From where, and who the client was or claimed to be: for people.")]
    refusal: Annotated[
        RefusalAnswer | None, msgspec.Meta(description="The refusal record, with why and what to do; null otherwise.")
    ] = None


class ConditionEffect(StrEnum):
    """What follows from something that is in force."""

    LETS_IN = "lets_in"
    KEEPS_OUT = "keeps_out"
    NOTE = "note"


class ConditionAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Something in force that lets a client in, or keeps it out."""

    effect: ConditionEffect
    text: str
    command: Annotated[str | None, msgspec.Meta(description="The command that changes it.")] = None


class ExplainAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """Why something was refused: the events, newest first, and what is in force."""

    what: Annotated[str | None, msgspec.Meta(description="What was asked about; null: everyone's last refusals.")]
    subject: Annotated[str, msgspec.Meta(description="What it is: for people.")]
    is_known: Annotated[
        bool, msgspec.Meta(description="Whether the registry knows it, or any client has claimed it or come from it.")
    ]
    events: list[EventAnswer]
    conditions: list[ConditionAnswer]
