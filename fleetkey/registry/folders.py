"""Directories that only their owner can access."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["make_private_folder"]


def make_private_folder(folder: Path) -> list[Path]:
    """Create a directory and its missing parents, each with mode 0700; return those created, topmost first.

    `Path.mkdir(parents=True)` applies the mode only to the last one, which would leave a newly created parent open to
    everyone. Existing directories are left as they are.

    Raises:
        OSError: one can't be created, or the name is in use by something else.
    """
    made: list[Path] = []
    for path in reversed((folder, *folder.parents)):
        if not path.is_dir():
            try:
                path.mkdir(mode=0o700)
            except FileExistsError:
                if not path.is_dir():
                    raise
            else:
                made.append(path)
    return made
