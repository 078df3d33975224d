"""Profiles: which one a device gets, that it is copied, and what it decides."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import structlog

from fleetkey.access import Action, TemplateError, TopicTemplates, decide
from fleetkey.access.login.verification import VerifiedLogin
from fleetkey.config import SettingsError, load_settings
from fleetkey.registration.grant import Grant, Profiles, merge
from fleetkey.registration.verifiers import Accepted
from fleetkey.registry import ApplicationScope, DevicePolicy, ListedSerial, Reregistration
from tests.unit.registration.app_rig import registration
from tests.unit.registry.store_rig import SECRET_HASH

if TYPE_CHECKING:
    from pathlib import Path

    from tests.unit.registration.app_rig import Registration

TOML = """
[profiles.pump]
name = "Pump {serial} {device_id} {profile}"
tags = { kind = "pump", site = "unknown" }
attributes = { maker = "Example" }
grace_seconds = 5
max_keys = 2
max_messages_per_second = 10
max_bytes_per_second = 0

[profiles.camera]
serials = 'CAM-[0-9]+'
tags = { kind = "camera" }
publish = ["cameras/{device_id}/out"]
subscribe = ["cameras/{tag:kind}/{device_id}/in"]
reregistration = "deny"
require_approval = false

[profiles.every]
serials = 'CAM-.*'
name = "never reached by CAM-1"
"""


def _scope(served: Registration, key: str) -> Any:
    found = served.authenticator._verification.revalidate(key)
    assert isinstance(found, VerifiedLogin)
    return found.scope


async def test_profile_from_the_allow_list(tmp_path: Path) -> None:
    """The row names a profile and goes before it; what neither says follows the settings."""
    row = ListedSerial(serial="SN-1", profile="pump", tags={"site": "north"}, attributes={"batch": "7"})
    async with registration(tmp_path, TOML) as served:
        served.store.add_serials([row], actor="test")
        answer = await served.register("SN-1")
        device = served.store.get_device(answer["deviceId"])
        assert device.name == f"Pump SN-1 {device.device_id} pump"
        assert device.profile == "pump"
        assert device.tags == {"kind": "pump", "site": "north"}
        assert device.attributes == {"maker": "Example", "batch": "7"}
        assert device.policy == DevicePolicy(
            grace_seconds=5, max_keys=2, max_messages_per_second=10, max_bytes_per_second=0
        )
        assert answer["mqtt"]["publish"] == [f"devices/{device.device_id}/#"]


async def test_profile_by_serial(tmp_path: Path) -> None:
    """Without a name, the first profile of the file whose pattern the whole serial has; or none."""
    async with registration(tmp_path, TOML) as served:
        served.store.add_serials(["CAM-1", "CAM-x", "SN-1"], actor="test")
        found = [served.store.get_device((await served.register(serial))["deviceId"]) for serial in ("CAM-1", "CAM-x")]
        assert [device.profile for device in found] == ["camera", "every"]
        assert served.store.get_device((await served.register("SN-1"))["deviceId"]).profile is None


async def test_profile_named_goes_before_pattern(tmp_path: Path) -> None:
    """What the allow-list names counts, whatever the serial looks like."""
    async with registration(tmp_path, TOML) as served:
        served.store.add_serials([ListedSerial(serial="CAM-1", profile="pump")], actor="test")
        assert served.store.get_device((await served.register("CAM-1"))["deviceId"]).profile == "pump"


async def test_profile_unknown(tmp_path: Path) -> None:
    """A profile that isn't there any more lets nobody in, and says so in the audit."""
    async with registration(tmp_path, TOML) as served:
        served.store.add_serials([ListedSerial(serial="SN-1", profile="gone")], actor="test")
        assert (await served.post("SN-1")).status_code == 503
        assert served.reasons() == ["profile_unusable"]


async def test_profile_is_copied(tmp_path: Path) -> None:
    """A profile that is changed or gone at the next start doesn't change a device that exists."""
    async with registration(tmp_path, TOML) as served:
        served.store.add_serials(["CAM-1"], actor="test")
        answer = await served.register("CAM-1")
        before = served.store.get_device(answer["deviceId"])
    changed = TOML.replace("cameras/", "other/").replace('"deny"', '"add"').replace('"camera"', '"changed"')
    for toml in (changed, ""):
        async with registration(tmp_path, toml) as served:
            assert served.store.get_device(answer["deviceId"]) == before
            scope = _scope(served, answer["key"])
            assert scope.publish == (f"cameras/{answer['deviceId']}/out",)
            assert (await served.post("CAM-1")).status_code == 409


async def test_profile_topics(tmp_path: Path) -> None:
    """A device with topics of its profile reaches these and not the fleet's, and its answer says so."""
    async with registration(tmp_path, TOML) as served:
        served.store.add_serials(["CAM-1"], actor="test")
        answer = await served.register("CAM-1")
        device_id = answer["deviceId"]
        assert answer["mqtt"]["publish"] == [f"cameras/{device_id}/out"]
        assert answer["mqtt"]["subscribe"] == [f"cameras/camera/{device_id}/in"]
        scope = _scope(served, answer["key"])
        assert decide(scope, Action.PUBLISH, f"cameras/{device_id}/out")
        assert not decide(scope, Action.PUBLISH, f"devices/{device_id}/x")
        assert not decide(scope, Action.SUBSCRIBE, "cameras/+/+/in")


async def test_profile_topics_without_the_tag(tmp_path: Path) -> None:
    """A device whose topics need a tag that it hasn't is kept out: the log and the audit say which tag."""
    toml = TOML.replace("{tag:kind}", "{tag:site}")
    async with registration(tmp_path, toml) as served:
        served.store.add_serials(["CAM-1", "CAM-2"], actor="test")
        with structlog.testing.capture_logs() as logged:
            device_id = (await served.register("CAM-1"))["deviceId"]
        assert [(entry["event"], entry["log_level"]) for entry in logged if "missing_tag" in entry] == [
            ("device_kept_out", "warning")
        ]
        assert {"device_id": device_id, "missing_tag": "site"}.items() <= logged[-1].items()
        (entry,) = served.store.last_audit(1)
        assert (entry.outcome, entry.reason) == ("ok", "created missing_tag=site")
    async with registration(tmp_path, toml.replace("require_approval = false", "require_approval = true")) as served:
        assert (await served.post("CAM-2")).status_code == 202
        (entry,) = served.store.last_audit(1)
        assert (entry.outcome, entry.reason) == ("pending", "missing_tag=site")


@pytest.mark.parametrize("toml", [TOML, ""], ids=["profile_in_the_settings", "profile_gone"])
async def test_profile_topics_and_application_keys(tmp_path: Path, toml: str) -> None:
    """A key for all devices, or for this one, reaches the topics that a profile gave it, also once that is gone."""
    async with registration(tmp_path, TOML) as served:
        served.store.add_serials(["CAM-1"], actor="test")
        device_id = (await served.register("CAM-1"))["deviceId"]
        for key, scope in (
            ("a" * 32, ApplicationScope(all_devices=True)),
            ("b" * 32, ApplicationScope(device_ids=(device_id,))),
            ("c" * 32, ApplicationScope(tags=(("kind", "camera"),))),
            ("d" * 32, ApplicationScope(tags=(("kind", "pump"),))),
        ):
            served.store.create_application_key(key=key, secret_hash=SECRET_HASH, name="x", scope=scope, actor="test")
    async with registration(tmp_path, toml) as served:
        allowed = {key: decide(_scope(served, key * 32), Action.RECEIVE, f"cameras/{device_id}/out") for key in "abcd"}
        assert allowed == {"a": True, "b": True, "c": True, "d": False}


async def test_profile_topics_before_the_first_device(tmp_path: Path) -> None:
    """A key for all devices that is connected already reaches the first device that gets the profile."""
    async with registration(tmp_path, TOML) as served:
        scope, key = ApplicationScope(all_devices=True), "a" * 32
        served.store.create_application_key(key=key, secret_hash=SECRET_HASH, name="x", scope=scope, actor="test")
        assert decide(_scope(served, key), Action.RECEIVE, f"cameras/{'0' * 24}/out")


async def test_key_lifetime_of_the_fleet(tmp_path: Path) -> None:
    """`key_lifetime_seconds` of the settings ends the keys that are issued from then on."""
    async with registration(tmp_path, TOML, registration__key_lifetime_seconds=60) as served:
        served.store.add_serials(["SN-1"], actor="test")
        answer = await served.register("SN-1")
        assert served.store.get_key(answer["key"]).expires_at == served.clock.milliseconds + 60_000
        assert await served.can_connect(answer)
        served.clock.advance(60)
        assert not await served.can_connect(answer)


async def test_profile_reregistration(tmp_path: Path) -> None:
    """Each device goes by its own policy, beside the fleet's."""
    async with registration(tmp_path, TOML, registration__reregistration="add") as served:
        served.store.add_serials(["CAM-1", "SN-1"], actor="test")
        await served.register("CAM-1")
        await served.register("SN-1")
        assert (await served.post("CAM-1")).status_code == 409
        assert (await served.post("SN-1")).status_code == 200
        assert served.reasons() == ["already_registered"]


async def test_profile_max_keys_and_grace(tmp_path: Path) -> None:
    """`grace_seconds` and `max_keys` of a profile go before the fleet's."""
    async with registration(tmp_path, TOML) as served:
        served.store.add_serials([ListedSerial(serial="SN-1", profile="pump")], actor="test")
        first = await served.register("SN-1")
        await served.register("SN-1")
        assert served.store.get_key(first["key"]).expires_at == served.clock.milliseconds + 5_000
        await served.register("SN-1")
        assert len(served.store.list_keys(device_id=first["deviceId"])) == 2


async def test_profile_approval(tmp_path: Path) -> None:
    """A profile frees its devices of approval, or asks for it, whatever the fleet does."""
    toml = f'[registration]\nrequire_approval = true\n{TOML}\n[profiles.wait]\nserials = "W.*"\nrequire_approval = true'
    async with registration(tmp_path, toml) as served:
        served.store.add_serials(["CAM-1", "SN-1", "W"], actor="test")
        assert (await served.post("CAM-1")).status_code == 200
        assert (await served.post("SN-1")).status_code == 202
    async with registration(tmp_path, toml, registration__require_approval=False) as served:
        served.store.add_serials(["SN-2"], actor="test")
        assert (await served.post("SN-2")).status_code == 200
        assert (await served.post("W")).status_code == 202


async def test_tags_of_a_new_device_are_told(tmp_path: Path) -> None:
    """A device that begins with tags comes into the scope of application keys that go by them, without a restart."""
    async with registration(tmp_path, TOML) as served:
        served.store.add_serials(["CAM-1", "SN-1"], actor="test")
        await served.register("SN-1")
        assert "device_tagged" not in [change.kind for change in served.store.changes_after(0)]
        await served.register("CAM-1")
        kinds = [change.kind.value for change in served.store.changes_after(0)]
        assert kinds[-3:] == ["device_created", "device_tagged", "key_issued"]


def test_merge_later_verifier_goes_first() -> None:
    """What a later verifier says goes before what an earlier one said; what it doesn't say stays."""
    first = merge(Grant(), Accepted(name="a", profile="p", tags={"x": "1", "y": "1"}, attributes={"z": "1"}))
    both = merge(first, Accepted(profile="q", tags={"y": "2"}))
    assert (both.name, both.profile, both.tags, both.attributes) == ("a", "q", {"x": "1", "y": "2"}, {"z": "1"})


def test_apply_too_many_labels(tmp_path: Path) -> None:
    """More labels than a device may have are refused and not cut."""
    file = tmp_path / "fleetkey.toml"
    file.write_text('[profiles.p]\ntags = { own = "1" }')
    profiles = Profiles(load_settings(file).profiles)
    tags = {f"t{number}": "x" for number in range(64)}
    assert profiles.apply(Grant(tags=tags), "S") is not None
    assert profiles.apply(Grant(tags=tags, profile="p"), "S") is None


def test_policy_from_profile(tmp_path: Path) -> None:
    """All of a profile's policy is taken over."""
    file = tmp_path / "fleetkey.toml"
    file.write_text(
        '[profiles.p]\nreregistration = "add"\ngrace_seconds = 0\nmax_keys = 3\nkey_lifetime_seconds = 0\n'
        'publish = ["a"]\nsubscribe = ["b"]\nrequire_approval = true'
    )
    grant = Profiles(load_settings(file).profiles).apply(Grant(profile="p"), "S")
    assert grant is not None
    assert grant.require_approval is True
    assert grant.policy == DevicePolicy(
        reregistration=Reregistration.ADD,
        grace_seconds=0,
        max_keys=3,
        key_lifetime_seconds=0,
        publish=("a",),
        subscribe=("b",),
    )


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ('[profiles."a b"]\nname = "x"', "a b"),
        ('[profiles.p]\nserials = "("', "profiles.p.serials"),
        ('[profiles.p]\nname = "{serail}"', "profiles.p.name"),
        ('[profiles.p]\nname = "{serial"', "profiles.p.name"),
        ('[profiles.p]\ntags = { "" = "x" }', "profiles.p.tags"),
        ("[profiles.p]\nattributes = { a = 1 }", "profiles.p.attributes"),
        ('[profiles.p]\nreregistration = "never"', "profiles.p.reregistration"),
        ("[profiles.p]\ngrace = 5", "profiles.p.grace"),
    ],
)
def test_profile_refused(tmp_path: Path, table: str, named: str) -> None:
    """A profile that can't be used is an error of the settings, with its place."""
    file = tmp_path / "fleetkey.toml"
    file.write_text(table)
    with pytest.raises(SettingsError) as caught:
        load_settings(file)
    assert named in str(caught.value)


def test_profile_topics_refused(tmp_path: Path) -> None:
    """A topic pattern that can't be used is refused at start, with the profile's name."""
    file = tmp_path / "fleetkey.toml"
    file.write_text('[profiles.pump]\npublish = ["site-{tag:site}"]')
    settings = load_settings(file)
    with pytest.raises(TemplateError, match=r"profile pump: .*site-"):
        TopicTemplates.from_settings(settings.topics, settings.profiles)
