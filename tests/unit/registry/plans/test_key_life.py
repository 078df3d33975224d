"""The life of one device's keys, through whatever sequence of registrations, lost answers and operators' commands."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fleetkey.registry import DeviceState, KeyIssued, Reregistration
from fleetkey.registry.plans import (
    plan_deletion,
    plan_expiry,
    plan_first_connection,
    plan_issue,
    plan_operator_rotation,
    plan_state,
)
from tests.unit.registry.plans.plan_model import OneDevice
from tests.unit.registry.store_rig import new_request

if TYPE_CHECKING:
    from fleetkey.registry import Device

GRACE_SECONDS = 100
MAX_KEYS = 3


class KeyLife(RuleBasedStateMachine):
    """One serial under `rotate`; its device uses the newest key that it received."""

    def __init__(self) -> None:
        super().__init__()
        self.registry = OneDevice()
        self.now = 1_000_000
        self.numbers = itertools.count()
        self.held: str | None = None
        """The key that the device has."""
        self.is_used = False
        self.safe_until: float = 0
        """Until when the device must get in with it, if it was used."""

    @property
    def device(self) -> Device:
        """The device, which is there."""
        assert self.registry.device is not None
        return self.registry.device

    @rule(answer_arrives=st.booleans(), max_keys=st.integers(1, MAX_KEYS))
    def register(self, *, answer_arrives: bool, max_keys: int) -> None:
        """It registers; the answer may be lost."""
        key = f"{next(self.numbers):032}"
        request = new_request(
            "S1",
            key=key,
            reregistration=Reregistration.ROTATE,
            grace_seconds=GRACE_SECONDS,
            max_keys=max_keys,
        )
        plan = plan_issue(
            request, self.registry.device, self.registry.keys, now=self.now, new_device_id=f"{next(self.numbers):024}"
        )
        issued = isinstance(self.registry.carry_out(plan), KeyIssued)
        assert issued is (self.device.state is DeviceState.ACTIVE)
        if issued:
            self.safe_until = min(self.safe_until, self.now + GRACE_SECONDS * 1000)
        if issued and answer_arrives:
            self.held, self.is_used, self.safe_until = key, False, 0

    @precondition(lambda self: self.held is not None)
    @rule()
    def connect(self) -> None:
        """It connects with what it has."""
        assert self.held is not None
        found = self.registry.key(self.held)
        may = found is not None and found.is_live(self.now)
        plan = plan_first_connection(
            self.held, self.registry.keys, device_id="d", serial="S1", address="", now=self.now
        )
        newer = [name for name in self.registry.names if name > self.held]
        assert self.registry.carry_out(plan) is may
        if may:
            assert self.registry.names == [self.held, *newer]
            if not self.is_used:
                self.is_used = True
                self.safe_until = float("inf") if found is None or found.expires_at is None else found.expires_at
        else:
            assert (plan.writes, plan.changes, plan.audit) == ((), (), None)

    @rule(seconds=st.integers(0, GRACE_SECONDS))
    def wait(self, seconds: int) -> None:
        """Time passes."""
        self.now += seconds * 1000

    @rule()
    def retire_expired(self) -> None:
        """Whoever cleans up retires what has expired, now or later: that must make no difference to the device."""
        for key in self.registry.keys:
            if not key.is_live(self.now):
                self.registry.carry_out(plan_expiry(key.key, device_id="d", serial="S1", now=self.now))
        assert self.registry.keys == self.registry.live(self.now)

    @precondition(lambda self: self.registry.device is not None)
    @rule(grace_seconds=st.integers(0, 2 * GRACE_SECONDS))
    def rotate(self, grace_seconds: int) -> None:
        """An operator rotates the device's keys."""
        live = self.registry.live(self.now)
        plan = plan_operator_rotation(
            self.device, self.registry.keys, grace_seconds=grace_seconds, actor="cli", now=self.now
        )
        ending = self.registry.carry_out(plan)
        assert ending.keys + ending.ending_sooner == len(live)
        ends = self.now + grace_seconds * 1000
        for before in live:
            after = self.registry.key(before.key)
            assert after is not None
            assert after.expires_at == (ends if before.expires_at is None else min(before.expires_at, ends))
            assert after.rotated_at is not None
        self.safe_until = min(self.safe_until, ends)

    @precondition(lambda self: self.registry.device is not None)
    @rule(state=st.sampled_from([DeviceState.ACTIVE, DeviceState.DISABLED, DeviceState.REJECTED]))
    def change_state(self, state: DeviceState) -> None:
        """An operator disables, rejects or lets in; it has had a key, so it never waits again."""
        before = self.device.state
        plan = plan_state(self.device, state, had_key=True, actor="cli", now=self.now)
        assert self.registry.carry_out(plan) is (before is not state)
        assert self.device.state is state
        assert (plan.audit is None) is (before is state)

    @precondition(lambda self: self.registry.device is not None)
    @rule()
    def delete(self) -> None:
        """An operator deletes the device: no key of it stays."""
        self.registry.carry_out(plan_deletion(self.device, self.registry.keys, actor="cli", now=self.now))
        assert self.registry.keys == []
        self.safe_until = 0

    @invariant()
    def is_not_locked_out(self) -> None:
        """A key in use works until a grace period is over that began after it was used."""
        if self.held is not None and self.is_used and self.now < self.safe_until:
            found = self.registry.key(self.held)
            assert found is not None
            assert found.is_live(self.now)

    @invariant()
    def is_bounded(self) -> None:
        """Live keys stay few, however often it registers: `max_keys`, and the one in use."""
        assert len(self.registry.live(self.now)) <= MAX_KEYS + 1


TestKeyLife = KeyLife.TestCase
TestKeyLife.settings = settings(stateful_step_count=40, deadline=None)
