"""Checking changes to tags and attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.config.labels import LabelError, check_labels
from fleetkey.management.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["check_label_changes"]


def check_label_changes(labels: Mapping[str, str | None], what: str, *, field: str) -> None:
    """Refuse invalid names and values; a value of None removes a label. Raises `InvalidRequestError`."""
    try:
        check_labels({name: "-" if value is None else value for name, value in labels.items()}, what)
    except LabelError as error:
        raise InvalidRequestError(field, str(error)) from None
