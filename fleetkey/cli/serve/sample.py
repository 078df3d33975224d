"""A sample serial and application key, to try Fleetkey with on an empty registry."""

from __future__ import annotations

import secrets
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from fleetkey.access import hash_secret, new_secret
from fleetkey.cli.credentials_file import application_credentials, write_credentials
from fleetkey.cli.options import actor
from fleetkey.cli.output import say_lines
from fleetkey.registry import ApplicationScope, new_access_key

if TYPE_CHECKING:
    from fleetkey.cli.serve.runtime import Runtime

__all__ = ["Sample", "make_sample", "print_next_steps"]

APPLICATION_FILE = "sample-application.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """The sample: a serial that may register, and a file with an application's credentials."""

    serial: str
    application_file: Path


def make_sample(runtime: Runtime) -> Sample | None:
    """Add a serial and an application key if the registry is empty, otherwise return None."""
    store = runtime.store
    if store.count_serials() or store.count_devices() or store.count_keys():
        return None
    path = runtime.settings.data_dir / APPLICATION_FILE
    key, secret = new_access_key(), new_secret()
    path.unlink(missing_ok=True)
    write_credentials(path, application_credentials(key, secret, runtime.mqtt_endpoint()))
    store.create_application_key(
        key=key,
        secret_hash=hash_secret(secret, runtime.settings.access.bcrypt_rounds),
        name="sample",
        scope=ApplicationScope(all_devices=True),
        actor=actor(),
    )
    serial = f"sample-{secrets.token_hex(8)}"
    store.add_serials([serial], actor=actor())
    return Sample(serial=serial, application_file=path)


def print_next_steps(runtime: Runtime, sample: Sample | None) -> None:
    """Print commands to paste into another terminal."""
    fleetkey = _command("fleetkey")
    python = _command("python")
    data_dir = runtime.settings.data_dir
    if sample is None:
        say_lines(
            f"\nThe registry in {data_dir} is not empty. To let another device register:\n\n"
            f"  {fleetkey} serials add SERIAL --data-dir {data_dir}\n",
            flush=True,
        )
        return
    state = "losant/$ID/state" if runtime.settings.topics.preset == "losant" else "devices/$ID/state"
    wildcard = "losant/+/state" if runtime.settings.topics.preset == "losant" else "devices/+/#"
    say_lines(
        f"""
Next, paste these commands into a second terminal, in this directory. A device registers with its serial:

  (umask 077; mkdir -p credentials; curl -sS {runtime.http_url()}/register -H 'Content-Type: application/json' \\
    -d '{{"serial": "{sample.serial}"}}' -o credentials/device.json); cat credentials/device.json; echo

A back end subscribes to every device (its key and secret are in the file):

  {python} -m fleetkey.device --credentials {sample.application_file} --subscribe '{wildcard}'

In a third terminal, the device publishes with its own credentials:

  ID=$(grep -oE '[0-9a-f]{{24}}' credentials/device.json | head -n 1)
  {python} -m fleetkey.device --credentials credentials/device.json \\
    --publish "{state}" '{{"data": {{"temperature": 21}}}}'

Any client of MQTT 5 or 3.1.1 works: client id = deviceId, username = key, password = secret.
To let another device register: {fleetkey} serials add SERIAL --data-dir {data_dir}      Ctrl-C stops the server.
""",
        flush=True,
    )


def _command(name: str) -> str:
    """Return the shortest path to a program that is installed beside this one."""
    path = Path(sys.executable).parent / name
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
