"""TLS handshakes under way: how many, from where, and whose is cut so that nobody is kept out by another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fleetkey.access import address_bucket

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleetkey.operations.descriptors import Descriptors

__all__ = ["Handshake", "Handshakes"]


class Handshake:
    """One handshake that has a place, from accept until it ends or is cut."""

    __slots__ = ("_cut", "bucket", "is_over")

    def __init__(self, bucket: str | None) -> None:
        self.bucket = bucket
        """What it counts against; None for a reserved place."""
        self.is_over = False
        self._cut: Callable[[], object] | None = None

    def when_cut(self, callback: Callable[[], object]) -> None:
        """Call `callback`, once, if the place goes to somebody else: it is to close the connection."""
        self._cut = callback

    def cut(self) -> None:
        """Close the connection."""
        if self._cut is not None:
            self._cut()


class Handshakes:
    """Shares out the places for handshakes; an address is an IPv4 address or an IPv6 /64.

    A silent client keeps its place for as long as a handshake may take. So at the bound, the oldest handshake of the
    address that has the most is cut for an address that would still have no more than it. Between addresses that have
    the same number nothing is cut: when a whole fleet comes back at once, cutting would let none of them finish.

    Args:
        name: what they are counted by in the log and the metrics.
        most: at once.
        most_per_address: at once from one address; 0 = no bound of its own.
        exempt: whether an address has no bound of its own, such as a proxy.
        reserved: further ones at a bound, only for addresses for which `may_reserve`; if all are taken, the oldest of
            them is cut.
        may_reserve: whether an address may have one of those.
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
        """Those of each address, oldest first."""
        self._with: dict[int, dict[str, None]] = {}
        """The addresses that have so many, so that the one with the most is found without looking at all."""
        self._highest = 0
        self._reserved: dict[Handshake, None] = {}
        self._ordinary = 0

    @property
    def count(self) -> int:
        """How many there are, in reserved places too."""
        return self._ordinary + len(self._reserved)

    def begun(self, address: str, descriptor: int) -> Handshake | None:
        """Count a connection that was accepted; None if there is no room for it. Call `ended` at its end."""
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
        """Free the place of one, however it ended; safe to call again."""
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
            # Whoever looks after the server's health takes milliseconds, so the oldest one is none of them.
            self._cut(next(iter(self._reserved)))
        handshake = Handshake(None)
        self._reserved[handshake] = None
        return handshake

    def _cut(self, handshake: Handshake) -> None:
        self.ended(handshake)
        handshake.cut()

    def _move(self, bucket: str, before: int, now: int) -> None:
        """Note that an address has one more, or one fewer."""
        if before:
            had = self._with[before]
            del had[bucket]
            if not had:
                del self._with[before]
        if now:
            self._with.setdefault(now, {})[bucket] = None
        if now > self._highest or self._highest not in self._with:
            # It was alone with the most, so none has more than it has now.
            self._highest = now
