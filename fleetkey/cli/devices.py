"""`fleetkey devices`: the devices that registered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from fleetkey.cli.errors import CommandError
from fleetkey.cli.options import ConfigOption, DataDirOption, JsonOption, actor, opened_store
from fleetkey.cli.output import device_fields, key_fields, print_json, print_list, print_one
from fleetkey.registry import DeviceState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from fleetkey.registry import Store

__all__ = ["app", "parse_tag"]

app = typer.Typer(help="The devices: list, approve, disable, tag, delete.", no_args_is_help=True)

PAGE = 500
COLUMNS = (("device_id", 24), ("state", 8), ("serial", 24), ("tags", 24), ("created_at", 24))
MAX_TAG_CHARACTERS = 128

DeviceIdArgument = Annotated[str, typer.Argument(metavar="ID", help="Device id, 24 hex digits.")]


@app.command("list")
def list_devices(
    state: Annotated[DeviceState | None, typer.Option("--state", help="Only devices in this state.")] = None,
    tag: Annotated[
        list[str] | None, typer.Option("--tag", metavar="NAME=VALUE", help="Only devices with this tag.")
    ] = None,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the devices, in order of id.

    Example: fleetkey devices list --state pending --json
    """
    tags = dict(parse_tag(text) for text in tag or ())
    with opened_store(config, data_dir) as store:
        print_list(_all(store, state, tags), COLUMNS, as_json=as_json)


@app.command("show")
def show(
    device_id: DeviceIdArgument,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one device and its active keys.

    Example: fleetkey devices show 5f0c1d2e3a4b5c6d7e8f9a0c
    """
    with opened_store(config, data_dir) as store:
        fields = device_fields(store.get_device(device_id))
        fields["keys"] = [key_fields(key) for _, key in store.list_keys(device_id=device_id, limit=1000)]
    if not as_json:
        fields["keys"] = [key["key"] for key in fields["keys"]]
    print_one(fields, as_json=as_json)


@app.command("approve")
def approve(
    device_id: DeviceIdArgument,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a pending device have credentials the next time it registers.

    Example: fleetkey devices approve 5f0c1d2e3a4b5c6d7e8f9a0c
    """
    with opened_store(config, data_dir) as store:
        device = store.get_device(device_id)
        if device.state is DeviceState.DISABLED:
            msg = f"device {device_id} is disabled, not pending; see: fleetkey devices enable {device_id}"
            raise CommandError(msg)
        _print_device(store, device_id, DeviceState.ACTIVE, as_json=as_json)


@app.command("disable")
def disable(
    device_id: DeviceIdArgument,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Disconnect a device within a second and keep it out; it can't register its way back.

    Example: fleetkey devices disable 5f0c1d2e3a4b5c6d7e8f9a0c
    """
    with opened_store(config, data_dir) as store:
        _print_device(store, device_id, DeviceState.DISABLED, as_json=as_json)


@app.command("enable")
def enable(
    device_id: DeviceIdArgument,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let a disabled device in again, with the keys it had.

    Example: fleetkey devices enable 5f0c1d2e3a4b5c6d7e8f9a0c
    """
    with opened_store(config, data_dir) as store:
        if store.get_device(device_id).state is DeviceState.PENDING:
            msg = f"device {device_id} is pending; see: fleetkey devices approve {device_id}"
            raise CommandError(msg)
        _print_device(store, device_id, DeviceState.ACTIVE, as_json=as_json)


@app.command("delete")
def delete(
    device_id: DeviceIdArgument,
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Forget a device and retire its keys; its serial may register as a new device while it is on the allow-list.

    Example: fleetkey devices delete 5f0c1d2e3a4b5c6d7e8f9a0c
    """
    with opened_store(config, data_dir) as store:
        store.delete_device(device_id, actor=actor())
    if as_json:
        print_json({"deleted": device_id})
    else:
        print(f"deleted {device_id}")


@app.command("tag")
def tag(
    device_id: DeviceIdArgument,
    tags: Annotated[list[str], typer.Argument(metavar="NAME=VALUE…", help="Tags to set; `NAME=` takes one away.")],
    config: ConfigOption = None,
    data_dir: DataDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set or take away tags.

    Example: fleetkey devices tag 5f…c2 site=north line=3
    """
    changes = {name: value or None for name, value in (parse_tag(text) for text in tags)}
    with opened_store(config, data_dir) as store:
        print_one(device_fields(store.tag_device(device_id, changes, actor=actor())), as_json=as_json)


def parse_tag(text: str) -> tuple[str, str]:
    """Split `name=value`.

    Raises:
        CommandError: there is no `=`, no name, or too much of either.
    """
    name, separator, value = text.partition("=")
    if not separator or not name:
        msg = f"{text!r} is not a tag; write NAME=VALUE"
        raise CommandError(msg)
    if max(len(name), len(value)) > MAX_TAG_CHARACTERS or not (name + value).isprintable():
        msg = f"a tag's name and value have at most {MAX_TAG_CHARACTERS} printable characters each"
        raise CommandError(msg)
    return name, value


def _print_device(store: Store, device_id: str, state: DeviceState, *, as_json: bool) -> None:
    print_one(device_fields(store.set_device_state(device_id, state, actor=actor())), as_json=as_json)


def _all(store: Store, state: DeviceState | None, tags: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    after = ""
    while page := store.list_devices(after=after, limit=PAGE, state=state, tags=tags):
        for device in page:
            yield device_fields(device)
        after = page[-1].device_id
