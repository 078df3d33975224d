"""`fleetkey webhooks`: whom the server tells of what happens."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

import typer

from fleetkey.cli.errors import CommandError
from fleetkey.cli.options import ConfigOption, DataDirOption, JsonOption, settings_from
from fleetkey.cli.output import print_json, print_list
from fleetkey.management import when
from fleetkey.registry import open_store
from fleetkey.webhooks import Failed, HookSender, Sent, trial_event

if TYPE_CHECKING:
    from fleetkey.config import WebhookSettings
    from fleetkey.registry import WebhookState

__all__ = ["app", "origin"]

app = typer.Typer(help="Webhooks: what happens in the fleet, posted to your back end.", no_args_is_help=True)

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
def list_webhooks(config: ConfigOption = None, data_dir: DataDirOption = None, as_json: JsonOption = False) -> None:
    """Print the webhooks of the settings, how far each is behind, and what it delivered, gave up and missed.

    Example: fleetkey webhooks list --json
    """
    settings = settings_from(config, data_dir)
    store = open_store(settings)
    try:
        states = {state.name: state for state in store.webhook_states()}
        newest = store.change_bounds()[1]
    finally:
        store.close()
    rows = [_fields(name, hook, states.get(name), newest) for name, hook in settings.webhooks.items()]
    print_list(rows, COLUMNS, as_json=as_json)


@app.command("test")
def try_webhook(
    name: Annotated[str, typer.Argument(metavar="NAME")],
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Post the event `webhook.test` to a webhook, once, and say how it was answered. Exit status 1 if it wasn't taken.

    Example: fleetkey webhooks test backend
    """
    settings = settings_from(config, data_dir)
    hook = settings.webhooks.get(name)
    if hook is None:
        known = ", ".join(settings.webhooks) or "none"
        msg = f"there is no webhook {name[:64]!r} in the settings; there is: {known}"
        raise CommandError(msg)
    began = time.monotonic()
    outcome = asyncio.run(_try(name, hook))
    milliseconds = round((time.monotonic() - began) * 1000)
    if isinstance(outcome, Failed):
        msg = f"the webhook {name} did not take it: {outcome.reason}"
        raise CommandError(msg)
    if as_json:
        print_json({"webhook": name, "status": outcome.status, "milliseconds": milliseconds})
    else:
        print(f"{name} took it: {outcome.status} after {milliseconds} ms")


def origin(url: str) -> str:
    """Return where an address leads, without what may be a secret in it: path and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}" + ("/…" if parts.path.strip("/") or parts.query else "")


async def _try(name: str, hook: WebhookSettings) -> Sent | Failed:
    sender = HookSender(name, hook)
    try:
        return await sender.send(trial_event(time.time()))
    finally:
        await sender.close()


def _fields(name: str, hook: WebhookSettings, state: WebhookState | None, newest: int) -> dict[str, Any]:
    return {
        "name": name,
        "to": origin(hook.url),
        "events": list(hook.events),
        # A webhook that no server has begun yet has nothing to be behind of.
        "behind": max(newest - state.position, 0) if state else 0,
        "delivered": state.delivered if state else 0,
        "given_up": state.given_up if state else 0,
        "missed": state.missed if state else 0,
        "delivered_at": when(state.delivered_at) if state else None,
        "last_error": state.last_error if state else "",
    }
