"""Limits TLS handshakes in total and per address, so that no client can keep others out."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.access import address_bucket

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleetkey.operations.descriptors import Descriptors

__all__ = ["Handshake", "Handshakes"]


class Handshake:
    """A handshake that holds a slot, from accept until it ends or is aborted."""

    __slots__ = ("_cut", "bucket", "is_over")

    def __init__(self, bucket: str | None) -> None:
        self.bucket = bucket
        """The address bucket that it counts against; None for a reserved slot."""
        self.is_over = False
        self._cut: Callable[[], object] | None = None

    def when_cut(self, callback: Callable[[], object]) -> None:
        """Call `callback` once if the slot is given to another client; it must close the connection."""
        self._cut = callback

    def cut(self) -> None:
        """Close the connection."""
        if self._cut is not None:
            self._cut()


class Handshakes:
    """Allocates slots for handshakes; an address is an IPv4 address or an IPv6 /64.

    A silent client keeps its slot until the handshake times out. So at the bound, the address with the most handshakes
    loses its oldest one to an address that would still have no more than it. Between addresses with the same number,
    none is aborted: when a whole fleet reconnects at once, that would let none of them finish.

    Args:
        name: the prefix of the bounds in the log and the metrics.
        most: the maximum number of concurrent handshakes.
        most_per_address: the same per address; 0 = no such bound.
        exempt: whether an address, such as a proxy's, is exempt from the bound per address.
        reserved: additional slots at a bound, only for addresses accepted by `may_reserve`; if all are taken, the
            oldest of these handshakes is aborted.
        may_reserve: whether an address may use a reserved slot.
    """

    def __init__(
        self,
        name: str,
        descriptors: Descriptors,
        *,
        most: int,
        most_per_address: int,
        exempt: Callable[[str], bool] = lambda _: False,
        reserved: int = 0,
        may_reserve: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._name = name
        self._descriptors = descriptors
        self._most = most
        self._most_per_address = most_per_address
        self._exempt = exempt
        self._max_reserved = reserved
        self._may_reserve = may_reserve
        self._of: dict[str, dict[Handshake, None]] = {}
        """The handshakes of each address, oldest first."""
        self._with: dict[int, dict[str, None]] = {}
        """Addresses by their number of handshakes, so that the one with the most is found without a scan."""
        self._highest = 0
        self._reserved: dict[Handshake, None] = {}
        self._ordinary = 0

    @property
    def count(self) -> int:
        """The number of handshakes, including those in reserved slots."""
        return self._ordinary + len(self._reserved)

    def begun(self, address: str, descriptor: int) -> Handshake | None:
        """Allocate a slot for an accepted connection; None if there is none. Call `ended` when the handshake ends."""
        if not self._descriptors.admits(descriptor):
            return None
        bucket = address_bucket(address)
        from_there = len(self._of.get(bucket, ()))
        if self._most_per_address and from_there >= self._most_per_address and not self._exempt(address):
            self._descriptors.reached(f"{self._name}_handshakes_per_address", address=address)
            return self._reserve(address)
        if self._ordinary >= self._most:
            self._descriptors.reached(f"{self._name}_handshakes", address=address)
            if self._highest <= from_there + 1:
                return self._reserve(address)
            greedy = next(iter(self._with[self._highest]))
            self._cut(next(iter(self._of[greedy])))
        handshake = Handshake(bucket)
        self._of.setdefault(bucket, {})[handshake] = None
        self._ordinary += 1
        self._move(bucket, from_there, from_there + 1)
        return handshake

    def ended(self, handshake: Handshake) -> None:
        """Free a handshake's slot, however it ended; safe to call again."""
        if handshake.is_over:
            return
        handshake.is_over = True
        bucket = handshake.bucket
        if bucket is None:
            del self._reserved[handshake]
            return
        of_it = self._of[bucket]
        self._move(bucket, len(of_it), len(of_it) - 1)
        del of_it[handshake]
        if not of_it:
            del self._of[bucket]
        self._ordinary -= 1

    def _reserve(self, address: str) -> Handshake | None:
        if not self._max_reserved or not self._may_reserve(address):
            return None
        if len(self._reserved) >= self._max_reserved:
            # A monitoring client's handshake takes milliseconds, so the oldest one isn't from monitoring.
            self._cut(next(iter(self._reserved)))
        handshake = Handshake(None)
        self._reserved[handshake] = None
        return handshake

    def _cut(self, handshake: Handshake) -> None:
        self.ended(handshake)
        handshake.cut()

    def _move(self, bucket: str, before: int, now: int) -> None:
        """Record that an address has one more handshake, or one fewer."""
        if before:
            had = self._with[before]
            del had[bucket]
            if not had:
                del self._with[before]
        if now:
            self._with.setdefault(now, {})[bucket] = None
        if now > self._highest or self._highest not in self._with:
            # It alone had the most, so no address has more than it has now.
            self._highest = now
