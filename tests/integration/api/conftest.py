"""A server with its admin API, and a token of each role."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.integration.api.api_rig import Api, serving

if TYPE_CHECKING:
    from collections.abc import Iterator


# Nobody listens there.
WEBHOOK = """
[webhooks.backend]
url = "http://127.0.0.1:1/hook"
secrets = ["a secret of rather more than 32 characters"]
"""


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """Run a server for a module's tests."""
    with serving(tmp_path_factory.mktemp("server"), {}, WEBHOOK) as api:
        yield api
