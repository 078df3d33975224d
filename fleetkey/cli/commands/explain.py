"""`fleetkey explain`: why a client doesn't get in, and which topics it may use."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Annotated

import typer

from fleetkey.cli.commands.stale_presence import note_stale_presence
from fleetkey.cli.errors import CommandError, UsageError
from fleetkey.cli.option_groups import with_option_groups
from fleetkey.cli.options import FleetOptions
from fleetkey.cli.output import as_fields, print_json, say, say_wrapped
from fleetkey.management import MAX_PAGE, Management
from fleetkey.management.schemas import ConditionEffect, EventOutcome, TopicAction
from fleetkey.printable import printable
from fleetkey.registry import redacted

if TYPE_CHECKING:
    from fleetkey.cli.options import Fleet
    from fleetkey.management.schemas import ConditionAnswer, EventAnswer, ExplainAnswer, TopicAnswer

__all__ = ["explain"]

POLL_SECONDS = 0.5
INDENT = "  "
MARKS = {ConditionEffect.LETS_IN: "+", ConditionEffect.KEEPS_OUT: "-", ConditionEffect.NOTE: " "}
OUTCOMES = {EventOutcome.REFUSED: "REFUSED", EventOutcome.SUCCEEDED: "ok", EventOutcome.CHANGED: "changed"}
PANEL = "Topics"


@with_option_groups
def explain(
    what: Annotated[
        str | None,
        typer.Argument(
            metavar="[WHAT]",
            help="Serial, device id, key, client id or address; without it, everyone's last refusals.",
            show_default=False,
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Keep printing new events until Ctrl-C.")] = False,
    limit: Annotated[
        int, typer.Option("--limit", "-n", metavar="N", min=1, max=MAX_PAGE, help="How many events to print.")
    ] = 20,
    device: Annotated[
        str | None,
        typer.Option("--device", metavar="ID", help="Whose topics: this device's.", rich_help_panel=PANEL),
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", metavar="KEY", help="Whose topics: this key's.", rich_help_panel=PANEL)
    ] = None,
    publish: Annotated[
        str | None,
        typer.Option("--publish", metavar="TOPIC", help="Would it be allowed to publish here?", rich_help_panel=PANEL),
    ] = None,
    subscribe: Annotated[
        str | None,
        typer.Option(
            "--subscribe", metavar="FILTER", help="Would it be allowed to subscribe to this?", rich_help_panel=PANEL
        ),
    ] = None,
    will: Annotated[
        str | None,
        typer.Option("--will", metavar="TOPIC", help="Would its will be allowed here?", rich_help_panel=PANEL),
    ] = None,
    *,
    options: FleetOptions,
) -> None:
    """Explain why a client doesn't get in: what it tried, what came of it, why, what to do; and what is in force.

    With --device or --key: whether a topic would be allowed, and which pattern decides. The server needn't run.

    Examples:
    - `fleetkey explain`
    - `fleetkey explain SN-0001`
    - `fleetkey explain 192.0.2.7 --follow`
    - `fleetkey explain --device 5f0c1d2e3a4b5c6d7e8f9a0c --publish devices/x/state`
    - `fleetkey explain --key 6f575800639de382efb6c92467b68b0b --subscribe 'devices/+/state'`
    """
    asked = {TopicAction.PUBLISH: publish, TopicAction.SUBSCRIBE: subscribe, TopicAction.WILL: will}
    topics = {action: topic for action, topic in asked.items() if topic is not None}
    if device is not None or key is not None or topics:
        _check_topic_options(device, key, topics, has_others=what is not None or follow)
        ((action, topic),) = topics.items()
        with options.fleet() as fleet:
            answer = fleet.explain.topic(action, topic, device_id=device, key=key)
        print_json(as_fields(answer)) if options.as_json else _print_topic(answer)
        return
    with options.fleet() as fleet:
        if isinstance(fleet, Management):
            note_stale_presence(fleet, options.settings())
        if follow:
            with contextlib.suppress(KeyboardInterrupt):
                _follow(fleet, what, limit, as_json=options.as_json)
            return
        found = fleet.explain.explain(what, limit=limit)
    print_json(as_fields(found)) if options.as_json else _print(found)
    if not found.is_known:
        msg = f"nothing is known about {redacted(what or '')!r}: no device, key or listed serial, and nothing recorded"
        raise CommandError(msg)


def _check_topic_options(
    device: str | None, key: str | None, topics: dict[TopicAction, str], *, has_others: bool
) -> None:
    if has_others:
        msg = "WHAT and --follow are for refusals; leave them out, or --device, --key and the topic"
        raise UsageError(msg)
    if (device is None) == (key is None):
        msg = "give either --device ID or --key KEY"
        raise UsageError(msg)
    if len(topics) != 1:
        msg = "give one of --publish TOPIC, --subscribe FILTER and --will TOPIC"
        raise UsageError(msg)


def _follow(fleet: Fleet, what: str | None, limit: int, *, as_json: bool) -> None:
    """Print events as they come, oldest first: those of the last answer that weren't in the one before."""
    seen: set[str] = set()
    while True:
        events = fleet.explain.explain(what, limit=limit).events
        for event in reversed(events):
            if _identity(event) not in seen:
                print_json(as_fields(event)) if as_json else _print_event(event)
        seen = {_identity(event) for event in events}
        time.sleep(POLL_SECONDS)


def _identity(event: EventAnswer) -> str:
    # Whoever stays connected is heard from again and again; that is no new event.
    return repr((event.at, event.outcome, event.tried, event.refusal and event.refusal.position))


def _print(found: ExplainAnswer) -> None:
    say_wrapped(found.subject, rest=INDENT)
    if not found.events:
        say("")
        say("No refusals." if found.what is None else "Nothing was tried, or it is no longer recorded.")
    for event in found.events:
        say("")
        _print_event(event)
    if found.conditions:
        say("")
        say("Now in force (+ lets it in, - keeps it out)")
    for condition in found.conditions:
        _print_condition(condition)


def _print_event(event: EventAnswer) -> None:
    times = ""
    refusal = event.refusal
    if refusal is not None and refusal.count > 1:
        times = f", {refusal.count} times since {refusal.first_at}"
    say_wrapped(f"{event.at}  {OUTCOMES[event.outcome]}  {event.tried}: {event.result}{times}", rest=INDENT)
    if event.who:
        say_wrapped(event.who, indent=INDENT, rest=INDENT * 2)
    if refusal is None:
        return
    detail = f" ({refusal.detail})" if refusal.detail else ""
    say_wrapped(f"Why: {refusal.meaning}{detail}", indent=INDENT, rest=INDENT * 2)
    say_wrapped(f"Do:  {refusal.advice}", indent=INDENT, rest=INDENT * 2)
    _print_command(refusal.command)


def _print_condition(condition: ConditionAnswer) -> None:
    say_wrapped(f"{MARKS[condition.effect]} {condition.text}", rest=INDENT)
    _print_command(condition.command)


def _print_command(command: str | None) -> None:
    """Print a command to paste, on one line; none if something in it can't be shown as it is."""
    if command and printable(command) == command:
        say(f"{INDENT * 2}{command}", flush=True)


def _print_topic(answer: TopicAnswer) -> None:
    who = f"key {answer.key}" if answer.key is not None else f"device {answer.device_id}"
    use = "have its will at" if answer.action is TopicAction.WILL else f"{answer.action.value} to"
    say_wrapped(f"May {who} {use} {answer.topic}?", rest=INDENT)
    say_wrapped(answer.why, rest=INDENT)
    if answer.pattern is not None:
        say_wrapped(f"The pattern is from {answer.origin}.", rest=INDENT)
    elif answer.patterns:
        say_wrapped(f"Its patterns are from {answer.origin}:", rest=INDENT)
        for pattern in answer.patterns:
            say(f"{INDENT}{pattern}")
        if answer.more_patterns:
            say(f"{INDENT}and {answer.more_patterns} more")
    if answer.refused is not None:
        say_wrapped(f"At present it can't connect at all: {answer.refused}.", rest=INDENT)
        _print_command(answer.command)
