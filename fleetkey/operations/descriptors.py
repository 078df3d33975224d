"""Reserving file descriptors for the store, the log and other internal uses, and logging when they run out.

The kernel gives each new descriptor the lowest free number. So the number of a newly accepted connection is a lower
bound on how many are in use, and comparing it is enough to keep the highest ones in reserve: also from handshakes, and
from connections that are no longer counted but still being closed.
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
"""How many checks in a row must find enough descriptors before a shortage is over and the next one is logged again."""
ADMITTED_PER_CHECK = 16
"""Transports admitted for each one whose number is looked up, which takes a system call. So a few may get into the
reserve, fewer than this."""
SHORT_OF_THEM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Descriptors:
    """Decides whether a new connection may keep its descriptor, and checks how many are left.

    Args:
        reserve: how many descriptors clients never get.
    """

    def __init__(self, reserve: int = 0) -> None:
        self._reserve = reserve
        self._ceiling = 0
        self._unchecked = 0
        """How many more transports are admitted without a check."""
        self._quiet: dict[str, int] = {}
        """Current shortages, and for how many checks each has been over."""
        self.bounds: Counter[str] = Counter()
        """How often a bound on descriptors, or on TLS handshakes, was reached."""
        self._follow_limit()

    def admits(self, number: int) -> bool:
        """Return whether a client may keep its new descriptor; if not, close it at once."""
        if number < self._ceiling:
            return True
        # The limit may have been raised since the last check.
        self._follow_limit()
        if number < self._ceiling:
            return True
        self.reached("open_files", limit=self._limit, reserve=self._reserve)
        return False

    def admits_transport(self, transport: asyncio.BaseTransport) -> bool:
        """Return the same for a new transport."""
        if self._unchecked > 0:
            self._unchecked -= 1
            return True
        taken = transport.get_extra_info("socket")
        # A transport that is already closed has the number -1 and holds no descriptor.
        number = taken.fileno() if taken is not None else -1
        if 0 <= number < self._ceiling - 2 * ADMITTED_PER_CHECK:
            self._unchecked = ADMITTED_PER_CHECK - 1
        return self.admits(number)

    def failed(self, error: OSError) -> bool:
        """Record an error; return whether it means that there is no descriptor, or no memory for one."""
        if error.errno not in SHORT_OF_THEM:
            return False
        self.reached("open_files_exhausted", limit=self._limit, error=error.strerror or str(error))
        return True

    def look(self) -> None:
        """Check whether a descriptor is available, and follow changes of the limit; call it about every second.

        libuv silently closes connections when the process has no descriptor left, so nothing else would notice.
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
        """Count that a bound was reached, and log it once until the shortage is over."""
        self.bounds[bound] += 1
        if bound not in self._quiet:
            log.warning("bound_reached", bound=bound, **details)
        self._quiet[bound] = 0

    def _follow_limit(self) -> None:
        # An administrator may change it while the process is running.
        self._limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        is_bounded = self._limit != resource.RLIM_INFINITY
        self._ceiling = max(0, self._limit - self._reserve) if is_bounded else 1 << 31
        self._unchecked = 0
