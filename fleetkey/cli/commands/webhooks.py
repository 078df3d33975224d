"""`fleetkey webhooks`: the state of webhooks, and test requests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from fleetkey.cli.errors import CommandError
from fleetkey.cli.option_groups import with_option_groups
from fleetkey.cli.options import FleetOptions
from fleetkey.cli.output import print_json, print_list, say
from fleetkey.management import find_webhook

if TYPE_CHECKING:
    from fleetkey.management.schemas import TrialAnswer
    from fleetkey.webhooks import Trial

__all__ = ["app"]

HELP = """Webhooks: events of the fleet, posted to your back end.

Examples:
- `fleetkey webhooks list`
- `fleetkey webhooks test backend`
"""
app = typer.Typer(help=HELP, no_args_is_help=True)

COLUMNS = (
    ("name", 16),
    ("to", 32),
    ("behind", 8),
    ("delivered", 10),
    ("given_up", 9),
    ("missed", 8),
    ("delivered_at", 24),
    ("last_error", 24),
)


@app.command("list")
@with_option_groups
def list_webhooks(
    *,
    options: FleetOptions,
) -> None:
    """List the webhooks in the settings: how far behind each is, and what it delivered, gave up and missed.

    Example: fleetkey webhooks list --json
    """
    with options.fleet() as fleet:
        print_list(fleet.webhooks.statuses(), COLUMNS, nothing="No webhooks.", as_json=options.as_json)


@app.command("test")
@with_option_groups
def try_out(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The webhook's name in the settings.")],
    *,
    options: FleetOptions,
) -> None:
    """Post the event `webhook.test` to a webhook once, and print the response. Exit status 1 if it was not accepted.

    With --url the remote server posts it; otherwise this machine does, with its own settings.

    Example: fleetkey webhooks test backend
    """
    trial: Trial | TrialAnswer
    if options.is_remote():
        with options.remote() as fleet:
            trial = fleet.webhooks.trial(name)
    else:
        from fleetkey.webhooks import try_webhook  # noqa: PLC0415 - slow to import; only this command needs it

        hook = find_webhook(options.settings().webhooks, name)
        trial = asyncio.run(try_webhook(name, hook))
    if not trial.taken:
        msg = f"the webhook {name} did not accept the event: {trial.reason}"
        raise CommandError(msg)
    if options.as_json:
        print_json({"webhook": name, "status": trial.status, "milliseconds": trial.milliseconds})
    else:
        say(f"{name} accepted the event: {trial.status} after {trial.milliseconds} ms")
