"""`fleetkey tokens`: the bearer tokens of the admin API."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer

from fleetkey.cli.credentials_file import new_file
from fleetkey.cli.option_groups import with_option_groups
from fleetkey.cli.options import (
    ExpiresOption,
    FleetOptions,
    SaveOption,
    actor,
    expiry_from,
)
from fleetkey.cli.output import as_fields, print_list, print_one
from fleetkey.management import parse_expiry
from fleetkey.registry import Role

__all__ = ["app"]

HELP = """Bearer tokens of the admin API: create, list, revoke.

Examples:
- `fleetkey tokens create --name ci --role operator --expires 30d --save credentials/ci.token`
- `fleetkey tokens list`
"""
app = typer.Typer(help=HELP, no_args_is_help=True)

COLUMNS = (("token_id", 12), ("name", 24), ("role", 8), ("created_at", 24), ("expires_at", 24), ("revoked_at", 24))


@app.command("create")
@with_option_groups
def create(
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="Who or what it is for; shown in the audit log.")],
    role: Annotated[
        Role, typer.Option("--role", help="viewer: read; operator: also change the fleet; admin: also manage tokens.")
    ],
    expires: ExpiresOption = None,
    save: SaveOption = None,
    *,
    options: FleetOptions,
) -> None:
    """Create a token for the admin API. It is shown once and stored only as a hash.

    Examples:
    - `fleetkey tokens create --name ci --role operator --expires 30d --save credentials/ci.token`
    - `fleetkey tokens create --name dashboard --role viewer --json`
    """
    if expires:
        # Checked before a registry is created; the value used below counts from the fleet's time.
        parse_expiry(expires, now=datetime.now(UTC))
    with options.fleet(makes_registry=True) as fleet:
        expires_at = expiry_from(expires, fleet)
        if save is None:
            created = fleet.tokens.create(name, role, expires_at=expires_at, actor=actor())
            print_one({"token": created.text.reveal(), **as_fields(created.token)}, as_json=options.as_json)
            return
        with new_file(save) as write:
            created = fleet.tokens.create(name, role, expires_at=expires_at, actor=actor())
            try:
                write(created.text.reveal() + "\n")
            except BaseException:
                fleet.tokens.revoke(created.token.token_id, actor=actor())
                raise
    print_one({**as_fields(created.token), "saved": str(save)}, as_json=options.as_json)


@app.command("list")
@with_option_groups
def list_tokens(
    everything: Annotated[bool, typer.Option("--all", help="Include revoked and expired tokens.")] = False,
    *,
    options: FleetOptions,
) -> None:
    """List the tokens, oldest first; their text is not stored and can't be shown.

    Example: fleetkey tokens list --json
    """
    with options.fleet() as fleet:
        found = fleet.tokens.iterate(include_ended=everything)
        print_list(found, COLUMNS, nothing="No tokens.", as_json=options.as_json)


@app.command("revoke")
@with_option_groups
def revoke(
    token_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the token, 12 hex digits.")],
    *,
    options: FleetOptions,
) -> None:
    """Revoke a token for good; the next request with it is refused.

    Example: fleetkey tokens revoke 3f9a1c0b7d2e
    """
    with options.fleet() as fleet:
        print_one(fleet.tokens.revoke(token_id, actor=actor()), as_json=options.as_json)
