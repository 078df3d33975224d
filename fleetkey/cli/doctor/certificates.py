"""Whether TLS certificates can be served, and for how much longer."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from fleetkey.cli.doctor.findings import Finding, Verdict
from fleetkey.cli.doctor.permissions import private_key
from fleetkey.operations import CertificateError, certificate_end, load_pair

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["certificates"]

CERTIFICATE_DAYS = 14
"""How long before a certificate expires the warning begins."""


def certificates(check: str, certificate: Path | None, key: Path | None) -> Iterator[Finding]:
    """Check that a certificate matches its key, has not expired, and that only this user may read the key."""
    if certificate is None or key is None:
        return
    try:
        load_pair(certificate, key)
        expires = certificate_end(certificate)
    except CertificateError as error:
        advice = "Both must be PEM files that this user can read: tls_cert the chain, tls_key its key, unencrypted."
        yield Finding(check, Verdict.FAILED, str(error), advice)
        return
    now = datetime.now(UTC)
    renew = "Replace both files; a running server loads them. To create one: fleetkey tls self-signed --overwrite"
    if expires <= now:
        yield Finding(check, Verdict.FAILED, f"{certificate} expired on {expires.date()}", renew)
    elif expires <= now + timedelta(days=CERTIFICATE_DAYS):
        yield Finding(check, Verdict.WARNING, f"{certificate} expires on {expires.date()}", renew)
    else:
        yield Finding(check, Verdict.OK, f"{certificate} matches {key}; expires on {expires.date()}")
    yield from private_key(key)
