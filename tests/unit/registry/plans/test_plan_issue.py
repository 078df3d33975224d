"""The registration policy by itself, whatever the device, its keys and the settings are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fleetkey.registry import (
    ChangeKind,
    Device,
    DevicePolicy,
    DeviceState,
    IssueDenied,
    IssuePending,
    KeyIssued,
    RefusalReason,
    Reregistration,
    TooManyLabelsError,
)
from fleetkey.registry.plans import EndKeys, HeldKey, InsertDevice, InsertKey, Plan, RetireKeys, plan_issue
from tests.unit.registry.plans.plan_model import OneDevice
from tests.unit.registry.store_rig import SECRET_HASH, new_request

if TYPE_CHECKING:
    from fleetkey.registry import IssueRequest
    from fleetkey.registry.plans import IssueResult

NOW = 1_700_000_000_000
NEW_ID = "f" * 24
NEW_KEY = "n" * 32
thorough = settings(max_examples=300, deadline=None)


def _device(**values: Any) -> Device:
    fields: dict[str, Any] = {
        "device_id": "0" * 24,
        "serial": "S1",
        "state": DeviceState.ACTIVE,
        "tags": {},
        "created_at": 1,
        "updated_at": 1,
    }
    return Device(**{**fields, **values})


# Sampled from lists, which costs a tenth of drawing every field.
policies = st.sampled_from(
    [
        DevicePolicy(
            reregistration=policy, grace_seconds=grace_seconds, max_keys=max_keys, key_lifetime_seconds=lifetime
        )
        for policy in (None, *Reregistration)
        for grace_seconds in (None, 0, 3)
        for max_keys in (None, 1, 2, 5)
        for lifetime in (None, 0, 4)
    ]
)
fleet_policies = [
    new_request(
        key=NEW_KEY,
        reregistration=policy,
        grace_seconds=grace_seconds,
        max_keys=max_keys,
        require_approval=waits,
        key_lifetime_seconds=lifetime,
        tags=tags,
    )
    for policy in Reregistration
    for grace_seconds in (0, 5)
    for max_keys in (1, 3, 6)
    for waits in (False, True)
    for lifetime in (0, 8)
    for tags in ({}, {"site": "x"})
]
requests = st.builds(lambda request, own: replace(request, policy=own), st.sampled_from(fleet_policies), policies)
devices = st.builds(
    lambda state, own: _device(state=state, policy=own),
    # Active ones mostly: about the others there is little to decide.
    st.sampled_from([*DeviceState, *[DeviceState.ACTIVE] * 8]),
    policies,
)
some_keys = [
    HeldKey(key="", expires_at=expires_at, first_connected_at=connected_at, rotated_at=rotated_at)
    for expires_at in (None, None, NOW - 1, NOW, NOW + 2_000, NOW + 4_000, NOW + 9_000)
    for connected_at in (None, 1)
    for rotated_at in (None, 2)
]
key_lists = st.lists(st.sampled_from(some_keys), max_size=8).map(
    lambda keys: [replace(key, key=f"{number:032}") for number, key in enumerate(keys)]
)


def _plan(request: IssueRequest, device: Device | None, keys: list[HeldKey]) -> Plan[IssueResult]:
    return plan_issue(request, device, keys, now=NOW, new_device_id=NEW_ID)


def _applied(plan: Plan[IssueResult], device: Device | None, keys: list[HeldKey]) -> OneDevice:
    after = OneDevice(device, list(keys))
    after.carry_out(plan)
    return after


def _policy(request: IssueRequest, device: Device | None) -> tuple[Reregistration, int, int]:
    """Return the policy, the grace period and the most keys that apply: the device's own before the fleet's."""
    own = request.policy if device is None else device.policy
    return (
        request.reregistration if own.reregistration is None else own.reregistration,
        request.grace_seconds if own.grace_seconds is None else own.grace_seconds,
        request.max_keys if own.max_keys is None else own.max_keys,
    )


def _is_used(key: HeldKey) -> bool:
    return key.first_connected_at is not None


@thorough
@given(request=requests, device=st.none() | devices, keys=key_lists)
def test_one_device(request: IssueRequest, device: Device | None, keys: list[HeldKey]) -> None:
    """A serial without a device gets one, and one that has a device none: the result always names that device."""
    keys = keys if device else []
    plan = _plan(request, device, keys)
    created = [write.device for write in plan.writes if isinstance(write, InsertDevice)]
    assert plan.result.device == (device or created[0])
    assert len(created) == (device is None)
    assert [change.kind for change in plan.changes].count(ChangeKind.DEVICE_CREATED) == len(created)
    assert {change.device_id for change in plan.changes} <= {plan.result.device.device_id}
    if device is None:
        assert (created[0].device_id, created[0].serial) == (NEW_ID, "S1")
        waits = request.require_approval
        assert created[0].state is (DeviceState.PENDING if waits else DeviceState.ACTIVE)
        assert isinstance(plan.result, IssuePending if waits else KeyIssued)


@thorough
@given(request=requests, device=devices, keys=key_lists)
def test_known_device_without_a_key_changes_nothing(request: IssueRequest, device: Device, keys: list[HeldKey]) -> None:
    """What is refused, or waits, writes nothing but the audit; asking again while it waits isn't even audited."""
    plan = _plan(request, device, keys)
    if isinstance(plan.result, KeyIssued):
        assert device.state is DeviceState.ACTIVE
        return
    assert (plan.writes, plan.changes) == ((), ())
    if isinstance(plan.result, IssuePending):
        assert device.state is DeviceState.PENDING
        assert plan.audit is None
    else:
        assert plan.audit is not None
        assert (plan.audit.outcome, plan.audit.reason, plan.audit.key) == ("refused", plan.result.reason, None)


@thorough
@given(request=requests, device=st.none() | devices, keys=key_lists)
def test_one_key(request: IssueRequest, device: Device | None, keys: list[HeldKey]) -> None:
    """Exactly what is issued is stored, told and audited; the secret's hash is in the write alone and never shown."""
    keys = keys if device else []
    plan = _plan(request, device, keys)
    stored = [write for write in plan.writes if isinstance(write, InsertKey)]
    told = [change.key for change in plan.changes if change.kind is ChangeKind.KEY_ISSUED]
    issued = [NEW_KEY] if isinstance(plan.result, KeyIssued) else []
    assert [write.key for write in stored] == told == issued
    assert [write.secret_hash for write in stored] == [SECRET_HASH] * len(issued)
    assert SECRET_HASH not in repr(plan)
    if issued:
        assert plan.audit is not None
        assert (plan.audit.outcome, plan.audit.key) == ("ok", NEW_KEY)
        new = _applied(plan, device, keys).key(NEW_KEY)
        assert new is not None
        assert new.is_live(NOW)


@thorough
@given(request=requests, device=devices, keys=key_lists)
def test_max_keys(request: IssueRequest, device: Device, keys: list[HeldKey]) -> None:
    """Afterwards there are at most `max_keys` live keys; with `rotate`, those in use aren't counted out."""
    plan = _plan(request, device, keys)
    if not isinstance(plan.result, KeyIssued):
        return
    policy, _, max_keys = _policy(request, device)
    live = _applied(plan, device, keys).live(NOW)
    used = [key for key in live if _is_used(key)]
    if policy is Reregistration.ROTATE:
        assert len(live) - len(used) <= max(max_keys - len(used), 1)
    else:
        assert len(live) <= max_keys


@thorough
@given(request=requests, device=devices, keys=key_lists)
def test_key_in_use(request: IssueRequest, device: Device, keys: list[HeldKey]) -> None:
    """No key in use is retired while an older one that never connected could go; with `rotate` none is at all."""
    plan = _plan(request, device, keys)
    after = _applied(plan, device, keys)
    assert set(after.retired.values()) <= {"too_many_keys"}
    retired_used = [key for key in keys if key.key in after.retired and _is_used(key)]
    if retired_used:
        assert _policy(request, device)[0] is not Reregistration.ROTATE
        assert not [key for key in after.live(NOW) if not _is_used(key) and key.key != NEW_KEY]
        # Of those in use, the oldest.
        staying = [key.key for key in after.live(NOW) if _is_used(key)]
        assert all(key.key < name for key in retired_used for name in staying)


@thorough
@given(request=requests, device=devices, keys=key_lists)
def test_only_the_surplus_is_retired(request: IssueRequest, device: Device, keys: list[HeldKey]) -> None:
    """Nothing is retired that doesn't have to be, and nothing that has ended already."""
    plan = _plan(request, device, keys)
    after = _applied(plan, device, keys)
    if after.retired:
        assert len(after.live(NOW)) >= _policy(request, device)[2]
    assert all(key.is_live(NOW) for key in keys if key.key in after.retired)


@thorough
@given(request=requests, device=devices, keys=key_lists)
def test_rotate_never_locks_out(request: IssueRequest, device: Device, keys: list[HeldKey]) -> None:
    """A key in use works until its own end or the end of the grace period, whichever comes first; never longer."""
    plan = _plan(request, device, keys)
    policy, grace_seconds, _ = _policy(request, device)
    ends = NOW + grace_seconds * 1000
    after = _applied(plan, device, keys)
    rotates = isinstance(plan.result, KeyIssued) and policy is Reregistration.ROTATE
    for before in keys:
        found = after.key(before.key)
        if found is None or not before.is_live(NOW):
            continue
        if not rotates:
            assert found == before
            continue
        assert found.expires_at == (ends if before.expires_at is None else min(before.expires_at, ends))
    if rotates:
        assert {key.key for key in keys if _is_used(key)} <= set(after.names)


@thorough
@given(request=requests, device=devices, keys=key_lists)
def test_deny(request: IssueRequest, device: Device, keys: list[HeldKey]) -> None:
    """`deny` issues nothing as long as a key works that no operator rotates away, and otherwise issues one."""
    plan = _plan(request, device, keys)
    if device.state is not DeviceState.ACTIVE or _policy(request, device)[0] is not Reregistration.DENY:
        return
    stays = any(key.is_live(NOW) and key.rotated_at is None for key in keys)
    assert isinstance(plan.result, IssueDenied if stays else KeyIssued)
    if isinstance(plan.result, IssueDenied):
        assert plan.result.reason is RefusalReason.ALREADY_REGISTERED


@thorough
@given(request=requests, device=devices, keys=key_lists)
def test_changes_are_what_is_written(request: IssueRequest, device: Device, keys: list[HeldKey]) -> None:
    """The feed names exactly the keys whose end or status changed, each in its place."""
    plan = _plan(request, device, keys)
    ended = [key for write in plan.writes if isinstance(write, EndKeys) for key in write.keys]
    retired = [key for write in plan.writes if isinstance(write, RetireKeys) for key in write.keys]
    told = [(change.kind, change.key) for change in plan.changes]
    assert told == [
        *((ChangeKind.KEY_EXPIRING, key) for key in ended),
        *((ChangeKind.KEY_ISSUED, NEW_KEY) for _ in range(isinstance(plan.result, KeyIssued))),
        *((ChangeKind.KEY_RETIRED, key) for key in retired),
    ]


@thorough
@given(request=requests, device=devices, keys=key_lists)
def test_expired_keys_have_no_say(request: IssueRequest, device: Device, keys: list[HeldKey]) -> None:
    """Whether expired keys were retired already changes nothing."""
    assert _plan(request, device, keys) == _plan(request, device, [key for key in keys if key.is_live(NOW)])


@pytest.mark.parametrize(
    ("state", "reason"),
    [(DeviceState.DISABLED, RefusalReason.DEVICE_DISABLED), (DeviceState.REJECTED, RefusalReason.DEVICE_REJECTED)],
)
def test_denied_states(state: DeviceState, reason: RefusalReason) -> None:
    """A device that was disabled or rejected gets nothing, and the audit says which."""
    device = _device(state=state)
    plan = _plan(new_request(), device, [])
    assert plan.result == IssueDenied(device=device, reason=reason)
    assert plan.audit is not None


def test_denial_that_the_caller_audits() -> None:
    """A denial isn't audited twice; whatever is issued, or waits, is audited with what is written, whoever asks."""
    assert _plan(new_request(audit_denial=False), _device(state=DeviceState.DISABLED), []).audit is None
    assert _plan(new_request(audit_denial=False), None, []).audit is not None
    assert _plan(new_request(audit_denial=False, require_approval=True), None, []).audit is not None


@pytest.mark.parametrize(
    ("policy", "tags", "reason"),
    [
        pytest.param(DevicePolicy(), {"site": "north"}, "known", id="has_it"),
        pytest.param(DevicePolicy(), {}, "known missing_tag=site", id="lacks_it"),
        pytest.param(DevicePolicy(), {"site": "a/b"}, "known missing_tag=site", id="unsafe_value"),
        pytest.param(DevicePolicy(publish=("x",)), {}, "known missing_tag=site", id="own_publish_alone"),
        pytest.param(
            DevicePolicy(publish=("x",), subscribe=("{tag:b}/{tag:a}",)), {}, "known missing_tag=a,b", id="own"
        ),
        pytest.param(
            DevicePolicy(subscribe=tuple(f"{{tag:t{number}}}" for number in range(9))),
            {"site": "x"},
            "known missing_tag=t0,t1,t2,t3,t4",
            id="many",
        ),
    ],
)
def test_missing_tags(policy: DevicePolicy, tags: dict[str, str], reason: str) -> None:
    """The audit names the tags that keep a device out, by its own topics where it has some; a refusal doesn't."""
    request = new_request(publish=("a/{tag:site}",), subscribe=("b/{tag:site}/{device_id}",))
    plan = _plan(request, _device(policy=policy, tags=tags), [])
    assert plan.audit is not None
    assert plan.audit.reason == reason
    refused = _plan(request, _device(policy=policy, tags=tags, state=DeviceState.DISABLED), [])
    assert refused.audit is not None
    assert refused.audit.reason == "device_disabled"


@pytest.mark.parametrize("what", ["tags", "attributes"])
def test_too_many_labels(what: str) -> None:
    """A registration that would bring too many of them is an error: it writes nothing."""
    labels: dict[str, Any] = {what: {f"t{number}": "x" for number in range(65)}}
    with pytest.raises(TooManyLabelsError) as caught:
        _plan(new_request(**labels), None, [])
    assert caught.value.what == what


def test_new_device() -> None:
    """A new device gets what the request says; its name is filled in, and cut where it is too long."""
    request = new_request(
        "S" * 100, name="{serial} {device_id}", profile="pump", tags={"a": "1"}, attributes={"b": "2"}
    )
    device = _plan(request, None, []).result.device
    assert device.name == ("S" * 100 + " " + NEW_ID)[:128]
    assert (device.profile, device.tags, device.attributes) == ("pump", {"a": "1"}, {"b": "2"})
    assert device.created_at == device.updated_at == NOW
