"""`fleetkey tls`: a self-signed certificate to start with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fleetkey.cli.errors import CommandError
from fleetkey.cli.option_groups import with_option_groups
from fleetkey.cli.options import LocalOptions
from fleetkey.cli.output import print_json, say_lines
from fleetkey.config import Address
from fleetkey.operations import CertificateError, certificate_end, make_self_signed, write_pair

__all__ = ["app"]

HERE = ("localhost", "127.0.0.1", "::1")
DAYS = 365
HTTP_PORT = 8443
MQTT_PORT = 8883
"""Registered with IANA for MQTT over TLS."""

HELP = """Certificates.

Example:
- `fleetkey tls self-signed --host fleet.example.com`
"""
app = typer.Typer(help=HELP, no_args_is_help=True)


@app.callback()
@with_option_groups
def _group() -> None:
    """Certificates."""


@app.command("self-signed")
@with_option_groups
def self_signed(
    hosts: Annotated[
        list[str] | None,
        typer.Option("--host", metavar="HOST", help="A host name or address that devices use; repeatable."),
    ] = None,
    days: Annotated[
        int, typer.Option("--days", metavar="N", min=1, max=3_650, help="How long the certificate is valid.")
    ] = DAYS,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Where to write the files. Default: tls in the data directory."),
    ] = None,
    overwrite: Annotated[
        bool,
        typer.Option("--overwrite", help="Replace existing files; a running server loads the new ones within seconds."),
    ] = False,
    *,
    options: LocalOptions,
) -> None:
    """Create a self-signed certificate and its key, and print the settings that use them.

    Devices need a copy of cert.pem to trust it. It is valid for this machine's loopback addresses, for [mqtt]
    advertise_host if that is set, and for the hosts that you name.

    This runs on the server's machine only; there is no --url.

    Example: fleetkey tls self-signed --host fleet.example.com
    """
    settings = options.settings()
    named = [*(hosts or []), *filter(None, [settings.mqtt.advertise_host]), *HERE]
    try:
        certificate, key = make_self_signed(named, days=days)
        paths = write_pair(out or settings.data_dir / "tls", certificate, key, overwrite=overwrite)
        ends = certificate_end(paths[0])
    except CertificateError as error:
        raise CommandError(str(error)) from None
    shown = [str(path.resolve()) for path in paths]
    if options.as_json:
        print_json(
            {
                "certificate": shown[0],
                "key": shown[1],
                "hosts": list(dict.fromkeys(named)),
                "ends": ends.isoformat(timespec="seconds"),
            }
        )
        return
    say_lines(f"# for {', '.join(dict.fromkeys(named))}; expires {ends.date()}. In fleetkey.toml:")
    pair = f"tls_cert = {_toml(shown[0])}\ntls_key = {_toml(shown[1])}"
    outer = next((host.strip("[]") for host in named if not Address(host=host.strip("[]"), port=0).is_loopback), None)
    if outer is None:
        say_lines(f'[http]\n{pair}\n[mqtt]\nbind = ""\ntls_bind = "127.0.0.1:{MQTT_PORT}"\n{pair}')
        return
    # Devices connect from other machines, so a listener on loopback would be of no use to them.
    every = "[::]" if ":" in outer else "0.0.0.0"  # noqa: S104 - printed, for TLS alone
    say_lines(f'[http]\nbind = "{every}:{HTTP_PORT}"\n{pair}')
    say_lines(f'[mqtt]\nbind = ""\ntls_bind = "{every}:{MQTT_PORT}"\n{pair}')
    if not outer.startswith("*"):
        say_lines(f"advertise_host = {_toml(outer)}")


def _toml(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
