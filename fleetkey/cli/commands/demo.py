"""`fleetkey demo`: a tour of the main features, on a temporary fleet."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from fleetkey.cli.errors import CommandError
from fleetkey.cli.logs import configure_logs
from fleetkey.cli.option_groups import with_option_groups
from fleetkey.cli.options import LocalOptions
from fleetkey.cli.output import print_json, print_step, say
from fleetkey.config import LogSettings

__all__ = ["demo"]


@with_option_groups
def demo(options: LocalOptions) -> None:
    """Register two devices, exchange messages, try to reach the other device's topics, and disable one of them.

    Runs a real server with a temporary registry, on loopback and free ports; the settings and the registry of this
    installation are not touched. Takes a few seconds; exit status 1 if a step does not go as it should.

    Example: fleetkey demo --json
    """
    from fleetkey.cli.demo.story import story  # noqa: PLC0415 - slow to import; only this command needs it

    configure_logs(LogSettings(level="error"))
    started = time.monotonic()
    failed = 0
    with tempfile.TemporaryDirectory(prefix="fleetkey-demo-") as folder:
        for step in story(Path(folder)):
            failed += not step.is_shown
            if options.as_json:
                print_json({"step": step.title, "ok": step.is_shown, "detail": step.detail})
            else:
                print_step(step.title, step.detail, is_good=step.is_shown)
    if failed:
        msg = f"{failed} step(s) of the demo failed"
        raise CommandError(msg)
    if not options.as_json:
        say("")
        say(f"That took {time.monotonic() - started:.1f} s. To run your own: fleetkey serve")
