"""Every page of the documentation: links, length, form, and nothing that belongs to one machine."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.unit.docs.docs_pages import DOCS, PAGES, ROOT, Block, anchors, blocks, command_lines, links, page_id, prose

ADRS = sorted((DOCS / "adr").glob("*.md"))
EXAMPLES = sorted((ROOT / "examples").rglob("*.py"))
TEXTS = [*PAGES, *sorted(path for path in (ROOT / "examples").rglob("*") if path.is_file() and path.suffix != ".pyc")]
ALL_BLOCKS = [block for page in PAGES for block in blocks(page)]
MAX_LINES_README = 120
MAX_LINES_ADR = 80
URL = re.compile(r"\b(?:https?|wss?|mqtts?)://[^\s\"'`)>\]]+")
RESERVED = re.compile(r"(?:.*\.)?example\.(?:com|org|net)|127\.0\.0\.1|localhost|\[::1\]")
KNOWN_HOSTS = {"keepachangelog.com"}


def _in_language(language: str) -> list[Block]:
    return [block for block in ALL_BLOCKS if block.language == language]


def _block_id(block: Block) -> str:
    return f"{page_id(block.page)}:{block.text.strip().splitlines()[0][:40]}"


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_links_of_a_page(page: Path) -> None:
    """Every relative link leads to a file of this repository, and to a heading that is there."""
    for target in links(page):
        if urlsplit(target).scheme:
            continue
        path_text, _, fragment = target.partition("#")
        path = (page.parent / path_text).resolve() if path_text else page
        assert path.is_relative_to(ROOT), f"{target} leads out of the repository"
        assert path.exists(), f"{target} is not there"
        if fragment:
            assert fragment in anchors(path), f"{target}: no such heading"


def test_index_names_every_page() -> None:
    """A page that the index doesn't name is not found."""
    index = DOCS / "index.md"
    named = {(index.parent / target.partition("#")[0]).resolve() for target in links(index)}
    assert {page for page in DOCS.rglob("*.md") if page != index} <= named


def test_readme_length() -> None:
    """The README stays short."""
    assert len((ROOT / "README.md").read_text().splitlines()) < MAX_LINES_README


@pytest.mark.parametrize("page", ADRS, ids=page_id)
def test_form_of_a_decision(page: Path) -> None:
    """A decision is short and says date, status, context, decision and consequences."""
    lines = page.read_text().splitlines()
    assert len(lines) < MAX_LINES_ADR
    assert re.fullmatch(rf"# {page.name[:4]}: .+", lines[0])
    assert any(re.fullmatch(r"- Date: \d{4}-\d\d-\d\d", line) for line in lines)
    assert any(re.fullmatch(r"- Status: (accepted|proposed|superseded by \d{4})", line) for line in lines)
    assert [line for line in lines if line.startswith("## ")] == ["## Context", "## Decision", "## Consequences"]


def test_numbers_of_decisions() -> None:
    """Decisions are numbered one after the other."""
    assert [page.name[:4] for page in ADRS] == [f"{number:04}" for number in range(1, len(ADRS) + 1)]


@pytest.mark.parametrize("path", TEXTS, ids=page_id)
def test_machine_of_the_writer_in_a_page(path: Path) -> None:
    """No page has a path of the machine that it was written on."""
    text = path.read_text()
    mine = {str(ROOT), str(ROOT.parent), sys.prefix, str(Path.home())} - {"/"}
    for folder in mine:
        assert not re.search(rf"(?<![\w.…]){re.escape(folder)}(?![\w-])", text), f"{folder} in {path.name}"
    assert not re.search(r"(?<![\w.…])/(?:tmp|home|root|Users)/", text)


@pytest.mark.parametrize("path", TEXTS, ids=page_id)
def test_hosts_in_a_page(path: Path) -> None:
    """Every address is this machine's, one reserved for examples (RFC 2606), or a page that we mean to link to."""
    for url in URL.findall(path.read_text()):
        host = urlsplit(url).netloc.rpartition("@")[2]
        host = re.sub(r":\d+$", "", host)
        assert RESERVED.fullmatch(host) or host in KNOWN_HOSTS, f"{url} in {path.name}"
    assert not re.search(r"--(?:extra-)?index-url|--registry\b", path.read_text())


@pytest.mark.parametrize("path", EXAMPLES, ids=page_id)
def test_example_program(path: Path) -> None:
    """Every example compiles."""
    compile(path.read_text(), str(path), "exec")


@pytest.mark.parametrize("block", _in_language("python"), ids=_block_id)
def test_python_snippet(block: Block) -> None:
    """Every Python snippet compiles."""
    compile(block.text, page_id(block.page), "exec")


@pytest.mark.parametrize("block", _in_language("json"), ids=_block_id)
def test_json_snippet(block: Block) -> None:
    """Every JSON snippet is JSON."""
    assert json.loads(block.text)


def test_languages_of_snippets() -> None:
    """Snippets are in languages that these tests know how to check, or know that they can't."""
    checked = {"console", "json", "python", "sh", "toml", "yaml"}
    unchecked = {"", "cpp", "ini", "text"}
    assert {block.language for block in ALL_BLOCKS} <= checked | unchecked


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_make_targets_of_a_page(page: Path) -> None:
    """Every `make` command that a page names is there."""
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z-]+)\b", prose(page)))
    named |= {words[1] for words in command_lines(page) if words[0] == "make"}
    assert named <= targets


def test_worked_example_of_a_verifier() -> None:
    """The verifier that the guide shows is the one in the code."""
    code = (ROOT / "fleetkey/registration/verifiers/open.py").read_text()
    shown = [block.text for block in blocks(ROOT / "CONTRIBUTING.md") if "class OpenVerifier" in block.text]
    assert shown
    assert all(text in code for text in shown)
