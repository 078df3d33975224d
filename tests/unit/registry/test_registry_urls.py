"""Which store a setting means."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetkey.config import Settings
from fleetkey.registry import StoreUnavailableError, open_store, store_path


def _settings(data_dir: Path, url: str = "") -> Settings:
    return Settings.model_validate({"data_dir": data_dir, "store": {"url": url}})


@pytest.mark.parametrize(
    ("url", "path"),
    [
        pytest.param("", "data/fleetkey.db", id="default"),
        pytest.param("sqlite:///relative/fleet.db", "relative/fleet.db", id="relative"),
        pytest.param("sqlite:////var/fleet.db", "/var/fleet.db", id="absolute"),
    ],
)
def test_store_path(url: str, path: str) -> None:
    """Without a URL the registry is in the data folder; with one it is where that says."""
    assert store_path(_settings(Path("data"), url)) == Path(path)


def test_open_store_new_folder(tmp_path: Path) -> None:
    """Folder and file are made for their owner alone."""
    store = open_store(_settings(tmp_path / "a" / "data"))
    store.ping()
    store.close()
    for folder in (tmp_path / "a", tmp_path / "a" / "data"):
        assert folder.stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "a" / "data" / "fleetkey.db").stat().st_mode & 0o777 == 0o600


def test_open_store_folder_is_a_file(tmp_path: Path) -> None:
    """A data folder that can't be made is one error that says which and what to do."""
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreUnavailableError, match="--data-dir"):
        open_store(_settings(tmp_path / "file" / "data"))
