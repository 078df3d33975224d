"""`python -m benchmarks.bare_handler FILE`: a Litestar handler that returns a file's JSON; prints its port.

Served as `fleetkey serve` serves, by the same class with the same settings. The handler returns values, not bytes, as
a handler does that isn't written for a benchmark.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import uvloop
from litestar import Litestar, get

from fleetkey.config import Settings
from fleetkey.http import HttpServer

__all__: list[str] = []


async def _main(answer: dict[str, Any]) -> None:
    @get("/")
    async def handler() -> dict[str, Any]:
        return answer

    app = Litestar([handler], logging_config=None, openapi_config=None)
    server = HttpServer(Settings.model_construct().http.model_copy(update={"bind": "127.0.0.1:0"}))
    await server.start(app)
    print(server.port, flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_main(json.loads(Path(sys.argv[1]).read_bytes())))
