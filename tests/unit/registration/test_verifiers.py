"""Who may register: each verifier by its rules, and several together."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from structlog.testing import capture_logs

from fleetkey.access import GroupSecrets, Secret, SharedSecretError
from fleetkey.access.protection import refusal_timing
from fleetkey.config import SettingsError, load_settings
from fleetkey.management import DISABLE
from tests.unit.registration.app_rig import registration

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "s" * 32
HMAC = f"""
[registration]
verifiers = ["hmac"]
[registration.hmac.secrets]
old = "{"o" * 32}"
new = "{SECRET}"
"""
PATTERN = """
[registration]
verifiers = ["pattern"]
[registration.pattern]
serials = ['SN-\\d{3}', 'X+']
"""
BOTH = HMAC.replace('["hmac"]', '["allowlist", "hmac"]')


def _proof(serial: str, secret: str = SECRET) -> str:
    return GroupSecrets({"g": Secret(secret)}).prove(serial, "g").reveal()


@pytest.mark.parametrize("serial", ["SN-123", "X", "XXXX"])
async def test_pattern_accepts(tmp_path: Path, serial: str) -> None:
    """A serial that one of the patterns matches may register."""
    async with registration(tmp_path, PATTERN) as served:
        assert (await served.register(serial))["deviceId"]


@pytest.mark.parametrize("serial", ["SN-12", "SN-1234", "sn-123", "XY", "SN-123X", "SN-١٢٣"])
async def test_pattern_refuses(tmp_path: Path, serial: str) -> None:
    """Any other one may not: the whole serial has to match, and digits are 0 to 9."""
    async with registration(tmp_path, PATTERN) as served:
        assert (await served.post(serial)).status_code == 400
        assert served.reasons() == ["pattern:no_match"]
        assert served.store.count_devices() == 0


@pytest.mark.parametrize("secret", ["o" * 32, SECRET], ids=["old_group", "new_group"])
async def test_hmac_accepts(tmp_path: Path, secret: str) -> None:
    """A proof by any group secret lets a serial register that nobody listed, and again."""
    async with registration(tmp_path, HMAC) as served:
        with capture_logs() as lines:
            first = await served.register("SN-1", _proof("SN-1", secret))
        assert [line["serial"] for line in lines if line["event"] == "proof_accepted"] == ["SN-1"]
        assert (await served.register("SN-1", _proof("SN-1", secret)))["deviceId"] == first["deviceId"]


@pytest.mark.parametrize(
    ("proof", "reason"),
    [
        pytest.param(None, "hmac:no_proof", id="none"),
        pytest.param("", "hmac:wrong_proof", id="empty"),
        pytest.param(_proof("SN-2"), "hmac:wrong_proof", id="other_serial"),
        pytest.param(_proof("SN-1", "x" * 32), "hmac:wrong_proof", id="other_secret"),
        pytest.param(SECRET, "hmac:wrong_proof", id="the_secret_itself"),
    ],
)
async def test_hmac_refuses(tmp_path: Path, proof: str | None, reason: str) -> None:
    """Without a proof by a group secret nobody gets in, and every refusal looks the same."""
    async with registration(tmp_path, HMAC) as served:
        refused = await served.post("SN-1", proof)
        assert refused.status_code == 400
        assert refused.json()["detail"] == "This serial may not register."
        assert served.reasons() == [reason]
        assert served.store.count_devices() == 0


async def test_all_must_accept(tmp_path: Path) -> None:
    """With two verifiers, one alone is not enough; the audit names the one that refused."""
    async with registration(tmp_path, BOTH) as served:
        served.store.add_serials(["SN-1"], actor="test")
        assert (await served.post("SN-2", _proof("SN-2"))).status_code == 400
        assert (await served.post("SN-1", "wrong")).status_code == 400
        assert served.reasons() == ["allowlist:not_listed", "hmac:wrong_proof"]
        assert (await served.post("SN-1", _proof("SN-1"))).status_code == 200


@pytest.mark.parametrize(
    ("toml", "proof"), [(HMAC, _proof("SN-123")), (PATTERN, None), ('[registration]\nverifiers = ["open"]', None)]
)
async def test_disabled_device_stays_out(tmp_path: Path, toml: str, proof: str | None) -> None:
    """Whoever accepts the serial, a device that an operator disabled can't register its way back."""
    async with registration(tmp_path, toml) as served:
        device_id = (await served.register("SN-123", proof))["deviceId"]
        served.management.devices.decide(DISABLE, device_id, actor="test")
        assert (await served.post("SN-123", proof)).status_code == 400
        assert served.reasons() == ["device_disabled"]


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        ({"registration.verifiers": "pattern"}, "registration.pattern.serials"),
        ({"registration.verifiers": "hmac"}, "registration.hmac.secrets"),
        ({"registration.verifiers": "http"}, "registration.http.url"),
        (
            {"registration.verifiers": "http", "registration.http.url": "https://api.example.com/"},
            "registration.http.secret_file",
        ),
        ({"registration.pattern.serials": ("a", "(b")}, "registration.pattern.serials"),
        ({"registration.http.url": "http://api.example.com/"}, "registration.http.url"),
        ({"registration.http.url": "https://me:geheim@api.example.com/"}, "registration.http.url"),
        ({"registration.http.url": "ftp://127.0.0.1/"}, "registration.http.url"),
        ({"registration.http.url": "https://"}, "registration.http.url"),
        (
            {"registration.hmac.secrets": {"a": "geheim"}, "registration.hmac.secret_files": {"a": "f"}},
            "registration.hmac",
        ),
    ],
)
def test_settings_refused(flags: dict[str, Any], named: str, tmp_path: Path) -> None:
    """What a verifier can't work with is an error of the settings that names the setting and no secret."""
    file = tmp_path / "fleetkey.toml"
    file.touch()
    with pytest.raises(SettingsError) as caught:
        load_settings(file, flags)
    assert named in str(caught.value)
    assert "geheim" not in str(caught.value)


async def test_short_group_secret(tmp_path: Path) -> None:
    """A group secret that could be guessed stops the start; the message doesn't repeat it."""
    toml = HMAC.replace("o" * 32, "geheim")
    with pytest.raises(SharedSecretError, match=r"registration.hmac.secrets.old .*too short") as caught:
        async with registration(tmp_path, toml):
            pass
    assert "geheim" not in str(caught.value)


async def test_refusal_leaves_with_a_beat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether a verifier refused, or the device is disabled: both leave with a beat, with the same words."""
    monkeypatch.setattr(refusal_timing, "INTERVAL_SECONDS", 0.3)
    async with registration(tmp_path) as served:
        served.store.add_serials(["SN-1"], actor="test")
        served.management.devices.decide(DISABLE, (await served.register("SN-1"))["deviceId"], actor="test")
        answers = []
        for serial in ("SN-1", "SN-2"):
            start = time.monotonic()
            answers.append(await served.post(serial))
            assert time.monotonic() - start >= 0.3
        assert answers[0].content == answers[1].content
