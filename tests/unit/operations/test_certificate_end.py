"""A certificate that is about to end is named in the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from fleetkey.operations import CertificateError, ServedCertificate, certificate_end, make_self_signed, write_pair

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(("days", "events"), [(3, ["tls_certificate_ends_soon"]), (30, [])])
async def test_warn(tmp_path: Path, days: int, events: list[str]) -> None:
    """Two weeks before, and not earlier."""
    certificate, key = write_pair(tmp_path, *make_self_signed(["localhost"], days=days), overwrite=False)
    with capture_logs() as logs:
        await ServedCertificate("http", certificate, key).warn()
    assert [line["event"] for line in logs] == events


@pytest.mark.parametrize("content", [None, b"", b"-----BEGIN CERTIFICATE-----\nnope\n-----END CERTIFICATE-----\n"])
def test_certificate_end_unreadable(tmp_path: Path, content: bytes | None) -> None:
    """What is no certificate is an error that names the file."""
    if content is not None:
        (tmp_path / "cert.pem").write_bytes(content)
    with pytest.raises(CertificateError, match=r"cert\.pem"):
        certificate_end(tmp_path / "cert.pem")
