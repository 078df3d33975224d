"""`fleetkey keys`: credentials of devices and applications."""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleetkey.cli.credentials_file import application_credentials, new_file
from fleetkey.cli.device_options import (
    DeviceOptions,
    names_one,
    print_bulk,
)
from fleetkey.cli.errors import CommandError, UsageError
from fleetkey.cli.option_groups import with_option_groups
from fleetkey.cli.options import (
    FleetOptions,
    actor,
    expiry_from,
    parse_labels,
)
from fleetkey.cli.output import as_fields, note, print_json, print_list, print_one, say
from fleetkey.config import MqttEndpoint, parse_address
from fleetkey.management import (
    ApplicationKeyRequest,
    BulkChange,
    KeyFilter,
    LosantKey,
    Management,
    losant_answer,
    parse_expiry,
    parse_losant_key,
)
from fleetkey.management.schemas import BulkAction
from fleetkey.registry import ApplicationScope, KeyKind

if TYPE_CHECKING:
    from fleetkey.access import Secret
    from fleetkey.management.schemas import RotationAnswer

__all__ = ["app"]

HELP = """Access keys: list, show, create for applications, revoke, rotate.

Examples:
- `fleetkey keys create --application backend --all-devices --save credentials/backend.json`
- `fleetkey keys rotate --tag site=north`
"""
app = typer.Typer(help=HELP, no_args_is_help=True)

MAX_DOCUMENT_BYTES = 1024 * 1024
COLUMNS = (
    ("key", 32),
    ("kind", 11),
    ("status", 7),
    ("device_id", 24),
    ("name", 16),
    ("first_connected_at", 24),
    ("expires_at", 24),
)


@app.command("list")
@with_option_groups
def list_keys(
    device: Annotated[str | None, typer.Option("--device", metavar="ID", help="Only this device's keys.")] = None,
    applications: Annotated[bool, typer.Option("--applications", help="Only application keys.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Retired keys as well.")] = False,
    *,
    options: FleetOptions,
) -> None:
    """List keys, in order of issue; secrets are not stored and can't be shown.

    Example: fleetkey keys list --applications --json
    """
    kind = KeyKind.APPLICATION if applications else None
    wanted = KeyFilter(device_id=device, kind=kind, include_retired=everything)
    with options.fleet() as fleet:
        print_list(fleet.keys.iterate(wanted), COLUMNS, as_json=options.as_json)


@app.command("create")
@with_option_groups
def create(  # noqa: PLR0917 - options, which Typer hands over by name
    application: Annotated[
        str | None, typer.Option("--application", metavar="NAME", help="What the key is for.")
    ] = None,
    all_devices: Annotated[bool, typer.Option("--all-devices", help="Reach every device's topics.")] = False,
    device: Annotated[
        list[str] | None, typer.Option("--device", metavar="ID", help="Reach this device; repeatable.")
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option("--tag", metavar="NAME=VALUE", help="Reach devices with this tag; repeated, all must match."),
    ] = None,
    publish: Annotated[
        list[str] | None, typer.Option("--publish", metavar="TOPIC", help="May publish there as well.")
    ] = None,
    subscribe: Annotated[
        list[str] | None, typer.Option("--subscribe", metavar="TOPIC", help="May subscribe there as well.")
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option("--source", metavar="NETWORK", help="May connect from this address or network alone; repeatable."),
    ] = None,
    description: Annotated[str, typer.Option("--description", metavar="TEXT", help="More about what it is for.")] = "",
    expires: Annotated[
        str | None, typer.Option("--expires", metavar="WHEN", help="When the key ends: 30d, 12h, or a date (UTC).")
    ] = None,
    from_json: Annotated[
        Path | None,
        typer.Option(
            "--from-json", metavar="FILE", help="Take name and scope from Losant's JSON; `-` reads standard input."
        ),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            "--save", metavar="FILE", help="Write the credentials to a new file, mode 0600, instead of printing them."
        ),
    ] = None,
    *,
    options: FleetOptions,
) -> None:
    """Make a key for a back end. The secret is shown once and stored only as a hash.

    Examples:
    - `fleetkey keys create --application backend --all-devices --save credentials/backend.json`
    - `fleetkey keys create --application dashboard --tag site=north --source 10.1.0.0/16 --expires 30d --json`
    """
    # Said before a registry is made; it counts from the fleet's time.
    expires_at = parse_expiry(expires, now=datetime.now(UTC)) if expires else None
    sources = tuple(source or ())
    document: LosantKey | None = None
    if from_json is not None:
        if application or description or all_devices or device or tag or publish or subscribe:
            msg = (
                "--from-json says name, description and scope; leave out --application, --description, --all-devices, "
                "--device, --tag and topics"
            )
            raise UsageError(msg)
        document, request = parse_losant_key(_read(from_json), sources=sources, expires_at=expires_at)
    elif application is None:
        msg = "say --application NAME, or --from-json FILE"
        raise UsageError(msg)
    else:
        request = ApplicationKeyRequest(
            name=application,
            scope=ApplicationScope(
                all_devices=all_devices,
                device_ids=tuple(dict.fromkeys(device or ())),
                tags=tuple(parse_labels(tag).items()),
                publish=tuple(publish or ()),
                subscribe=tuple(subscribe or ()),
            ),
            description=description,
            sources=sources,
            expires_at=expires_at,
        )
    with options.fleet(makes_registry=True) as fleet:
        request = replace(request, expires_at=expiry_from(expires, fleet))
        if save is not None:
            endpoint = _endpoint(options) if isinstance(fleet, Management) else fleet.mqtt_endpoint()
            with new_file(save) as write:

                def write_down(key: str, secret: Secret) -> None:
                    write(json.dumps(application_credentials(key, secret, endpoint), indent=2) + "\n")

                created = fleet.keys.create_application(request, actor=actor(), hand_over=write_down)
            if not endpoint.port:
                remark = f"the settings leave the broker's port to the system: write it into {save}, where it is 0 now"
                note(remark)
            print_one({**as_fields(created.key), "saved": str(save)}, as_json=options.as_json)
            return
        created = fleet.keys.create_application(request, actor=actor())
    if document is not None:
        print_one(losant_answer(document, created), as_json=options.as_json)
    else:
        fields = {"key": created.key.key, "secret": created.secret.reveal(), **as_fields(created.key)}
        print_one(fields, as_json=options.as_json)


@app.command("show")
@with_option_groups
def show(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Access key, 32 hex digits.")],
    *,
    options: FleetOptions,
) -> None:
    """Show one key, also a retired one; its secret is not stored and can't be shown.

    Example: fleetkey keys show 6f575800639de382efb6c92467b68b0b
    """
    with options.fleet() as fleet:
        print_one(fleet.keys.get(key), as_json=options.as_json)


@app.command("revoke")
@with_option_groups
def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Access key, 32 hex digits.")],
    *,
    options: FleetOptions,
) -> None:
    """Retire a key for good and disconnect whoever uses it, within a second.

    Example: fleetkey keys revoke 6f575800639de382efb6c92467b68b0b
    """
    with options.fleet() as fleet:
        print_one(fleet.keys.revoke(key, actor=actor()), as_json=options.as_json)


@app.command("rotate")
@with_option_groups
def rotate(
    devices: DeviceOptions,
    grace_seconds: Annotated[
        int | None,
        typer.Option(
            "--grace-seconds",
            metavar="N",
            min=0,
            max=365 * 86_400,
            help="Default: its profile's, or [registration] grace_seconds.",
        ),
    ] = None,
    *,
    options: FleetOptions,
) -> None:
    """Let the keys of devices end after a grace period; they are refused then and register again.

    The devices are those named, or all that match. A device without a key that could end is unchanged.

    Examples:
    - `fleetkey keys rotate 5f0c1d2e3a4b5c6d7e8f9a0c --grace-seconds 3600`
    - `fleetkey keys rotate --tag site=north`
    """
    selection = devices.selected()
    with options.fleet() as fleet:
        if not names_one(selection):
            change = BulkChange(action=BulkAction.ROTATE, grace_seconds=grace_seconds)
            result = fleet.devices.change_many(change, selection, actor=actor())
            print_bulk("rotated", result, as_json=options.as_json)
            return
        rotation = fleet.keys.rotate(selection.device_ids[0], grace_seconds=grace_seconds, actor=actor())
    if options.as_json:
        print_json(as_fields(rotation))
    else:
        say(_rotated(rotation))


def _rotated(rotation: RotationAnswer) -> str:
    said = f"{rotation.keys} key(s) of {rotation.device_id} end in {rotation.grace_seconds} s"
    sooner = f"{rotation.ending_sooner} key(s) of {rotation.device_id} end sooner already"
    if rotation.keys:
        return f"{said}; {sooner}" if rotation.ending_sooner else said
    return sooner if rotation.ending_sooner else f"{rotation.device_id} has no active key; nothing to rotate"


def _read(file: Path) -> bytes:
    """Return a document, bounded. Raises `CommandError` when it can't be read."""
    try:
        with contextlib.nullcontext(sys.stdin.buffer) if str(file) == "-" else file.open("rb") as stream:
            return stream.read(MAX_DOCUMENT_BYTES + 1)
    except OSError as error:
        msg = f"can't read {file}: {error.strerror}"
        raise CommandError(msg) from None


def _endpoint(options: FleetOptions) -> MqttEndpoint:
    mqtt = options.settings().mqtt
    address = parse_address(mqtt.tls_bind or mqtt.bind or mqtt.ws_bind)
    host = mqtt.advertise_host or (None if address.is_wildcard else address.host)
    return MqttEndpoint(host=host, port=mqtt.advertise_port or address.port, is_tls=bool(mqtt.tls_bind))
