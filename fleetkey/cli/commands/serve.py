"""`fleetkey serve`: registration and broker in one process."""

from __future__ import annotations

from typing import Annotated

import typer

from fleetkey.cli.logs import configure_logs
from fleetkey.cli.option_groups import with_option_groups
from fleetkey.cli.options import LocalOptions

__all__ = ["serve"]


@with_option_groups
def serve(
    http: Annotated[
        str | None,
        typer.Option(
            "--http", metavar="HOST:PORT", help="Address for registration and the admin API; port 0 picks a free one."
        ),
    ] = None,
    mqtt: Annotated[
        str | None, typer.Option("--mqtt", metavar="HOST:PORT", help="Address for the broker; port 0 picks a free one.")
    ] = None,
    sample: Annotated[
        bool,
        typer.Option(
            "--sample",
            help="If the registry is empty, create a sample serial and an application key, and print what to try next.",
        ),
    ] = False,
    *,
    options: LocalOptions,
) -> None:
    """Run registration and the MQTT broker until Ctrl-C or SIGTERM; SIGHUP reloads the certificates.

    A line on standard output says when both are ready; the log goes to standard error.

    Examples:
    - `fleetkey serve`
    - `fleetkey serve --http 0.0.0.0:8080 --mqtt 0.0.0.0:1883 --data-dir /var/lib/fleetkey`
    - `fleetkey serve --http 127.0.0.1:0 --mqtt 127.0.0.1:0 --json`
    """
    settings = options.settings({"http.bind": http, "mqtt.bind": mqtt})
    configure_logs(settings.log)
    from fleetkey.cli.serve.server import run_server  # noqa: PLC0415 - slow to import; only this command needs it

    run_server(settings, sample=sample, as_json=options.as_json)
