"""`fleetkey doctor`: what is wrong with this installation, and what to do about it."""

from __future__ import annotations

from dataclasses import asdict

import typer

from fleetkey.cli.doctor.checks import run_checks
from fleetkey.cli.doctor.findings import Finding, Verdict
from fleetkey.cli.option_groups import with_option_groups
from fleetkey.cli.options import LocalOptions
from fleetkey.cli.output import print_json, say
from fleetkey.config import SettingsError

__all__ = ["doctor"]


@with_option_groups
def doctor(options: LocalOptions) -> None:
    """Check settings, store, disk, open files, ports, clock, TLS, your API, webhooks and backups, and say what to do.

    Exit status 1 if a check failed; warnings don't count.

    This runs on the server's machine only; there is no --url.

    Example: fleetkey doctor --config /etc/fleetkey.toml
    """
    try:
        settings = options.settings()
    except SettingsError as error:
        advice = "Correct it in the settings file, the variable or the option that sets it."
        findings = [Finding("settings", Verdict.FAILED, str(error), advice)]
    else:
        findings = [Finding("settings", Verdict.OK, "valid"), *run_checks(settings)]
    if options.as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            say(f"{finding.verdict.upper():<8} {finding.check:<14} {finding.detail}")
            if finding.advice:
                say(f"{'':<8} {'':<14} -> {finding.advice}")
    if any(finding.verdict is Verdict.FAILED for finding in findings):
        raise typer.Exit(1)
