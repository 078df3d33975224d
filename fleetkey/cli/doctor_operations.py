"""What `fleetkey doctor` looks at for the years to come: certificates, others' servers, backups, room on the disk."""

from __future__ import annotations

import shutil
import socket
import ssl
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx

from fleetkey.access import SharedSecretError
from fleetkey.cli.findings import Finding, Verdict
from fleetkey.operations import (
    CertificateError,
    TooFewFilesError,
    certificate_end,
    load_pair,
    open_file_limit,
    plan_files,
    serving_pid,
)
from fleetkey.registry import AuditFilter, store_path
from fleetkey.webhooks import HookSecrets

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fleetkey.config import Settings, WebhookSettings
    from fleetkey.registry.store import AuditReader, WebhookReader

__all__ = ["backup_age", "certificates", "disk_space", "http_verifier", "open_files", "webhook_progress", "webhooks"]

REACH_SECONDS = 5.0
"""For a webhook's receiver, or your API, to take a connection."""
REACH_THREADS = 8
CERTIFICATE_DAYS = 14
"""Before a certificate ends, that it is warned of."""
MIN_FREE_BYTES = 100 * 1024 * 1024
"""Room on the disk below which it is a failure."""
LOW_FREE_BYTES = 1024 * 1024 * 1024
"""Room on the disk below which it is a warning."""
MIB = 1024 * 1024


def certificates(check: str, certificate: Path | None, key: Path | None) -> Iterator[Finding]:
    """Look whether a certificate and its key fit together, when it ends, and who may read the key."""
    if certificate is None or key is None:
        return
    try:
        load_pair(certificate, key)
        ends = certificate_end(certificate)
    except CertificateError as error:
        advice = "tls_cert is the chain and tls_key its key without a password, both PEM and readable by this user."
        yield Finding(check, Verdict.FAILED, str(error), advice)
        return
    now = datetime.now(UTC)
    renew = (
        "Replace both files; a running server takes them by itself. `fleetkey tls self-signed --overwrite` makes one."
    )
    if ends <= now:
        yield Finding(check, Verdict.FAILED, f"{certificate} ended on {ends.date()}", renew)
    elif ends <= now + timedelta(days=CERTIFICATE_DAYS):
        yield Finding(check, Verdict.WARNING, f"{certificate} ends on {ends.date()}", renew)
    else:
        yield Finding(check, Verdict.OK, f"{certificate} and {key} fit together; ends on {ends.date()}")
    if key.stat().st_mode & stat.S_IRWXO:
        yield Finding(
            "permissions", Verdict.WARNING, f"every user of this machine may read {key}", f"Run: chmod o= {key}"
        )


def disk_space(data_dir: Path) -> Finding:
    """Look how much room there is for the registry."""
    folder = next(folder for folder in (data_dir.absolute(), *data_dir.absolute().parents) if folder.exists())
    free = shutil.disk_usage(folder).free
    detail = f"{free // MIB:,} MiB free for {data_dir}"
    advice = "Make room: without it nothing can register, and messages that must be stored aren't taken."
    if free < MIN_FREE_BYTES:
        return Finding("disk", Verdict.FAILED, detail, advice)
    return (
        Finding("disk", Verdict.WARNING, detail, advice)
        if free < LOW_FREE_BYTES
        else Finding("disk", Verdict.OK, detail)
    )


def open_files(settings: Settings) -> Finding:
    """Look whether the server, or one started from here, may have as many open files as its settings need."""
    pid = serving_pid(store_path(settings))
    limit = open_file_limit(pid)
    whose = "the server that runs" if pid is not None else "a server started from here"
    try:
        plan = plan_files(settings, limit)
    except TooFewFilesError as error:
        return Finding("open files", Verdict.FAILED, f"{whose} can't run: {error}", "Raise the limit, and restart.")
    if not plan.is_lowered:
        may = "any number" if limit is None else f"{limit:,}"
        return Finding("open files", Verdict.OK, f"{whose} may have {may}; the settings need {plan.wanted:,}")
    detail = (
        f"{whose} may have {plan.limit:,}, the settings need {plan.wanted:,}: it takes {plan.mqtt_connections:,} MQTT "
        f"and {plan.http_connections:,} HTTP connections instead of {settings.mqtt.max_connections:,} and "
        f"{settings.http.max_connections:,}"
    )
    advice = (
        f"Raise it with `ulimit -n {plan.wanted}`, or LimitNOFILE={plan.wanted} in the unit, and restart; or lower "
        "mqtt.max_connections and http.max_connections."
    )
    return Finding("open files", Verdict.WARNING, detail, advice)


def backup_age(settings: Settings, store: AuditReader) -> Iterator[Finding]:
    """Look when the newest backup was made, if `[store] backup_days` asks for that."""
    days = settings.store.backup_days
    if not days:
        return
    made = store.last_audit(1, AuditFilter(action="backup_made"))
    if not made:
        yield Finding("backup", Verdict.WARNING, "there is none in the audit", "Run: fleetkey backup FILE")
        return
    at = datetime.fromtimestamp(made[-1].at / 1000, UTC)
    detail = f"the newest is of {at.isoformat(timespec='seconds')}"
    if datetime.now(UTC) - at > timedelta(days=days):
        yield Finding(
            "backup", Verdict.WARNING, detail, "Run: fleetkey backup FILE, and see why it isn't done by itself."
        )
    else:
        yield Finding("backup", Verdict.OK, detail)


def http_verifier(settings: Settings) -> Iterator[Finding]:
    """Look whether the API that the `http` verifier asks can be reached; nothing is sent to it.

    It fails closed, so out of reach it is as bad as no server.
    """
    registration = settings.registration
    if "http" in registration.verifiers:
        advice = "Nothing can register until it can be reached; see the API, its name and its certificate."
        yield _reached(
            "http verifier", registration.http.url, registration.http.ca_file, advice, otherwise=Verdict.FAILED
        )


def webhooks(settings: Settings) -> Iterator[Finding]:
    """Look whether each webhook's secrets can be used and its receiver can be reached; nothing is sent to it."""
    with ThreadPoolExecutor(REACH_THREADS) as threads:
        yield from threads.map(lambda item: _webhook(*item), settings.webhooks.items())
    for hook in settings.webhooks.values():
        file = hook.secret_file
        if file is not None and file.exists() and file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            detail = f"other users of this machine may read {file}"
            yield Finding("permissions", Verdict.WARNING, detail, f"Run: chmod go= {file}")


def webhook_progress(settings: Settings, store: WebhookReader) -> Iterator[Finding]:
    """Look what webhooks missed, gave up, and fail at."""
    for state in store.webhook_states():
        if state.name not in settings.webhooks:
            continue
        check = f"hook {state.name}"
        if state.missed or state.given_up:
            detail = f"{state.given_up} events were given up, {state.missed} changes were missed"
            advice = "Compare the receiver's fleet with `fleetkey devices list`; docs/how-to/webhooks.md says why."
            yield Finding(check, Verdict.WARNING, detail, advice)
        if state.last_error:
            yield Finding(check, Verdict.WARNING, f"the last try failed: {state.last_error}", "Mend the receiver.")


def _webhook(name: str, hook: WebhookSettings) -> Finding:
    check = f"hook {name}"
    try:
        HookSecrets.from_settings(name, hook)
    except SharedSecretError as error:
        advice = "Write it with: openssl rand -hex 32; the file needs to be readable by this user alone."
        return Finding(check, Verdict.FAILED, str(error), advice)
    advice = "Events wait until it can be reached; see the receiver, its name and its certificate."
    return _reached(check, hook.url, hook.ca_file, advice)


def _reached(
    check: str, url: str, ca_file: Path | None, advice: str, *, otherwise: Verdict = Verdict.WARNING
) -> Finding:
    """Connect, with TLS if the URL says so, and hang up again."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    try:
        with socket.create_connection((host, port), timeout=REACH_SECONDS) as connection:
            if parts.scheme == "https":
                context = (
                    ssl.create_default_context(cafile=ca_file) if ca_file else httpx.create_ssl_context(trust_env=False)
                )
                context.wrap_socket(connection, server_hostname=host).close()
    except OSError as error:
        return Finding(check, otherwise, f"{host}:{port} can't be reached: {error.strerror or error}", advice)
    return Finding(check, Verdict.OK, f"{host}:{port} can be reached")
