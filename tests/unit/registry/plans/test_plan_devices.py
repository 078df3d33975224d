"""The policies of a device's states and labels, by themselves."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetkey.registry import ChangeKind, Device, DeviceState, TooManyLabelsError
from fleetkey.registry.plans import UpdateDevice, changes_tags, plan_description, plan_state, plan_tags
from tests.unit.registry.plans.plan_model import OneDevice

NOW = 5
PENDING, ACTIVE = DeviceState.PENDING, DeviceState.ACTIVE
DISABLED, REJECTED = DeviceState.DISABLED, DeviceState.REJECTED


def _device(state: DeviceState = ACTIVE, **labels: dict[str, str]) -> Device:
    return Device(device_id="d", serial="S", state=state, created_at=1, updated_at=1, **{"tags": {}, **labels})  # type: ignore[arg-type] # labels alone


@pytest.mark.parametrize(
    ("before", "wanted", "kind"),
    [
        (PENDING, ACTIVE, ChangeKind.DEVICE_APPROVED),
        (REJECTED, ACTIVE, ChangeKind.DEVICE_APPROVED),
        (DISABLED, ACTIVE, ChangeKind.DEVICE_ENABLED),
        (PENDING, REJECTED, ChangeKind.DEVICE_REJECTED),
        (ACTIVE, DISABLED, ChangeKind.DEVICE_DISABLED),
        (PENDING, DISABLED, ChangeKind.DEVICE_DISABLED),
    ],
)
def test_plan_state(before: DeviceState, wanted: DeviceState, kind: ChangeKind) -> None:
    """Each change of state has its row in the feed and the audit, of the same kind."""
    plan = plan_state(_device(before), wanted, had_key=True, actor="anna", now=NOW)
    after = OneDevice(_device(before))
    assert after.carry_out(plan)
    assert after.device is not None
    assert (after.device.state, after.device.updated_at) == (wanted, NOW)
    assert [change.kind for change in plan.changes] == [kind]
    assert plan.audit is not None
    assert (plan.audit.action, plan.audit.actor, plan.audit.reason) == (kind, "anna", "")


@pytest.mark.parametrize("state", list(DeviceState))
def test_plan_state_same(state: DeviceState) -> None:
    """What is in that state already stays as it is, and nobody hears of it."""
    plan = plan_state(_device(state), state, had_key=False, actor="anna", now=NOW)
    assert (plan.result, plan.writes, plan.changes, plan.audit) == (False, (), (), None)


def test_plan_state_enabled_before_it_was_approved() -> None:
    """A device that was disabled while it waited waits again when it is enabled: nobody has approved it."""
    plan = plan_state(_device(DISABLED), ACTIVE, had_key=False, actor="anna", now=NOW)
    after = OneDevice(_device(DISABLED))
    assert after.carry_out(plan)
    assert after.device is not None
    assert after.device.state is PENDING
    assert [change.kind for change in plan.changes] == [ChangeKind.DEVICE_PENDING]
    assert plan.audit is not None
    assert (plan.audit.action, plan.audit.reason) == (ChangeKind.DEVICE_ENABLED, "it waits for approval")


labels = st.integers(58, 66).map(lambda count: {str(number): "x" for number in range(count)})
changes = st.dictionaries(st.integers(50, 75).map(str), st.none() | st.just("y"))


@settings(deadline=None)
@given(before=labels, changed=changes)
def test_plan_tags_bounded(before: dict[str, str], changed: dict[str, str | None]) -> None:
    """Tags, and attributes, are set exactly if a device may have as many as there would be."""
    after = {name: value for name, value in {**before, **changed}.items() if value is not None}
    if len(after) <= 64 or not any(changed.values()):
        plan = plan_tags(_device(tags=before), changed, actor="anna", now=NOW)
        assert plan.writes == (UpdateDevice(device_id="d", at=NOW, tags=changed),)
        plan = plan_description(_device(attributes=before), None, changed, actor="anna", now=NOW)
        assert plan.writes == (UpdateDevice(device_id="d", at=NOW, attributes=changed),)
        return
    with pytest.raises(TooManyLabelsError):
        plan_tags(_device(tags=before), changed, actor="anna", now=NOW)
    with pytest.raises(TooManyLabelsError):
        plan_description(_device(attributes=before), None, changed, actor="anna", now=NOW)


def test_plan_tags_fewer_of_too_many() -> None:
    """A device that has too many can always get rid of some."""
    crowded = {str(number): "x" for number in range(70)}
    assert plan_tags(_device(tags=crowded), {"1": None}, actor="anna", now=NOW).writes
    assert plan_description(_device(attributes=crowded), "", {"1": None}, actor="anna", now=NOW).writes


@pytest.mark.parametrize(
    ("tags", "changed"),
    [({"a": "1"}, False), ({"b": None}, False), ({"a": "2"}, True), ({"a": None}, True), ({"a": "1", "b": "1"}, True)],
)
def test_changes_tags(tags: dict[str, str | None], *, changed: bool) -> None:
    """A device that has just these tags already isn't changed."""
    assert changes_tags(_device(tags={"a": "1"}), tags) is changed
