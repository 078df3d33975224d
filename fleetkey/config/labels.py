"""The limits on tags, attributes and device names."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["MAX_LABELS", "MAX_LABEL_CHARACTERS", "LabelError", "check_labels", "check_name"]

MAX_LABEL_CHARACTERS = 128
"""Maximum length of a tag's or attribute's name, of its value, and of a device's name."""
MAX_LABELS = 64
"""Maximum number of tags, and of attributes, of a device."""


class LabelError(ValueError):
    """A tag, attribute or name is invalid; the message says which and why."""


def check_labels(labels: Mapping[str, str], what: str) -> dict[str, str]:
    """Return tags or attributes if all of them are valid.

    Args:
        labels: names to values; neither may be empty.
        what: `tag` or `attribute`, for the message.

    Raises:
        LabelError: says which one and why.
    """
    if len(labels) > MAX_LABELS:
        msg = f"{len(labels)} {what}s; a device may have at most {MAX_LABELS}"
        raise LabelError(msg)
    for name, value in labels.items():
        if not _is_label(name):
            msg = f"{what} names must be 1 to {MAX_LABEL_CHARACTERS} printable characters"
            raise LabelError(msg)
        if not _is_label(value):
            msg = f"the value of the {what} {name!r} must be 1 to {MAX_LABEL_CHARACTERS} printable characters"
            raise LabelError(msg)
    return dict(labels)


def check_name(name: str) -> str:
    """Return a device's name if it is valid; empty means none.

    Raises:
        LabelError: it is too long or not printable.
    """
    if len(name) > MAX_LABEL_CHARACTERS or not name.isprintable():
        msg = f"a name must be at most {MAX_LABEL_CHARACTERS} printable characters"
        raise LabelError(msg)
    return name


def _is_label(text: str) -> bool:
    return 0 < len(text) <= MAX_LABEL_CHARACTERS and text.isprintable()
