"""Whatever somebody else chose, nothing but text reaches a terminal, on any of the ways that lead there."""

from __future__ import annotations

import ast
import contextlib
import io
import json
import logging
import re
import sys
import threading
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from hypothesis import example, given
from hypothesis import strategies as st

import fleetkey
from fleetkey.cli import output
from fleetkey.cli.commands import audit_export
from fleetkey.cli.logs import log_renderers
from fleetkey.device.outbox import Message
from fleetkey.device.printer import Printer
from fleetkey.management.schemas import AuditAnswer
from fleetkey.printable import PrintableFormatter, guard_tracebacks, printable, printable_json, printable_lines
from fleetkey.registry import AuditRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PACKAGE = Path(fleetkey.__file__).parent
FORBIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\x7f\u202e\u2066\u200b\ufeff\u2028\u2029\U000e0041[red]x[/red]\\x1b\r\nforged"
TEXT = st.text(
    st.one_of(
        st.characters(), st.sampled_from("\x00\x07\x1b\x7f\x80\x9b\u061c\u202e\u2066\u200d\ufeff\u2028\\[]\n\r\t x1u")
    )
)


def harmful(text: str) -> set[str]:
    """Return what isn't text, but for ends of lines."""
    return {ascii(one) for one in text if one != "\n" and unicodedata.category(one) in FORBIDDEN}


def unescaped(shown: str) -> str:
    """Read escapes back, as a person would."""

    def meant(found: re.Match[str]) -> str:
        digits = found[0][2:]
        if digits:
            number = int(digits, 16)
            return chr(0xDC00 + number if len(digits) == 2 and number > 0x7F else number)
        return {"n": "\n", "r": "\r", "t": "\t", "\\": "\\"}[found[0][1]]

    return re.sub(r"\\(?:x[0-9a-f]{2}|u[0-9a-f]{4}|U[0-9a-f]{8}|[nrt\\])", meant, shown)


def _to_stream(show: Callable[[str], object]) -> Callable[[str], str]:
    def shown(text: str) -> str:
        stream = io.StringIO()
        with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
            show(text)
        return stream.getvalue()

    return shown


def _log(event: dict[str, Any], *, pretty: bool, colors: bool = False) -> str:
    line: Any = {"level": "info", "timestamp": "now", **event}
    for renderer in log_renderers(pretty=pretty, colors=colors):
        line = renderer(None, "info", line)
    return str(line)


def _raised(text: str) -> Any:
    def fail() -> None:
        raise ValueError(text)

    try:
        fail()
    except ValueError:
        return sys.exc_info()


def _library_record(text: str) -> str:
    record = logging.LogRecord("library", logging.WARNING, "file", 1, "said %s", (text,), _raised(text))
    return PrintableFormatter(logging.BASIC_FORMAT).format(record)


def _library_in_the_log(text: str) -> str:
    record = logging.LogRecord("library", logging.WARNING, "file", 1, "said %s", (text,), _raised(text))
    processors = [structlog.stdlib.ProcessorFormatter.remove_processors_meta, *log_renderers(pretty=True, colors=False)]
    return structlog.stdlib.ProcessorFormatter(processors=processors).format(record)


def _device(text: str) -> str:
    stream = io.StringIO()
    printer = Printer(as_json=False, out=stream, errors=stream)
    payload = text.encode(errors="surrogatepass")
    printer.message(Message(topic=text.encode(errors="ignore").decode(), payload=payload))
    printer.error(text)
    printer.published(text, 1)
    printer.subscribed(text)
    return stream.getvalue()


def _csv(text: str) -> str:
    record = AuditRecord(seq=1, at=1, actor=text, action="a", outcome="ok", reason=text, serial=text)
    return "".join(line for _, line in audit_export._csv_lines([AuditAnswer.of(record)]))


def _json_lines(text: str) -> str:
    record = AuditRecord(seq=1, at=1, actor=text, action="a", outcome="ok", reason=text, serial=text)
    line = "".join(line for _, line in audit_export._json_lines([AuditAnswer.of(record)]))
    assert json.loads(line) == output.as_fields(AuditAnswer.of(record))
    return line


class _Odd:
    """Something whose `repr` says anything."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


WAYS: dict[str, Callable[[str], str]] = {
    "printable": printable,
    "lines": printable_lines,
    "say": _to_stream(output.say),
    "say_lines": _to_stream(output.say_lines),
    "note": _to_stream(output.note),
    "note_json": _to_stream(lambda text: output.note(text, as_json=True)),
    "failure": _to_stream(lambda text: output.print_failure(text, as_json=False)),
    "failure_json": _to_stream(lambda text: output.print_failure(text, as_json=True)),
    "broken": _to_stream(lambda text: output.print_broken(ValueError(text))),
    "step": _to_stream(lambda text: output.print_step(text, text, is_good=False)),
    "json": _to_stream(output.print_json),
    "one": _to_stream(lambda text: output.print_one({"name": text, "tags": {text: [text]}}, as_json=False)),
    "one_json": _to_stream(lambda text: output.print_one({"name": text}, as_json=True)),
    "list": _to_stream(lambda text: output.print_list([{"name": text}], [("name", 4)], nothing="", as_json=False)),
    "list_json": _to_stream(lambda text: output.print_list([{"name": text}], [("name", 4)], nothing="", as_json=True)),
    "log_pretty": lambda text: _log({"event": text, "serial": text, text: [text], "odd": _Odd(text)}, pretty=True),
    "log_pretty_traceback": lambda text: _log({"event": "e", "exc_info": _raised(text), "stack": text}, pretty=True),
    "log_pretty_exception": lambda text: _log({"event": "e", "exception": text}, pretty=True),
    "log_json": lambda text: _log({"event": text, "serial": text, text: [text], "odd": _Odd(text)}, pretty=False),
    "log_json_traceback": lambda text: _log({"event": "e", "exc_info": _raised(text)}, pretty=False),
    "library_record": _library_record,
    "library_in_the_log": _library_in_the_log,
    "device": _device,
    "csv": _csv,
    "jsonl": _json_lines,
}


@pytest.mark.parametrize("way", WAYS)
@given(text=TEXT)
@example(text=HOSTILE)
@example(text="\udc80\ud800")
def test_nothing_but_text(way: str, text: str) -> None:
    """Whatever the text, no control or format character reaches the stream, and UTF-8 can spell what does."""
    shown = WAYS[way](text)
    assert not harmful(shown)
    shown.encode()


@given(text=TEXT)
@example(text=HOSTILE)
def test_printable_is_unambiguous(text: str) -> None:
    """What is shown says what it was; it is one line, and shown again it is read back as itself."""
    shown = printable(text)
    assert unescaped(shown) == text
    assert "\n" not in shown
    assert unescaped(printable(shown)) == shown


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain ü 你好 🙂", "plain ü 你好 🙂"),
        ("C:\\dir [0-9]\\d", "C:\\dir [0-9]\\d"),
        ("\\x1b", "\\\\x1b"),
        ("\x1b[2J", "\\x1b[2J"),
        ("\x7f\x9b", "\\x7f\\u009b"),
        ("\udcff", "\\xff"),
        ("\u202eabc\u2066", "\\u202eabc\\u2066"),
        ("a\u200bb\ufeff\u00ad", "a\\u200bb\\ufeff\\u00ad"),
        ("\u2028\u2029\u00a0", "\\u2028\\u2029\\u00a0"),
        ("\U000e0041", "\\U000e0041"),
        ("one\ntwo\r\t", "one\\ntwo\\r\\t"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    """Letters of all scripts stay; what moves, hides or turns text around is written out."""
    assert printable(text) == shown


@given(value=st.recursive(TEXT, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner)))
def test_json_stays_json(value: object) -> None:
    """What is escaped in JSON means the same."""
    shown = printable_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(shown) == value
    assert not harmful(shown)


@given(text=TEXT)
@example(text=HOSTILE)
def test_log_colors_are_ours(text: str) -> None:
    """On a terminal the log has as many colours, whatever is in it: all of them are ours."""
    event = {"event": "e", "serial": "x", "exc_info": None}
    ours = _log(dict(event), pretty=True, colors=True)
    shown = _log({**event, "event": f"e{text}", "serial": f"x{text}"}, pretty=True, colors=True)
    assert ours.count("\x1b") == shown.count("\x1b")
    assert not harmful(re.sub("\x1b\\[[0-9;]*m", "", shown))
    assert "\n" not in shown


@given(text=TEXT)
def test_log_json_means_the_same(text: str) -> None:
    """A JSON line says what the event said."""
    assert json.loads(_log({"event": text, "serial": text}, pretty=False))["serial"] == text


def test_log_forges_no_line() -> None:
    """What an exception says doesn't pass for a line of the log: all that belongs to it is indented."""
    shown = _log({"event": "e", "exc_info": _raised("x\n2026-01-01 [info] forged")}, pretty=True)
    assert all(line.startswith("    ") for line in shown.split("\n")[1:])
    assert "forged" in shown


def test_step_takes_no_markup() -> None:
    """Brackets are brackets."""
    assert "[red]x[/red] [link=a]" in _to_stream(lambda text: output.print_step(text, "", is_good=True))(
        "[red]x[/red] [link=a]"
    )


def test_uncaught_tracebacks(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody caught is printed escaped, from this and other threads and from where nothing can be raised."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)
    guard_tracebacks()
    sys.excepthook(*_raised(HOSTILE))

    def fail() -> None:
        raise ValueError(HOSTILE)

    thread = threading.Thread(target=fail, name=HOSTILE)
    thread.start()
    thread.join()

    class Dying:
        def __del__(self) -> None:
            fail()

    Dying()
    assert stream.getvalue().count("Traceback (most recent call last)") == 3
    assert not harmful(stream.getvalue())


def test_others_hooks_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a debugger or a test runner put there isn't replaced."""
    monkeypatch.setattr(sys, "excepthook", print)
    guard_tracebacks()
    assert sys.excepthook is print


GATES = {
    "printable.py",
    "cli/output.py",
    "cli/logs.py",
    "cli/progress.py",
    "cli/commands/audit_export.py",
    "device/printer.py",
    "device/__main__.py",
}
"""The modules that write to a terminal; each is one of the ways above, but for progress, which shows words of ours."""
STREAMS = {"stdout", "stderr", "__stdout__", "__stderr__"}
HARMLESS = {"isatty", "close"}
PRINTERS = {
    "print",
    "Console",
    "echo",
    "secho",
    "echo_via_pager",
    "print_exc",
    "print_exception",
    "StreamHandler",
    "basicConfig",
    "input",
}


def _bypasses(tree: ast.AST) -> Iterator[str]:
    """Yield what writes to a terminal by itself."""
    harmless = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in HARMLESS}
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "id", getattr(node.func, "attr", ""))
            if name in PRINTERS:
                yield f"{name}() in line {node.lineno}"
        if isinstance(node, ast.Attribute) and node.attr in STREAMS and id(node) not in harmless:
            yield f"{node.attr} in line {node.lineno}"
        if isinstance(node, ast.ImportFrom) and node.module == "sys" and STREAMS & {one.name for one in node.names}:
            yield f"import in line {node.lineno}"


def test_nothing_goes_around() -> None:
    """No module prints but those that escape what they print."""
    found: dict[str, list[str]] = {}
    for file in PACKAGE.rglob("*.py"):
        place = file.relative_to(PACKAGE).as_posix()
        bypasses = list(_bypasses(ast.parse(file.read_text())))
        if place not in GATES:
            found |= {place: bypasses} if bypasses else {}
        else:
            assert bypasses, f"{place} prints nothing"
    assert found == {}


@pytest.mark.parametrize(
    "code",
    [
        "print('x')",
        "import sys; sys.stdout.write('x')",
        "import sys; print_to = sys.stderr",
        "from sys import stderr",
        "import typer; typer.echo('x')",
        "from rich.console import Console; Console(stderr=True)",
        "import traceback; traceback.print_exc()",
        "import logging; logging.StreamHandler()",
    ],
)
def test_bypasses_are_found(code: str) -> None:
    """What goes around is seen by the test above."""
    assert list(_bypasses(ast.parse(code)))
