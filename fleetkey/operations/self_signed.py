"""Self-signed certificates, to start with TLS."""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from fleetkey.operations.certificates import CertificateError
from fleetkey.registry import make_private_folder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["make_self_signed", "write_pair"]

MAX_HOSTS = 100
MAX_DAYS = 3_650
MAX_COMMON_NAME = 64
"""RFC 5280, A.1: ub-common-name."""
HOST = re.compile(r"(?=.{1,253}\Z)(\*\.)?([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9_-]{1,63}\Z")
SKEW = timedelta(minutes=5)
"""How far behind a device's clock may be."""


def make_self_signed(hosts: Sequence[str], *, days: int) -> tuple[bytes, bytes]:
    """Return a self-signed certificate for hosts and its new key, both PEM: ECDSA on P-256 (RFC 5280).

    Args:
        hosts: names and IP addresses under which clients reach the server.
        days: how long it is valid, 1 to `MAX_DAYS`.

    Raises:
        CertificateError: a host is invalid, or there are no hosts, too many hosts or too many days.
    """
    if not 0 < len(hosts) <= MAX_HOSTS or not 0 < days <= MAX_DAYS:
        msg = f"a certificate must have 1 to {MAX_HOSTS} hosts and 1 to {MAX_DAYS} days"
        raise CertificateError(msg)
    names = [_general_name(host) for host in dict.fromkeys(hosts)]
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hosts[0][:MAX_COMMON_NAME])])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - SKEW)
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True,
                key_cert_sign=True,
                crl_sign=False,
                content_commitment=False,
                key_encipherment=False,
                data_encipherment=False,
                key_agreement=False,
                encipher_only=False,
                decipher_only=False,
            ),
            critical=True,
        )
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(identifier, critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(key, hashes.SHA256())
    )
    return (
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()),
    )


def write_pair(folder: Path, certificate: bytes, key: bytes, *, overwrite: bool) -> tuple[Path, Path]:
    """Write `cert.pem` (0644) and `key.pem` (0600) to a directory, and return their paths.

    Raises:
        CertificateError: one of them already exists and may not be overwritten, or can't be written.
    """
    paths = folder / "cert.pem", folder / "key.pem"
    try:
        make_private_folder(folder)
        taken = [path for path in paths if path.exists()]
        if taken and not overwrite:
            msg = f"{taken[0]} already exists and was left unchanged"
            raise CertificateError(msg)
        # The key first: a server that checks in between finds a mismatched pair and keeps the old one.
        _replace(paths[1], key, 0o600)
        _replace(paths[0], certificate, 0o644)
    except OSError as error:
        msg = f"can't write to {folder}: {error.strerror}"
        raise CertificateError(msg) from None
    return paths


def _replace(path: Path, content: bytes, mode: int) -> None:
    part = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        pass
    if not HOST.match(host):
        msg = f"{host[:64]!r} is neither a host name nor an IP address"
        raise CertificateError(msg)
    return x509.DNSName(host)
