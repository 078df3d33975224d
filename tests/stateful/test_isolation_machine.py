"""A running broker, driven at random and held against a model that says who may see what.

In the suite the same 10,000 steps every time; with `FUZZ_STEPS` as many as it says, others each time, and a failure is
made smaller. Both print the seed, which `FUZZ_SEED` takes. Ids are random and the broker has threads, so a race may
need several tries.
"""

from __future__ import annotations

import logging
import os
import secrets
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.errors import Flaky
from hypothesis.stateful import run_state_machine_as_test

from tests.stateful.broker_driver import BrokerDriver
from tests.stateful.client import Client
from tests.stateful.isolation_machine import IsolationMachine
from tests.stateful.mutations import MUTATIONS
from tests.stateful.session_model import Violation

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping

STEPS = int(os.environ.get("FUZZ_STEPS", "10000"))
IS_RANDOM = "FUZZ_STEPS" in os.environ
SEED = int(os.environ.get("FUZZ_SEED", str(secrets.randbits(32) if IS_RANDOM else 1)))
STEPS_TO_FIND = 2_000
STEPS_PER_EXAMPLE = 200
LOWEST_STEPS_PER_SECOND = 20


@contextmanager
def errors_logged() -> Iterator[list[str]]:
    """Gather what the broker logs as an error, and drop the rest."""
    lines: list[str] = []

    def gather(_logger: object, level: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        lines.append(f"{level}: {dict(event)}")
        raise structlog.DropEvent

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    handler, before = Handler(logging.ERROR), structlog.get_config()
    logging.getLogger("asyncio").addHandler(handler)
    structlog.configure(processors=[gather], wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    try:
        yield lines
    finally:
        structlog.configure(**before)
        logging.getLogger("asyncio").removeHandler(handler)


def drive(steps: int, *phases: Phase, number: int = SEED) -> None:
    """Run machines until they have made so many steps; raises what the first failing one raises."""
    IsolationMachine.steps = 0
    while IsolationMachine.steps < steps:
        missing = steps - IsolationMachine.steps
        print(f"FUZZ_SEED={number} FUZZ_STEPS={missing}")
        try:
            run_state_machine_as_test(
                seed(number)(IsolationMachine),
                settings=settings(
                    max_examples=-(-missing // STEPS_PER_EXAMPLE),
                    stateful_step_count=min(missing, STEPS_PER_EXAMPLE),
                    phases=phases,
                    derandomize=False,  # the seed says what happens
                    database=None,
                    deadline=None,
                    print_blob=False,
                    suppress_health_check=list(HealthCheck),
                ),
            )
        finally:
            BrokerDriver.wait_for_all()
        number += 1


@pytest.mark.timeout(600 + STEPS / LOWEST_STEPS_PER_SECOND)
def test_machine_with_the_broker_as_it_is() -> None:
    """Whatever happens, everyone gets exactly what the model says, and the broker logs no error."""
    began = time.monotonic()
    with errors_logged() as lines:
        try:
            drive(STEPS, *([Phase.generate, Phase.shrink] if IS_RANDOM else [Phase.generate]))
        finally:
            took = time.monotonic() - began
            print(f"{IsolationMachine.steps} steps in {took:.1f} s, {IsolationMachine.steps / took:.0f}/s")
    assert not lines, "\n".join(lines[:3])


@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda mutate: mutate.__name__)
def test_machine_with_a_broker_that_lacks_a_check(
    mutate: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The machine finds out."""
    mutate(monkeypatch)
    monkeypatch.setattr(BrokerDriver, "change_seconds", 1.0)
    monkeypatch.setattr(Client, "delivery_seconds", 1.0)
    for number in (1, 101, 201):
        with errors_logged(), pytest.raises((Violation, Flaky)) as found:
            drive(STEPS_TO_FIND, Phase.generate, number=number)
        # What was found need not come again in the same way when Hypothesis looks at it once more; when it comes so
        # differently that even what it was is lost, other examples tell.
        if _is_violation(found.value):
            print(f"found within {IsolationMachine.steps} steps: {found.value}")
            return
    pytest.fail("no violation was found")


def _is_violation(error: BaseException | None) -> bool:
    """Whether an error is a violation, or came of one."""
    if error is None or isinstance(error, Violation):
        return error is not None
    grouped = error.exceptions if isinstance(error, BaseExceptionGroup) else ()
    return any(_is_violation(each) for each in (*grouped, error.__cause__ or error.__context__))
