"""The file of a backup: a tar archive of the databases, with a manifest that says what belongs in it."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

import msgspec

from fleetkey import __version__
from fleetkey.operations.errors import BackupError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["BROKER", "REGISTRY", "Manifest", "pack", "unpack"]

REGISTRY, BROKER = "fleetkey.db", "broker.db"
MANIFEST = "manifest.json"
FORMAT = 1
MAX_MANIFEST_BYTES = 64 * 1024
CHUNK_BYTES = 1024 * 1024


class PackedFile(msgspec.Struct, frozen=True):
    """A file in a backup."""

    name: str
    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """The manifest of a backup."""

    format: int
    version: str
    made_at: str
    files: tuple[PackedFile, ...]


@dataclass(frozen=True, slots=True)
class _Digest:
    size: int
    sha256: str


def pack(target: Path, files: Sequence[Path], *, made_at: str) -> Manifest:
    """Write a directory's files to a new archive, mode 0600, and sync it to disk. Raises `OSError`."""
    described = [(path, _digest(path)) for path in files]
    manifest = Manifest(
        format=FORMAT,
        version=__version__,
        made_at=made_at,
        files=tuple(PackedFile(name=path.name, size=digest.size, sha256=digest.sha256) for path, digest in described),
    )
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
            content = msgspec.json.format(msgspec.json.encode(manifest))
            archive.addfile(_header(MANIFEST, len(content)), io.BytesIO(content))
            for path, digest in described:
                with path.open("rb") as stream:
                    archive.addfile(_header(path.name, digest.size), stream)
        file.flush()
        os.fsync(file.fileno())
    return manifest


def unpack(source: Path, folder: Path) -> Manifest:
    """Unpack an archive's databases into an empty directory, and return its manifest.

    Raises:
        BackupError: it is not a backup, is incomplete, or contains something unexpected.
    """
    try:
        with tarfile.open(source, mode="r:") as archive:
            manifest = _manifest(archive, source)
            for packed in manifest.files:
                member = archive.next()
                stream = _stream(archive, member)
                if member is None or stream is None or member.name != packed.name or member.size != packed.size:
                    msg = f"{source} is incomplete: {packed.name} is missing or truncated"
                    raise BackupError(msg)
                digest = _write(stream, folder / packed.name)
                if digest.sha256 != packed.sha256:
                    msg = f"{source} is damaged: {packed.name} does not match the manifest"
                    raise BackupError(msg)
            return manifest
    except (tarfile.TarError, ValueError, EOFError) as error:
        msg = f"{source} is not a Fleetkey backup, or is incomplete: {error}"
        raise BackupError(msg) from None
    except OSError as error:
        msg = f"{source} can't be read: {error.strerror or error}"
        raise BackupError(msg) from None


def _manifest(archive: tarfile.TarFile, source: Path) -> Manifest:
    member = archive.next()
    stream = _stream(archive, member)
    try:
        if member is None or stream is None or member.name != MANIFEST or member.size > MAX_MANIFEST_BYTES:
            msg = f"{source} is not a Fleetkey backup: it does not begin with {MANIFEST}"
            raise BackupError(msg)
        manifest = msgspec.json.decode(stream.read(), type=Manifest)
    except msgspec.MsgspecError as error:
        msg = f"{source} is not a Fleetkey backup: {MANIFEST}: {error}"
        raise BackupError(msg) from None
    if manifest.format != FORMAT:
        msg = (
            f"{source} was made by Fleetkey {manifest.version} in a format that this version ({__version__}) can't read"
        )
        raise BackupError(msg)
    names = [packed.name for packed in manifest.files]
    if names not in ([REGISTRY], [REGISTRY, BROKER]):
        msg = f"{source} is not a Fleetkey backup: it contains files other than {REGISTRY} and {BROKER}"
        raise BackupError(msg)
    return manifest


def _stream(archive: tarfile.TarFile, member: tarfile.TarInfo | None) -> IO[bytes] | None:
    """Return the content of a regular file; a sparse one could claim any size."""
    if member is None or member.type not in {tarfile.REGTYPE, tarfile.AREGTYPE} or member.issparse():
        return None
    return archive.extractfile(member)


def _header(name: str, size: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)
    header.size, header.mode = size, 0o600
    return header


def _digest(path: Path) -> _Digest:
    with path.open("rb") as stream:
        return _Digest(path.stat().st_size, hashlib.file_digest(stream, "sha256").hexdigest())


def _write(stream: IO[bytes], target: Path) -> _Digest:
    digest, size = hashlib.sha256(), 0
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
            size += len(chunk)
            file.write(chunk)
        file.flush()
        os.fsync(file.fileno())
    return _Digest(size, digest.hexdigest())
