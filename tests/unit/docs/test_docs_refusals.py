"""The page about refusals lists every reason, with its texts, and every field."""

from __future__ import annotations

import dataclasses
import re

from fleetkey.registry import RefusalListener, RefusalReason, RefusalRecord, RefusalStage
from tests.unit.docs.docs_pages import DOCS, rows, section

PAGE = DOCS / "reference/refusals.md"


def test_reasons() -> None:
    """Every reason is listed with what it means, what to do, and the command; and no other."""
    expected = [
        [f"`{reason.value}`", reason.meaning, reason.advice + (f" `{reason.command}`" if reason.command else "")]
        for reason in RefusalReason
    ]
    assert rows(section(PAGE, "Reasons")) == expected


def test_fields() -> None:
    """Every field of a record is explained, with the values that it may have."""
    explained = rows(section(PAGE, "Records"))
    named = {word for cells in explained for word in re.findall(r"`(\w+)`", cells[0])}
    assert named == {field.name for field in dataclasses.fields(RefusalRecord)}
    text = section(PAGE, "Records")
    for word in (*RefusalListener, *RefusalStage):
        assert f"`{word}`" in text


def test_texts() -> None:
    """Each reason says what it means and what to do in whole sentences, and its command has placeholders we fill."""
    for reason in RefusalReason:
        for text in (reason.meaning, reason.advice):
            assert re.fullmatch(r"[A-Z`].*[.)]", text), text
        placeholders = set(re.findall(r"\{(\w+)\}", reason.command))
        assert placeholders <= {"device_id", "serial", "key", "topic"}
