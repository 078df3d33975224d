"""`fleetkey keys`: credentials of devices and applications."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fleetkey.access import TemplateError, TopicScope, hash_secret, new_secret
from fleetkey.cli.credentials_file import application_credentials, write_credentials
from fleetkey.cli.devices import parse_tag
from fleetkey.cli.errors import CommandError
from fleetkey.cli.options import ConfigOption, DataDirOption, JsonOption, actor, opened_store, settings_from
from fleetkey.cli.output import key_fields, print_json, print_list, print_one
from fleetkey.config import parse_address
from fleetkey.registration import MqttEndpoint
from fleetkey.registry import ApplicationScope, KeyKind, new_access_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fleetkey.config import Settings
    from fleetkey.registry import Store

__all__ = ["app"]

app = typer.Typer(help="Access keys: list, create for applications, revoke, rotate.", no_args_is_help=True)

PAGE = 500
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
def list_keys(
    device: Annotated[str | None, typer.Option("--device", metavar="ID", help="Only this device's keys.")] = None,
    applications: Annotated[bool, typer.Option("--applications", help="Only application keys.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Retired keys as well.")] = False,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """List keys, in order of issue; secrets are not stored and can't be shown.

    Example: fleetkey keys list --applications --json
    """
    kind = KeyKind.APPLICATION if applications else None
    with opened_store(config, data_dir) as store:
        print_list(_all(store, device, kind, include_retired=everything), COLUMNS, as_json=as_json)


@app.command("create")
def create(
    application: Annotated[str, typer.Option("--application", metavar="NAME", help="What the key is for.")],
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
    save: Annotated[
        Path | None,
        typer.Option(
            "--save", metavar="FILE", help="Write the credentials to a new file, mode 0600, instead of printing them."
        ),
    ] = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a key for a back end. The secret is shown once and stored only as a hash.

    Examples:
        fleetkey keys create --application backend --all-devices --save backend.json

        fleetkey keys create --application dashboard --tag site=north --json
    """
    scope = ApplicationScope(
        all_devices=all_devices,
        device_ids=tuple(dict.fromkeys(device or ())),
        tags=tuple(parse_tag(text) for text in tag or ()),
        publish=tuple(publish or ()),
        subscribe=tuple(subscribe or ()),
    )
    _check_scope(application, scope)
    settings = settings_from(config, data_dir)
    key, secret = new_access_key(), new_secret()
    with opened_store(config, data_dir) as store:
        secret_hash = hash_secret(secret, settings.access.bcrypt_rounds)
        if save is not None:
            write_credentials(save, application_credentials(key, secret, _endpoint(settings)))
        try:
            made = store.create_application_key(
                key=key, secret_hash=secret_hash, name=application, scope=scope, actor=actor()
            )
        except BaseException:
            if save is not None:
                save.unlink(missing_ok=True)
            raise
    if save is not None:
        print_one({**key_fields(made), "saved": str(save)}, as_json=as_json)
    else:
        print_one({"key": key, "secret": secret.reveal(), **key_fields(made)}, as_json=as_json)


@app.command("revoke")
def revoke(
    key: Annotated[str, typer.Argument(metavar="KEY", help="Access key, 32 hex digits.")],
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Retire a key for good and disconnect whoever uses it, within a second.

    Example: fleetkey keys revoke 6f575800639de382efb6c92467b68b0b
    """
    with opened_store(config, data_dir) as store:
        print_one(key_fields(store.revoke_key(key, actor=actor())), as_json=as_json)


@app.command("rotate")
def rotate(
    device_id: Annotated[str, typer.Argument(metavar="ID", help="Device id, 24 hex digits.")],
    grace_seconds: Annotated[
        int | None,
        typer.Option("--grace-seconds", min=0, max=365 * 86_400, help="Default: [registration] grace_seconds."),
    ] = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a device's keys end after a grace period; it is refused then and registers again.

    Example: fleetkey keys rotate 5f0c1d2e3a4b5c6d7e8f9a0c --grace-seconds 3600
    """
    settings = settings_from(config, data_dir)
    grace = settings.registration.grace_seconds if grace_seconds is None else grace_seconds
    with opened_store(config, data_dir) as store:
        count = store.expire_device_keys(device_id, grace_seconds=grace, actor=actor())
    if as_json:
        print_json({"device_id": device_id, "keys": count, "grace_seconds": grace})
    else:
        print(f"{count} key(s) of {device_id} end in {grace} s")


def _check_scope(name: str, scope: ApplicationScope) -> None:
    """Refuse a scope that reaches nothing, or can't be one."""
    if not name.strip() or not name.isprintable():
        msg = "give the application a name: --application NAME"
        raise CommandError(msg)
    reaches = scope.all_devices or scope.device_ids or scope.tags or scope.publish or scope.subscribe
    if not reaches:
        msg = "say what the key may reach: --all-devices, --device ID, --tag NAME=VALUE, --publish or --subscribe TOPIC"
        raise CommandError(msg)
    if scope.all_devices and (scope.device_ids or scope.tags):
        msg = "--all-devices reaches every device already; leave out --device and --tag"
        raise CommandError(msg)
    for _, value in scope.tags:
        if not value:
            msg = "a tag needs a value here; write --tag NAME=VALUE"
            raise CommandError(msg)
    try:
        TopicScope(publish=scope.publish, subscribe=scope.subscribe)
    except TemplateError as error:
        raise CommandError(str(error)) from None
    if any(topic.startswith("$") for topic in scope.publish):
        msg = "nobody may publish to a topic that begins with $"
        raise CommandError(msg)


def _endpoint(settings: Settings) -> MqttEndpoint:
    mqtt = settings.mqtt
    address = parse_address(mqtt.tls_bind or mqtt.bind or mqtt.ws_bind)
    host = mqtt.advertise_host or (None if address.is_wildcard else address.host)
    return MqttEndpoint(host=host, port=mqtt.advertise_port or address.port, is_tls=bool(mqtt.tls_bind))


def _all(
    store: Store, device_id: str | None, kind: KeyKind | None, *, include_retired: bool
) -> Iterator[dict[str, Any]]:
    after = 0
    while page := store.list_keys(
        after=after, limit=PAGE, device_id=device_id, kind=kind, include_retired=include_retired
    ):
        for _, key in page:
            yield key_fields(key)
        after = page[-1][0]
