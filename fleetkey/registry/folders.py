"""Folders that only their owner can reach."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["make_private_folder"]


def make_private_folder(folder: Path) -> list[Path]:
    """Make a folder and those above it that are missing, each with mode 0700; return them, the highest first.

    `Path.mkdir(parents=True)` gives its mode to the last one alone: a data folder that comes into being above
    something else would be open to everyone. What is there already is left as it is.

    Raises:
        OSError: one can't be made, or the name is taken by something else.
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
