"""Proofs of serials."""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from fleetkey.access import GroupSecrets, Secret, SharedSecretError, read_shared_secret
from fleetkey.config import HmacSettings

if TYPE_CHECKING:
    from pathlib import Path

OLD, NEW = "o" * 32, "n" * 40
# printf %s SN-0001 | openssl dgst -sha256 -hmac "oooooooooooooooooooooooooooooooo" -binary | base64
PROOF = "XzqenAtDfguIRHPc7ZiE4Hq4oMbUju0ASTkM71P61+M="


@pytest.fixture
def groups() -> GroupSecrets:
    """Two groups, as during a rotation."""
    return GroupSecrets({"old": Secret(OLD), "new": Secret(NEW)})


def test_prove_is_what_openssl_says(groups: GroupSecrets) -> None:
    """The proof is `base64(HMAC-SHA256(secret, serial))`, as any other program computes it."""
    assert groups.prove("SN-0001", "old").reveal() == PROOF


@pytest.mark.parametrize("name", ["old", "new"])
def test_group_of_each_group(groups: GroupSecrets, name: str) -> None:
    """A proof by any group is accepted, and its group is known."""
    assert groups.group_of("SN-é", groups.prove("SN-é", name).reveal()) == name


@pytest.mark.parametrize(
    "proof",
    [
        pytest.param("", id="empty"),
        pytest.param(PROOF[:-1], id="cut"),
        pytest.param(PROOF + "\n", id="line_end"),
        pytest.param(PROOF.lower(), id="other_case"),
        pytest.param(hmac.digest(OLD.encode(), b"SN-0001", "sha256").hex(), id="hex"),
        pytest.param("é\ud800", id="not_ascii"),
        pytest.param("A" * 10_000, id="long"),
    ],
)
def test_group_of_wrong_proof(groups: GroupSecrets, proof: str) -> None:
    """Anything but the exact proof belongs to no group."""
    assert groups.group_of("SN-0001", proof) is None


def test_group_of_other_serial(groups: GroupSecrets) -> None:
    """A proof is for one serial."""
    assert groups.group_of("SN-0002", PROOF) is None


def test_group_of_compares_with_every_group(groups: GroupSecrets, monkeypatch: pytest.MonkeyPatch) -> None:
    """Timing doesn't tell which group it was, if any: all are compared, each in constant time."""
    real, compared = hmac.compare_digest, []

    def compare(left: Any, right: Any) -> bool:
        compared.append(left)
        return real(left, right)

    monkeypatch.setattr(hmac, "compare_digest", compare)
    for proof in (PROOF, groups.prove("SN-0001", "new").reveal(), "x"):
        compared.clear()
        groups.group_of("SN-0001", proof)
        assert len(compared) == 2


def test_from_settings(tmp_path: Path) -> None:
    """Secrets come from the settings and from files; a file's final line break isn't part of one."""
    file = tmp_path / "new"
    file.write_text(f"{NEW}\r\n")
    found = GroupSecrets.from_settings(HmacSettings(secrets={"old": SecretStr(OLD)}, secret_files={"new": file}))
    assert found.names == ("old", "new")
    assert found.prove("S", "new").reveal() == GroupSecrets({"new": Secret(NEW)}).prove("S", "new").reveal()


def test_secrets_are_not_shown(groups: GroupSecrets) -> None:
    """Neither settings, groups nor proofs show a secret."""
    settings = HmacSettings(secrets={"old": SecretStr(OLD)})
    for shown in (repr(settings), str(settings), repr(groups.prove("S", "old")), repr(groups)):
        assert OLD not in shown


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(None, "can't be read", id="missing"),
        pytest.param(b"geheim" * 5, "too short", id="short"),
        pytest.param(b"geheim\xff" * 8, "not UTF-8", id="not_utf8"),
        pytest.param(b"geheim" * 1000, "too long", id="long"),
        pytest.param(b"", "too short", id="empty"),
    ],
)
def test_read_shared_secret_refused(tmp_path: Path, content: bytes | None, reason: str) -> None:
    """An unusable file is named, along with its setting; its content isn't shown."""
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SharedSecretError, match=reason) as caught:
        read_shared_secret("registration.hmac.secret_files.a", path=file)
    assert "registration.hmac.secret_files.a" in str(caught.value)
    assert str(file) in str(caught.value)
    assert "geheim" not in str(caught.value)
