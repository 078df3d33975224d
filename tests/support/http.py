"""HTTP as tests speak it with a server of theirs."""

from __future__ import annotations

import ssl

__all__ = ["NOBODY_TRUSTED"]

NOBODY_TRUSTED = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""For httpx's `verify` where no TLS is spoken: otherwise each client reads the usual authorities, for 0.1 s."""
