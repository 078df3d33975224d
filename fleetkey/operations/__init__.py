"""What keeps a fleet running for years: backups, certificates."""

from fleetkey.operations.backup import FleetFiles, MadeBackup, RestoredBackup, make_backup, restore_backup
from fleetkey.operations.certificates import (
    CertificateError,
    ServedCertificate,
    certificate_end,
    watch_certificates,
)
from fleetkey.operations.errors import BackupError
from fleetkey.operations.self_signed import make_self_signed, write_pair

__all__ = [
    "BackupError",
    "CertificateError",
    "FleetFiles",
    "MadeBackup",
    "RestoredBackup",
    "ServedCertificate",
    "certificate_end",
    "make_backup",
    "make_self_signed",
    "restore_backup",
    "watch_certificates",
    "write_pair",
]
