"""`fleetkey keys`: the credentials of devices and applications."""

from __future__ import annotations

import contextlib
import json
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fleetkey.cli.bulk_changes import BulkOptions, change_many
from fleetkey.cli.commands.last_events import last_events
from fleetkey.cli.commands.stale_presence import note_stale_presence
from fleetkey.cli.credentials_file import application_credentials, new_file
from fleetkey.cli.device_options import DeviceOptions, names_one
from fleetkey.cli.errors import CommandError, UsageError
from fleetkey.cli.option_groups import with_option_groups
from fleetkey.cli.options import (
    ExpiresOption,
    FleetOptions,
    SaveOption,
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
    from fleetkey.management.schemas import KeyAnswer, RotationAnswer

__all__ = ["app"]

HELP = """Access keys: list, show, create for applications, revoke, rotate.

Examples:
- `fleetkey keys create --application backend --all-devices --save credentials/backend.json`
- `fleetkey keys rotate --tag site=north`
"""
app = typer.Typer(help=HELP, no_args_is_help=True)

KeyArgument = Annotated[str, typer.Argument(metavar="KEY", help="Access key, 32 hex digits.")]

MAX_DOCUMENT_BYTES = 1024 * 1024
COLUMNS = (
    ("key", 32),
    ("kind", 11),
    ("status", 7),
    ("name", 16),
    ("reaches", 24),
    ("online", 6),
    ("last_seen_at", 24),
    ("expires_at", 24),
)


@app.command("list")
@with_option_groups
def list_keys(
    device: Annotated[str | None, typer.Option("--device", metavar="ID", help="Only this device's keys.")] = None,
    applications: Annotated[bool, typer.Option("--applications", help="Only application keys.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Include retired keys.")] = False,
    *,
    options: FleetOptions,
) -> None:
    """List the keys, oldest first, and what each reaches; secrets are not stored and can't be shown.

    Example: fleetkey keys list --applications --json
    """
    kind = KeyKind.APPLICATION if applications else None
    wanted = KeyFilter(device_id=device, kind=kind, include_retired=everything)
    with options.fleet() as fleet:
        nothing = "No keys match." if device or applications else "No keys."
        if isinstance(fleet, Management):
            note_stale_presence(fleet, options.settings())
        keys = fleet.keys.iterate(wanted)
        rows = keys if options.as_json else ({**as_fields(key), "reaches": _reach(key)} for key in keys)
        print_list(rows, COLUMNS, nothing=nothing, as_json=options.as_json)


@app.command("create")
@with_option_groups
def create(  # noqa: PLR0917 - options, which Typer passes by name
    application: Annotated[
        str | None, typer.Option("--application", metavar="NAME", help="What the key is for.")
    ] = None,
    all_devices: Annotated[bool, typer.Option("--all-devices", help="Allow the topics of every device.")] = False,
    device: Annotated[
        list[str] | None, typer.Option("--device", metavar="ID", help="Allow the topics of this device; repeatable.")
    ] = None,
    tag: Annotated[
        list[str] | None,
        typer.Option(
            "--tag",
            metavar="NAME=VALUE",
            help="Allow the topics of devices with this tag; if repeated, all must match.",
        ),
    ] = None,
    publish: Annotated[
        list[str] | None, typer.Option("--publish", metavar="TOPIC", help="Also allow publishing to this topic.")
    ] = None,
    subscribe: Annotated[
        list[str] | None,
        typer.Option(
            "--subscribe", metavar="TOPIC", help="Also allow subscribing to this topic, whichever devices it is about."
        ),
    ] = None,
    source: Annotated[
        list[str] | None,
        typer.Option(
            "--source", metavar="NETWORK", help="Allow connections only from this address or network; repeatable."
        ),
    ] = None,
    description: Annotated[
        str, typer.Option("--description", metavar="TEXT", help="Further details about its purpose.")
    ] = "",
    expires: ExpiresOption = None,
    from_json: Annotated[
        Path | None,
        typer.Option(
            "--from-json",
            metavar="FILE",
            help="Read name and scope from a Losant JSON document; `-` reads standard input.",
        ),
    ] = None,
    save: SaveOption = None,
    *,
    options: FleetOptions,
) -> None:
    """Create a key for a back end. The secret is shown once and stored only as a hash.

    Examples:
    - `fleetkey keys create --application backend --all-devices --save credentials/backend.json`
    - `fleetkey keys create --application dashboard --tag site=north --source 10.1.0.0/16 --expires 30d --json`
    """
    # Checked before a registry is created; the value used below counts from the fleet's time.
    expires_at = parse_expiry(expires, now=datetime.now(UTC)) if expires else None
    sources = tuple(source or ())
    document: LosantKey | None = None
    if from_json is not None:
        if application or description or all_devices or device or tag or publish or subscribe:
            msg = (
                "--from-json provides name, description and scope; leave out --application, --description, "
                "--all-devices, --device, --tag, --publish and --subscribe"
            )
            raise UsageError(msg)
        document, request = parse_losant_key(_read(from_json), sources=sources, expires_at=expires_at)
    elif application is None:
        msg = "give --application NAME or --from-json FILE"
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
                note(f"the settings let the system choose the broker's port: replace the port 0 in {save} with it")
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
    key: KeyArgument,
    *,
    options: FleetOptions,
) -> None:
    """Show one key, active or retired, its last refusal and its last success; its secret can't be shown.

    Example: fleetkey keys show 6f575800639de382efb6c92467b68b0b
    """
    with options.fleet() as fleet:
        found = fleet.keys.get(key)
        if isinstance(fleet, Management) and found.online:
            note_stale_presence(fleet, options.settings())
        print_one(
            {**as_fields(found), **last_events(fleet, found.key, as_json=options.as_json)}, as_json=options.as_json
        )


@app.command("revoke")
@with_option_groups
def revoke(
    key: KeyArgument,
    *,
    options: FleetOptions,
) -> None:
    """Revoke a key for good and disconnect the clients that use it, within a second.

    Example: fleetkey keys revoke 6f575800639de382efb6c92467b68b0b
    """
    with options.fleet() as fleet:
        print_one(fleet.keys.revoke(key, actor=actor()), as_json=options.as_json)


@app.command("rotate")
@with_option_groups
def rotate(
    devices: DeviceOptions,
    bulk: BulkOptions,
    grace_seconds: Annotated[
        int | None,
        typer.Option(
            "--grace-seconds",
            metavar="N",
            min=0,
            max=365 * 86_400,
            help="Default: that of the device's profile, or [registration] grace_seconds.",
        ),
    ] = None,
    *,
    options: FleetOptions,
) -> None:
    """Expire the keys of devices after a grace period, so that the devices register again.

    The devices are those named, or all that match. A device without a key to expire stays unchanged.

    Examples:
    - `fleetkey keys rotate 5f0c1d2e3a4b5c6d7e8f9a0c --grace-seconds 3600`
    - `fleetkey keys rotate --tag site=north`
    """
    selection = devices.selected()
    with options.fleet() as fleet:
        if not names_one(selection) or bulk.dry_run:
            change = BulkChange(action=BulkAction.ROTATE, grace_seconds=grace_seconds)
            change_many(fleet, change, selection, bulk, done="rotated", as_json=options.as_json)
            return
        rotation = fleet.keys.rotate(selection.device_ids[0], grace_seconds=grace_seconds, actor=actor())
    if options.as_json:
        print_json(as_fields(rotation))
    else:
        say(_rotated(rotation))


def _reach(key: KeyAnswer) -> str:
    """Return what a key reaches, in a few words: what isn't a device's topic comes last."""
    scope = key.scope
    if scope is None:
        return key.device_id or ""
    tags = ",".join(f"{name}={value}" for name, value in scope.tags.items())
    parts = [
        "all devices" if scope.all_devices else "",
        f"tag {tags}" if tags else "",
        f"device {' '.join(scope.device_ids)}" if scope.device_ids else "",
        f"publish {' '.join(scope.publish)}" if scope.publish else "",
        f"subscribe {' '.join(scope.subscribe)}" if scope.subscribe else "",
    ]
    return "; ".join(filter(None, parts))


def _rotated(rotation: RotationAnswer) -> str:
    said = f"{rotation.keys} key(s) of {rotation.device_id} expire in {rotation.grace_seconds} s"
    sooner = f"{rotation.ending_sooner} key(s) of {rotation.device_id} already expire sooner"
    if rotation.keys:
        return f"{said}; {sooner}" if rotation.ending_sooner else said
    return sooner if rotation.ending_sooner else f"{rotation.device_id} has no active key; nothing to rotate"


def _read(file: Path) -> bytes:
    """Return a document, up to one byte over its bound. Raises `CommandError` if it can't be read."""
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
