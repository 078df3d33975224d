"""The `fleetkey` command: its subcommands, and the exit status of each kind of failure."""

from __future__ import annotations

import logging
import sys
from http import HTTPStatus
from typing import Annotated

import typer

from fleetkey import __version__
from fleetkey.access import SharedSecretError, TemplateError
from fleetkey.cli.commands import (
    audit,
    backup,
    demo,
    devices,
    doctor,
    explain,
    keys,
    restore,
    serials,
    serve,
    tls,
    tokens,
    webhooks,
)
from fleetkey.cli.errors import CommandError, InterruptedCommandError, RefusedError, UsageError
from fleetkey.cli.output import print_broken, print_failure, say
from fleetkey.config import SettingsError
from fleetkey.management import InvalidRequestError, ManagementError
from fleetkey.printable import PrintableFormatter, guard_tracebacks
from fleetkey.registry import InvalidSerialError, StoreError

__all__ = ["app", "main"]

FAILED = 1
USAGE = 2
INTERRUPTED = 130
# What Typer raises for wrong usage; it doesn't export the class by name.
UsageProblem: type[typer.BadParameter] = typer.BadParameter.__mro__[2]

HELP = """Self-hosted self-registration and topic isolation for MQTT fleets.

Examples:
- `fleetkey demo`
- `fleetkey serve`
- `fleetkey serials add SN-0001`
- `fleetkey devices list --online`
- `fleetkey explain SN-0001`
- `fleetkey devices list --url https://fleet.example.com --token-file credentials/ci.token`
"""
app = typer.Typer(
    name="fleetkey",
    help=HELP,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("serve")(serve.serve)
app.command("demo")(demo.demo)
app.add_typer(serials.app, name="serials")
app.add_typer(devices.app, name="devices")
app.add_typer(keys.app, name="keys")
app.add_typer(tokens.app, name="tokens")
app.add_typer(webhooks.app, name="webhooks")
app.add_typer(tls.app, name="tls")
app.add_typer(audit.app, name="audit")
app.command("backup")(backup.backup)
app.command("restore")(restore.restore)
app.command("explain")(explain.explain)
app.command("doctor")(doctor.doctor)


def _show_version(value: bool) -> None:
    if value:
        say(f"fleetkey {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version)
    ] = False,
) -> None:
    """Self-hosted self-registration and topic isolation for MQTT fleets."""
    del version


def main() -> None:
    """Run the command line. Exit status: 0, 1 if it failed, 2 for wrong usage or invalid settings, 130 for Ctrl-C."""
    guard_tracebacks()
    if logging.lastResort is not None:
        # For what libraries log in commands that configure no log.
        logging.lastResort.setFormatter(PrintableFormatter())
    try:
        sys.exit(app(standalone_mode=False) or 0)
    except UsageProblem as error:
        if type(error).__name__ == "NoArgsIsHelpError":
            # The help has already been printed.
            sys.exit(USAGE)
        # The prefix comes from how choices are validated; it means nothing to the user.
        _fail(error.format_message().replace("Value error, ", "", 1), USAGE)
    except typer.Abort:
        _fail("aborted", FAILED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except (SettingsError, TemplateError, SharedSecretError) as error:
        _fail(str(error), USAGE)
    except (UsageError, InvalidRequestError, InvalidSerialError) as error:
        _fail(str(error), USAGE)
    except RefusedError as error:
        # The remote counterpart of `InvalidRequestError`.
        _fail(str(error), USAGE if error.status == HTTPStatus.BAD_REQUEST else FAILED)
    except InterruptedCommandError as error:
        _fail(str(error), INTERRUPTED)
    except (StoreError, ManagementError, CommandError) as error:
        _fail(str(error), FAILED)
    except BrokenPipeError:
        # The reader of the output has gone, as `head` does.
        sys.stderr.close()
        sys.exit(FAILED)
    except Exception as error:  # noqa: BLE001 - the process ends here; Python would print the message unescaped
        print_broken(error)
        sys.exit(FAILED)


def _fail(message: str, status: int) -> None:
    print_failure(message, as_json="--json" in sys.argv)
    sys.exit(status)
