"""The project's pages, taken apart: headings, links, code blocks, tables."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "DOCS",
    "PAGES",
    "ROOT",
    "Block",
    "anchors",
    "blocks",
    "command_lines",
    "links",
    "page_id",
    "prose",
    "rows",
    "section",
]

ROOT = Path(__file__).resolve().parents[3]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *(ROOT / "examples").rglob("*.md")])

FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
SHELLS = {"console", "sh"}


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced code block and where it is."""

    page: Path
    language: str
    text: str


def page_id(page: Path) -> str:
    """Name a page in test ids."""
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> list[Block]:
    """Return a page's fenced code blocks."""
    return [Block(page, language, text) for language, text in FENCE.findall(page.read_text())]


def prose(page: Path) -> str:
    """Return a page without its code blocks."""
    return FENCE.sub("", page.read_text())


def links(page: Path) -> list[str]:
    """Return the targets of a page's links."""
    return LINK.findall(prose(page))


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, formed as forges form them."""
    titles = [title for _, title in HEADING.findall(prose(page))]
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def section(page: Path, title: str) -> str:
    """Return what is below one heading, down to the next of its level or above."""
    text = page.read_text()
    found = re.search(rf"^(#+) {re.escape(title)}$", text, re.MULTILINE)
    assert found, f"{page_id(page)} has no heading {title!r}"
    rest = text[found.end() :]
    end = re.search(rf"^#{{1,{len(found[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


def rows(text: str) -> list[list[str]]:
    """Return the cells of the table rows in a text, without headers and rulers."""
    found = [
        [cell.strip() for cell in line.strip().strip("|").split("|")]
        for line in text.splitlines()
        if line.startswith("|")
    ]
    rulers = [number for number, cells in enumerate(found) if set("".join(cells)) <= set("-: ")]
    dropped = {*rulers, *(number - 1 for number in rulers)}
    return [cells for number, cells in enumerate(found) if number not in dropped]


def command_lines(page: Path) -> list[list[str]]:
    """Return the commands in a page's shell blocks, as words, one a pipeline's part.

    In `console` a command begins with `$ ` and the other lines are output; in `sh` every line is a command.
    """
    found = []
    for block in blocks(page):
        if block.language not in SHELLS:
            continue
        for line in block.text.replace("\\\n", " ").splitlines():
            if block.language == "console" and not line.startswith("$ "):
                continue
            found += _simple_commands(line.removeprefix("$ "))
    return found


def _simple_commands(line: str) -> list[list[str]]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    commands: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set("();<>|&"):
            commands.append([])
        else:
            commands[-1].append(word)
    return [words for words in commands if words]
