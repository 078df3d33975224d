"""Keeping file descriptors free for the store, the log and the others, whatever clients do; and saying when none are.

The kernel gives each new descriptor the lowest number that is free. So the number of a connection that was just taken
tells how many are in use at least, and to compare it is all it costs to keep the highest ones for the others: also from
connections that are no longer counted but still being closed, and from handshakes.
"""

from __future__ import annotations

import errno
import os
import resource
from collections import Counter
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    import asyncio

__all__ = ["Descriptors"]

log = structlog.get_logger(__name__)

QUIET_LOOKS = 10
"""Looks in a row at which there were descriptors enough; then it is over, and the next time is logged again."""
SHORT_OF_THEM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Descriptors:
    """Decides whether a new connection may keep its descriptor, and watches how many are left.

    Args:
        reserve: descriptors that clients never get.
    """

    def __init__(self, reserve: int = 0) -> None:
        self._reserve = reserve
        self._ceiling = 0
        self._quiet: dict[str, int] = {}
        """What is short now, and how many looks it hasn't been for."""
        self.bounds: Counter[str] = Counter()
        """How often a bound on descriptors, or on TLS handshakes, was reached."""
        self._follow_limit()

    def admits(self, number: int) -> bool:
        """Whether a client may keep the descriptor that it was just given; if not, it is to be closed at once."""
        if number < self._ceiling:
            return True
        # It may have been raised since the last look.
        self._follow_limit()
        if number < self._ceiling:
            return True
        self.reached("open_files", limit=self._limit, reserve=self._reserve)
        return False

    def admits_transport(self, transport: asyncio.BaseTransport) -> bool:
        """The same for a transport that was just made."""
        taken = transport.get_extra_info("socket")
        # Of one that is closed already the number is -1, and it keeps nothing.
        return taken is None or self.admits(taken.fileno())

    def failed(self, error: OSError) -> bool:
        """Take note of an error; whether it is one of having no descriptor, or no memory for one."""
        if error.errno not in SHORT_OF_THEM:
            return False
        self.reached("open_files_exhausted", limit=self._limit, error=error.strerror or str(error))
        return True

    def look(self) -> None:
        """Look whether there is a descriptor, and follow the limit; call it every second or so.

        libuv closes connections without a word when the process has no descriptor left, so nobody would be told.
        """
        self._follow_limit()
        for bound in list(self._quiet):
            self._quiet[bound] += 1
        try:
            os.close(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        except OSError as error:
            if not self.failed(error):
                raise
        for bound, looks in list(self._quiet.items()):
            if looks > QUIET_LOOKS:
                del self._quiet[bound]
                log.warning("bound_over", bound=bound)

    def reached(self, bound: str, **details: object) -> None:
        """Count that a bound was reached, and say it once until it is over."""
        self.bounds[bound] += 1
        if bound not in self._quiet:
            log.warning("bound_reached", bound=bound, **details)
        self._quiet[bound] = 0

    def _follow_limit(self) -> None:
        # An administrator may change it while the process runs.
        self._limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        is_bounded = self._limit != resource.RLIM_INFINITY
        self._ceiling = max(0, self._limit - self._reserve) if is_bounded else 1 << 31
