"""All checks, in the order in which `fleetkey doctor` runs them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.cli.doctor.certificates import certificates
from fleetkey.cli.doctor.databases import databases
from fleetkey.cli.doctor.host import disk_space, open_files
from fleetkey.cli.doctor.outbound import http_verifier, webhooks
from fleetkey.cli.doctor.ports import collisions, ports
from fleetkey.cli.doctor.settings import exposure, shared_secrets, topics
from fleetkey.cli.doctor.sharing import topic_sharing
from fleetkey.cli.doctor.store import store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fleetkey.cli.doctor.findings import Finding
    from fleetkey.config import Settings

__all__ = ["run_checks"]


def run_checks(settings: Settings) -> Iterator[Finding]:
    """Check everything that the settings name."""
    yield from topics(settings)
    yield from topic_sharing(settings)
    yield from shared_secrets(settings)
    yield from store(settings)
    yield from databases(settings)
    yield disk_space(settings.data_dir)
    yield open_files(settings)
    yield from collisions(settings)
    yield from ports(settings)
    yield from certificates("http TLS", settings.http.tls_cert, settings.http.tls_key)
    yield from certificates("mqtt TLS", settings.mqtt.tls_cert, settings.mqtt.tls_key)
    yield from http_verifier(settings)
    yield from webhooks(settings)
    yield from exposure(settings)
