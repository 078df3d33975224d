"""A budget: who may have more, who is held back, and that the sums are right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from fleetkey.budget import Budget
from fleetkey.budget.budget import CALM, GROWING, INPUT_BEYOND_SHARE, LITTLE_BYTES, NEWCOMERS

if TYPE_CHECKING:
    from fleetkey.budget import Account

MIB = 1024 * 1024
LIMIT = 100 * MIB
SHARE = 20 * MIB


def _account(budget: Budget, owner: str, used: int = 0, share: int = SHARE) -> Account:
    account = budget.account(owner, share, "share")
    if used:
        account.charge_anyway("queues", used)
    return account


def _filled(part: float, *, owners: int = 10) -> Budget:
    """Return a budget that owners of the same size have filled to a part."""
    budget = Budget("memory", LIMIT)
    for number in range(owners):
        _account(budget, f"filler-{number}", int(LIMIT * part) // owners, share=LIMIT)
    budget.look()
    return budget


def test_charge_at_share() -> None:
    """An owner gets its share, and not a byte more, however much is free."""
    budget = Budget("memory", LIMIT)
    account = _account(budget, "device")
    assert account.charge("queues", SHARE)
    assert not account.charge("queues", 1)
    assert account.bound_reached(1) == "share"
    assert (account.used, budget.charged, budget.kinds["queues"]) == (SHARE, SHARE, SHARE)
    account.release("queues", 1)
    assert account.charge("retained", 1)


def test_charge_shared() -> None:
    """What two owners share counts in full for each, and once in all."""
    budget = Budget("memory", LIMIT)
    first, second = _account(budget, "first"), _account(budget, "second")
    assert first.charge("queues", 1_000)
    assert second.charge("queues", 1_100, shared=1_000)
    assert (first.used, second.used, budget.charged) == (1_000, 1_100, 1_100)
    first.release("queues", 1_000, shared=1_000)
    assert (first.used, second.used, budget.charged) == (0, 1_100, 1_100)
    second.release("queues", 1_100)
    assert (budget.charged, len(budget)) == (0, 0)


def test_newcomers() -> None:
    """Beyond `NEWCOMERS`, nothing is kept for an owner that has nothing, while one with little goes on."""
    budget = _filled(NEWCOMERS - 0.01)
    resident = _account(budget, "resident", 1_000)
    assert _account(budget, "early").charge("sessions", 1_000)
    _account(budget, "filler-0").charge_anyway("queues", 2 * MIB)
    assert not budget.admits_newcomers
    late = _account(budget, "late")
    assert not late.charge("sessions", 1_000)
    assert late.bound_reached(1_000) == "memory"
    assert resident.charge("queues", 1_000)


def test_last_part_for_those_with_little() -> None:
    """Beyond `GROWING`, only owners with little get more, up to the whole budget, whatever has no owner takes of it."""
    budget = _filled(GROWING + 0.01, owners=500)
    little, more = _account(budget, "little", 100), _account(budget, "more", LITTLE_BYTES + 1)
    assert not more.charge("queues", 100)
    assert little.charge("queues", 100)
    assert not little.charge("queues", LITTLE_BYTES)
    _account(budget, "filler-0").charge_anyway("queues", LIMIT - budget.charged - 100)
    assert little.charge("queues", 100)
    assert not little.charge("queues", 1)


def test_last_part_despite_what_has_no_owner() -> None:
    """What has no owner may grow when the rest is taken already; those with little still have the last part."""
    budget, others = Budget("memory", LIMIT), {"routes": 0}
    budget.add_source(lambda: others)
    for number in range(90):
        _account(budget, f"filler-{number}", LIMIT // 100)
    others["routes"] = LIMIT // 2
    budget.look()
    little, more = _account(budget, "little", 100), _account(budget, "more", LITTLE_BYTES + 1)
    assert little.charge("queues", 100)
    assert not more.charge("queues", 1)


def test_input_in_the_last_part() -> None:
    """Beyond `GROWING`, only those with little may go on with a packet, and nothing that isn't little is waited for."""
    budget = _filled(GROWING + 0.01)
    budget.look()
    little, more = _account(budget, "little", 100), _account(budget, "more", LITTLE_BYTES + 1)
    assert little.charge_input("connections", 100)
    assert not more.charge_input("connections", 100)
    assert not little.must_not_grow(100)
    assert little.must_not_grow(LITTLE_BYTES + 1)


def test_input_beyond_the_share() -> None:
    """An owner's input may exceed its share a little, but not when the budget is short."""
    calm, scarce = Budget("memory", LIMIT), _filled(GROWING + 0.01)
    scarce.look()
    for budget, goes_on in ((calm, True), (scarce, False)):
        beyond = _account(budget, "beyond", 2 * MIB, share=2 * MIB)
        assert beyond.charge_input("connections", INPUT_BEYOND_SHARE) is goes_on
        assert not beyond.charge_input("connections", 1)
        assert beyond.must_not_grow(LITTLE_BYTES + 1)


def test_held_back() -> None:
    """Beyond `CALM`, the largest owners are held back, as many as it takes, and the others aren't."""
    budget = Budget("memory", LIMIT)
    sizes = {"huge": 40 * MIB, "large": 30 * MIB, "middling": 8 * MIB, "small": 1 * MIB}
    accounts = {owner: _account(budget, owner, size, share=LIMIT) for owner, size in sizes.items()}
    budget.look()
    assert {owner for owner, account in accounts.items() if account.is_held_back} == {"huge"}
    assert not accounts["huge"].charge("queues", 1)
    assert accounts["large"].charge("queues", 1)
    accounts["small"].charge_anyway("queues", 12 * MIB)
    budget.look()
    assert {owner for owner, account in accounts.items() if account.is_held_back} == {"huge", "large"}
    accounts["huge"].release("queues", 30 * MIB)
    budget.look()
    assert not any(account.is_held_back for account in accounts.values())


def test_reached_is_logged_once() -> None:
    """One line says that a budget is reached and by whom, and one that it is over."""
    with capture_logs() as lines:
        budget = _filled(CALM + 0.01)
        budget.look()
        _account(budget, "filler-3").release("queues", MIB * 2)
        budget.look()
        budget.look()
    assert [line["event"] for line in lines] == ["budget_reached", "budget_over"]
    assert lines[0]["resource"] == "memory"
    assert len(lines[0]["largest"]) == 3


def test_own_memory() -> None:
    """What the server needs for itself counts, also what nobody was charged for later; freed memory doesn't."""
    measured = 30 * MIB
    budget = Budget("memory", LIMIT, lambda: measured)
    account = _account(budget, "device", 10 * MIB)
    budget.settle()
    assert budget.state().kinds["own"] == 20 * MIB
    measured = 45 * MIB
    budget.look()
    assert budget.state().kinds["own"] == 35 * MIB
    account.charge_anyway("queues", 15 * MIB)
    budget.look()
    assert budget.state().kinds["own"] == 20 * MIB
    account.release("queues", 15 * MIB)
    budget.look()
    assert budget.state().kinds["own"] == 20 * MIB


def test_sources() -> None:
    """What has a bound of its own counts against the whole, and not against owners."""
    budget = Budget("memory", LIMIT)
    budget.add_source(lambda: {"routes": 90 * MIB})
    budget.look()
    assert budget.state().kinds == {"routes": 90 * MIB, "own": 0}
    account = _account(budget, "device")
    assert account.charge("queues", 8 * MIB)
    assert not account.charge("queues", 2 * MIB)


@given(
    steps=st.lists(
        st.tuples(st.integers(0, 30), st.integers(1, 4 * MIB), st.sampled_from(("charge", "release", "look"))),
        max_size=200,
    )
)
def test_sums(steps: list[tuple[int, int, str]]) -> None:
    """Whatever is charged and released, the sums are right, and neither the budget nor a share is exceeded."""
    budget = Budget("memory", 20 * MIB)
    charged: dict[str, list[int]] = {}
    for number, size, step in steps:
        owner = str(number)
        account = budget.account(owner, 3 * MIB, "share")
        if step == "look":
            budget.look()
        elif step == "charge" and account.has_room(size):
            assert account.charge("queues", size)
            charged.setdefault(owner, []).append(size)
        elif step == "charge":
            assert not account.charge("queues", size)
        elif charged.get(owner):
            account.release("queues", charged[owner].pop())
        totals = {owner: sum(sizes) for owner, sizes in charged.items() if sizes}
        assert {owner: budget.account(owner, 0, "").used for owner in totals} == totals
        assert budget.charged == budget.kinds["queues"] == sum(totals.values()) <= budget.limit
        assert all(used <= 3 * MIB for used in totals.values())
        assert len(budget) == len(totals)


@pytest.mark.parametrize("owners", [1, 100, 5_000])
def test_those_with_little_fit(owners: int) -> None:
    """However many owners there are, the last part of the budget is enough for all of those with little."""
    budget = _filled(NEWCOMERS, owners=owners)
    little = [_account(budget, f"little-{number}", 1) for number in range(owners)]
    budget.look()
    room = int(LIMIT * (1 - NEWCOMERS)) // (2 * owners + 1) - 2
    assert all(account.charge("queues", max(1, min(room, LITTLE_BYTES - 1))) for account in little)
