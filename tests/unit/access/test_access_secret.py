"""Secrets aren't shown by accident."""

from __future__ import annotations

import copy
import io
import json
import logging
import pickle
import traceback
from typing import TYPE_CHECKING

import pytest
import structlog

from fleetkey.access import ConnectAttempt, Secret

if TYPE_CHECKING:
    from collections.abc import Callable

CLEAR = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"


def _log(renderer: Callable[..., str | bytes]) -> Callable[[Secret], str]:
    def render(secret: Secret) -> str:
        out = io.StringIO()
        logger = structlog.wrap_logger(structlog.PrintLogger(out), processors=[renderer])
        logger.info("event", secret=secret, nested={"in": [secret]})
        return out.getvalue()

    return render


def _raised(secret: Secret) -> str:
    try:
        raise ValueError(secret)  # noqa: TRY301 - the claim
    except ValueError as error:
        return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


def _logged(secret: Secret) -> str:
    return logging.LogRecord("n", logging.INFO, "p", 1, "%s %r", (secret, secret), None).getMessage()


@pytest.mark.parametrize(
    "show",
    [
        pytest.param(repr, id="repr"),
        pytest.param(str, id="str"),
        pytest.param(ascii, id="ascii"),
        pytest.param(format, id="format"),
        pytest.param("{}".format, id="format_method"),
        pytest.param("{!r:>100}".format, id="format_spec"),
        pytest.param(lambda secret: "%s %r" % (secret, secret), id="percent"),  # noqa: UP031 - the claim
        pytest.param(lambda secret: f"{secret} {secret!r} {secret!s} {secret=}", id="f_string"),
        pytest.param(lambda secret: repr([{secret: (secret,)}]), id="container"),
        pytest.param(lambda secret: str(ValueError(secret)), id="exception"),
        pytest.param(_raised, id="traceback_with_locals"),
        pytest.param(_logged, id="logging"),
        pytest.param(_log(structlog.processors.JSONRenderer()), id="structlog_json"),
        pytest.param(_log(structlog.processors.KeyValueRenderer()), id="structlog_key_value"),
        pytest.param(_log(structlog.dev.ConsoleRenderer(colors=False)), id="structlog_console"),
    ],
)
def test_secret_shown(show: Callable[[Secret], str]) -> None:
    """Anything that turns it into text gets `***`."""
    shown = show(Secret(CLEAR))
    assert CLEAR not in shown
    assert "***" in shown


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_secret_pickled(protocol: int) -> None:
    """It can't be pickled with any protocol."""
    with pytest.raises(TypeError):
        pickle.dumps(Secret(CLEAR), protocol)


@pytest.mark.parametrize("leak", [vars, json.dumps, copy.copy, copy.deepcopy, "{:>10}".format, len, bytes, iter])
def test_secret_other_ways(leak: Callable[[Secret], object]) -> None:
    """Other ways to get at it fail, and their errors don't show it either."""
    with pytest.raises(TypeError) as caught:
        leak(Secret(CLEAR))
    assert CLEAR not in str(caught.value)


def test_secret_reveal() -> None:
    """Only `reveal` returns it."""
    assert Secret(CLEAR).reveal() == CLEAR


def test_connect_attempt_shown() -> None:
    """The `repr` of an attempt shows who connects, never the password."""
    attempt = ConnectAttempt(client_id="c", username="k", password=CLEAR.encode(), address="::1")
    assert CLEAR not in repr(attempt)
    assert "password" not in repr(attempt)
