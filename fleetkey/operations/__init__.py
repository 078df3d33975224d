"""What keeps a fleet running for years: backups, certificates."""

from fleetkey.operations.backup import FleetFiles, MadeBackup, RestoredBackup, make_backup, restore_backup
from fleetkey.operations.certificates import (
    CertificateError,
    ServedCertificate,
    certificate_end,
    load_pair,
    watch_certificates,
)
from fleetkey.operations.errors import BackupError, ServedElsewhereError
from fleetkey.operations.self_signed import make_self_signed, write_pair
from fleetkey.operations.serve_lock import ServeLock, serving_pid

__all__ = [
    "BackupError",
    "CertificateError",
    "FleetFiles",
    "MadeBackup",
    "RestoredBackup",
    "ServeLock",
    "ServedCertificate",
    "ServedElsewhereError",
    "certificate_end",
    "load_pair",
    "make_backup",
    "make_self_signed",
    "restore_backup",
    "serving_pid",
    "watch_certificates",
    "write_pair",
]
