"""Certificates of listeners, reloaded when their files change, without a restart and without losing connections."""

from __future__ import annotations

import asyncio
import re
import ssl
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import structlog
from cryptography import x509

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["TLS_CIPHERS", "CertificateError", "ServedCertificate", "certificate_end", "load_pair", "watch_certificates"]

log = structlog.get_logger(__name__)

TLS_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""What TLS 1.2 clients may choose from, in OpenSSL's words. The CBC ones encrypt at a quarter of the speed."""

CHECK_SECONDS = 2.0
"""Interval between checks of the files; a change is loaded once two checks in a row find the same files."""
MAX_CERTIFICATE_BYTES = 1024 * 1024
"""How much of a certificate file is read to find its expiry, and of a key file to find the key."""
PRIVATE_KEY = re.compile(rb"-----BEGIN ([A-Z0-9]+ )*PRIVATE KEY-----")

WARN_SECONDS = 86_400.0
"""Interval between checks for expiring certificates."""
ENDS_SOON_DAYS = 14

Look = tuple[int, ...]


class CertificateError(Exception):
    """A certificate or key can't be used; the message names the file and the reason."""


class ServedCertificate:
    """The files of a certificate and its key, and the TLS contexts that use them.

    An attached context switches to the newest pair at each handshake (the server-name callback is called with or
    without a name: RFC 6066, 3). So a new pair may have another type of key, handshakes in progress keep the old one,
    and existing connections are not affected.
    """

    def __init__(self, name: str, certificate: Path, key: Path) -> None:
        """Record the current state of the files, before they are used."""
        self.name = name
        self._certificate = certificate
        self._key = key
        self._newest: ssl.SSLContext | None = None
        self._served = self._seen = self._look()
        self._failed: Look | None = None

    def attach(self, context: ssl.SSLContext) -> None:
        """Make a listener's context use later pairs; it already has the current one."""
        context.sni_callback = self._choose

    async def verify(self) -> None:
        """Check the pair, before it is used. Raises `CertificateError`."""
        await asyncio.to_thread(self._load)

    async def reload_if_changed(self, *, at_once: bool = False) -> bool:
        """Load a changed pair, and return whether one was loaded. An unusable one is logged once.

        Args:
            at_once: whether to read the files regardless of changes, as for SIGHUP. Otherwise a change is loaded once
                the files have stayed the same between two checks, since certificate and key are written one after the
                other.
        """
        look = await asyncio.to_thread(self._look)
        is_settled = look == self._seen
        self._seen = look
        if not at_once and (look in {self._served, self._failed} or not is_settled):
            return False
        try:
            self._newest, ends = await asyncio.to_thread(self._load)
        except CertificateError as error:
            self._failed = look
            log.error(  # noqa: TRY400 - the message is the whole story
                "tls_certificate_unusable",
                listener=self.name,
                error=str(error),
                meaning="the previous certificate stays in use",
            )
            return False
        self._served, self._failed = look, None
        log.info("tls_certificate_reloaded", listener=self.name, ends=ends.isoformat(timespec="seconds"))
        return True

    async def warn(self) -> None:
        """Log it if the certificate expires within `ENDS_SOON_DAYS`, or has expired."""
        try:
            ends = await asyncio.to_thread(certificate_end, self._certificate)
        except CertificateError:
            return
        if ends <= datetime.now(UTC) + timedelta(days=ENDS_SOON_DAYS):
            log.warning("tls_certificate_ends_soon", listener=self.name, ends=ends.isoformat(timespec="seconds"))

    def _choose(self, handshake: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        if self._newest is not None:
            handshake.context = self._newest

    def _load(self) -> tuple[ssl.SSLContext, datetime]:
        return load_pair(self._certificate, self._key), certificate_end(self._certificate)

    def _look(self) -> Look:
        found: list[int] = []
        for path in (self._certificate, self._key):
            try:
                status = path.stat()
            except OSError:
                found.append(-1)
            else:
                found += [status.st_mtime_ns, status.st_size, status.st_ino]
        return tuple(found)


async def watch_certificates(certificates: Iterable[ServedCertificate]) -> None:
    """Check the files every `CHECK_SECONDS`, and their expiry every `WARN_SECONDS`; never returns."""
    loop = asyncio.get_running_loop()
    warn_at = loop.time()
    while True:
        if loop.time() >= warn_at:
            warn_at = loop.time() + WARN_SECONDS
            for certificate in certificates:
                await certificate.warn()
        await asyncio.sleep(CHECK_SECONDS)
        for certificate in certificates:
            await certificate.reload_if_changed()


def load_pair(certificate: Path, key: Path) -> ssl.SSLContext:
    """Return a server's TLS context with a certificate and its key.

    Raises:
        CertificateError: they can't be used; says which of them and why, even where OpenSSL only says `PEM lib`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers(TLS_CIPHERS)
    try:
        # Without this, OpenSSL would ask for a password on the terminal.
        context.load_cert_chain(certificate, key, password=lambda: b"")
    except (OSError, ValueError) as error:
        certificate_end(certificate)
        _see_key(key)
        reason = getattr(error, "reason", None)
        why = "the certificate and the key don't match" if reason == "KEY_VALUES_MISMATCH" else str(error)
        msg = f"{certificate}, {key}: {why}"
        raise CertificateError(msg) from None
    return context


def _see_key(path: Path) -> None:
    content = _read(path)
    if not PRIVATE_KEY.search(content):
        msg = f"{path} contains no PEM private key"
        raise CertificateError(msg)
    if b"ENCRYPTED" in content:
        msg = f"{path} contains an encrypted key; a server needs a key without a password"
        raise CertificateError(msg)


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_CERTIFICATE_BYTES)
    except OSError as error:
        msg = f"{path} can't be read: {error.strerror}"
        raise CertificateError(msg) from None


def certificate_end(path: Path) -> datetime:
    """Return when the first certificate in a PEM file expires.

    Raises:
        CertificateError: the file can't be read or contains no certificate.
    """
    content = _read(path)
    try:
        return x509.load_pem_x509_certificates(content)[0].not_valid_after_utc.astimezone(UTC)
    except ValueError:
        msg = f"{path} contains no PEM certificate"
        raise CertificateError(msg) from None
