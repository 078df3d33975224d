"""`fleetkey doctor`: what is wrong with this installation, and what to do about it."""

from __future__ import annotations

import os
import stat
import time
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import typer

from fleetkey.access import GroupSecrets, SharedSecretError, TemplateError, TopicTemplates, read_shared_secret
from fleetkey.cli.doctor_operations import (
    backup_age,
    certificates,
    disk_space,
    http_verifier,
    open_files,
    webhook_progress,
    webhooks,
)
from fleetkey.cli.doctor_ports import ports
from fleetkey.cli.findings import Finding, Verdict
from fleetkey.cli.option_groups import with_option_groups
from fleetkey.cli.options import LocalOptions
from fleetkey.cli.output import print_json, say
from fleetkey.config import SettingsError, parse_address
from fleetkey.registry import DevicePolicy, StoreError, SystemTime, open_store, store_path

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fleetkey.config import Settings
    from fleetkey.registry import ClockMark

__all__ = ["doctor"]

EARLIEST = datetime(2024, 1, 1, tzinfo=UTC).timestamp()
CLOCK_SLACK_SECONDS = 300
OTHERS = stat.S_IRWXG | stat.S_IRWXO


@with_option_groups
def doctor(options: LocalOptions) -> None:
    """Check settings, store, disk, open files, ports, clock, TLS, your API, webhooks and backups, and say what to do.

    Exit status 1 if a check failed; warnings don't count.

    It works on the server's machine alone and takes no --url.

    Example: fleetkey doctor --config /etc/fleetkey.toml
    """
    try:
        settings = options.settings()
    except SettingsError as error:
        findings = [
            Finding("settings", Verdict.FAILED, str(error), "Correct it; docs/reference/settings.md has all names.")
        ]
    else:
        findings = [Finding("settings", Verdict.OK, "understood"), *_examine(settings)]
    if options.as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        for finding in findings:
            say(f"{finding.verdict.upper():<8} {finding.check:<14} {finding.detail}")
            if finding.advice:
                say(f"{'':<8} {'':<14} -> {finding.advice}")
    if any(finding.verdict is Verdict.FAILED for finding in findings):
        raise typer.Exit(1)


def _examine(settings: Settings) -> Iterator[Finding]:
    yield from _topics(settings)
    yield from _shared_secrets(settings)
    yield from _store(settings)
    yield disk_space(settings.data_dir)
    yield open_files(settings)
    yield from ports(settings)
    yield from certificates("http TLS", settings.http.tls_cert, settings.http.tls_key)
    yield from certificates("mqtt TLS", settings.mqtt.tls_cert, settings.mqtt.tls_key)
    yield from http_verifier(settings)
    yield from webhooks(settings)
    yield from _exposure(settings)


def _topics(settings: Settings) -> Iterator[Finding]:
    try:
        templates = TopicTemplates.from_settings(settings.topics, settings.profiles)
    except TemplateError as error:
        yield Finding("topics", Verdict.FAILED, str(error), "Correct publish and subscribe there.")
        return
    patterns = ", ".join(dict.fromkeys((*templates.publish, *templates.subscribe, *templates.of_profiles)))
    yield Finding("topics", Verdict.OK, patterns)
    for whose, policy, tags in (
        ("without a profile", DevicePolicy(), {}),
        *(
            (f"of profile {name}", DevicePolicy(publish=profile.publish, subscribe=profile.subscribe), profile.tags)
            for name, profile in settings.profiles.items()
        ),
    ):
        missing = templates.of_policy(policy).missing_tags(tags)
        if missing:
            detail = f"the topics of devices {whose} need a tag that the settings don't give: {', '.join(missing)}"
            advice = (
                "Devices without it are kept out until tagged (fleetkey devices tag): give it in the allow-list's CSV,"
                " in your API's answer or in the profile's tags."
            )
            yield Finding("topic tags", Verdict.WARNING, detail, advice)


def _shared_secrets(settings: Settings) -> Iterator[Finding]:
    registration = settings.registration
    try:
        if "hmac" in registration.verifiers:
            groups = GroupSecrets.from_settings(registration.hmac)
            yield Finding("group secrets", Verdict.OK, ", ".join(groups.names))
        if "http" in registration.verifiers and registration.http.secret_file is not None:
            read_shared_secret("registration.http.secret_file", path=registration.http.secret_file)
    except SharedSecretError as error:
        advice = "Write it with: openssl rand -hex 32; the file needs to be readable by this user alone."
        yield Finding("shared secret", Verdict.FAILED, str(error), advice)
        return
    files = [*registration.hmac.secret_files.values(), registration.http.secret_file]
    for path in filter(None, files):
        if path.exists() and path.stat().st_mode & OTHERS:
            advice = f"Run: chmod go= {path}"
            yield Finding("permissions", Verdict.WARNING, f"other users of this machine may read {path}", advice)


def _store(settings: Settings) -> Iterator[Finding]:
    try:
        path = store_path(settings)
        if not path.exists():
            parent = next(folder for folder in path.absolute().parents if folder.exists())
            if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
                advice = "Choose another folder with --data-dir."
                yield Finding("store", Verdict.FAILED, f"{path} can't be made in {parent}", advice)
                return
            yield Finding("store", Verdict.OK, f"none yet; serve will make {path} (in {parent})")
            yield _clock(None, None)
            return
        store = open_store(settings)
    except StoreError as error:
        yield Finding(
            "store", Verdict.FAILED, str(error), "Choose another folder with --data-dir, or restore the file."
        )
        return
    try:
        newest = store.last_audit(1)
        counts = f"{store.count_devices()} devices, {store.count_serials()} listed serials, {store.count_keys()} keys"
        yield Finding("store", Verdict.OK, f"{path}: {counts}")
        yield _clock(newest[-1].at / 1000 if newest else None, store.clock_mark())
        yield from backup_age(settings, store)
        yield from webhook_progress(settings, store)
    except StoreError as error:
        yield Finding("store", Verdict.FAILED, str(error), "Restore the file from a backup.")
    finally:
        store.close()
    if path.parent.stat().st_mode & OTHERS or path.stat().st_mode & OTHERS:
        advice = f"Run: chmod go= {path.parent} {path}"
        yield Finding("permissions", Verdict.WARNING, f"other users of this machine may reach {path}", advice)


def _clock(newest_audit: float | None, mark: ClockMark | None) -> Finding:
    now = time.time()
    if now < EARLIEST:
        return Finding("clock", Verdict.FAILED, "the clock is years behind", "Set the clock; keys expire by it.")
    if newest_audit is not None and newest_audit > now + CLOCK_SLACK_SECONDS:
        detail = "the registry's newest entry is in the future"
        return Finding("clock", Verdict.WARNING, detail, "Set the clock and keep it set with NTP; keys expire by it.")
    if mark is not None and (jump := mark.jump_seconds(SystemTime())):
        how_far = f"{timedelta(seconds=round(abs(jump)))} {'ahead of' if jump > 0 else 'behind'}"
        detail = f"the clock is {how_far} the time that the server keeps, or noted when it ended"
        advice = "Set it if it is wrong. Nothing ends by it until a server has seen it steady for 10 minutes."
        return Finding("clock", Verdict.WARNING, detail, advice)
    return Finding("clock", Verdict.OK, datetime.now(UTC).isoformat(timespec="seconds"))


def _exposure(settings: Settings) -> Iterator[Finding]:
    http, mqtt = settings.http, settings.mqtt
    if not http.address.is_loopback and http.tls_cert is None and not http.trusted_proxies:
        yield Finding(
            "exposure",
            Verdict.WARNING,
            f"registration on {http.bind} answers secrets without TLS",
            "Set [http] tls_cert and tls_key, or put a TLS proxy before it and name it in trusted_proxies.",
        )
    if mqtt.bind and not parse_address(mqtt.bind).is_loopback:
        yield Finding(
            "exposure",
            Verdict.WARNING,
            f"MQTT on {mqtt.bind} carries secrets without TLS",
            "Set [mqtt] tls_bind, tls_cert and tls_key, and bind = '' or loopback.",
        )
    verifiers = set(settings.registration.verifiers)
    if verifiers == {"open"}:
        yield Finding(
            "exposure", Verdict.WARNING, "every serial may register", 'Use verifiers = ["allowlist"] beyond a trial.'
        )
    elif verifiers <= {"open", "pattern"} and not settings.registration.require_approval:
        yield Finding(
            "exposure",
            Verdict.WARNING,
            "whoever guesses a serial of the right form may register",
            "Add hmac, http or allowlist to verifiers, or set require_approval = true.",
        )
