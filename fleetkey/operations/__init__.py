"""Operating a server: backups, certificates, file descriptors."""

from fleetkey.operations.backup import FleetFiles, MadeBackup, RestoredBackup, make_backup, restore_backup
from fleetkey.operations.certificates import (
    TLS_CIPHERS,
    CertificateError,
    ServedCertificate,
    certificate_end,
    load_pair,
    watch_certificates,
)
from fleetkey.operations.descriptors import Descriptors
from fleetkey.operations.errors import BackupError, ServedElsewhereError, TooFewFilesError
from fleetkey.operations.open_files import FilePlan, open_file_limit, plan_files, raise_open_file_limit
from fleetkey.operations.self_signed import make_self_signed, write_pair
from fleetkey.operations.serve_lock import ServeLock, serving_pid
from fleetkey.operations.sqlite_files import check_in_place

__all__ = [
    "TLS_CIPHERS",
    "BackupError",
    "CertificateError",
    "Descriptors",
    "FilePlan",
    "FleetFiles",
    "MadeBackup",
    "RestoredBackup",
    "ServeLock",
    "ServedCertificate",
    "ServedElsewhereError",
    "TooFewFilesError",
    "certificate_end",
    "check_in_place",
    "load_pair",
    "make_backup",
    "make_self_signed",
    "open_file_limit",
    "plan_files",
    "raise_open_file_limit",
    "restore_backup",
    "serving_pid",
    "watch_certificates",
    "write_pair",
]
