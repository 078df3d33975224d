"""Exit status 2 is for settings, wherever they turn out to be unusable."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.integration.cli.cli_rig import CommandLine

LATE = {
    "store_url": ("[store]\nurl = 'postgres://fleet'\n", "store.url"),
    "topic_pattern": ("[topics]\npublish = ['devices/x{device_id}/#']\n", "x{device_id}"),
}


@pytest.mark.parametrize("name", LATE)
def test_settings_found_bad_late(fleetkey: CommandLine, name: str) -> None:
    """A setting that only shows when it is used is still a wrong setting, and named."""
    content, named = LATE[name]
    file = fleetkey.folder / "mine.toml"
    file.write_text(content)
    ended = fleetkey("serve", "--http", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--config", file, status=2)
    assert named in ended.error
    assert ended.out == ""
