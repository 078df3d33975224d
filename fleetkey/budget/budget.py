"""A resource of the whole server, divided among the owners of what it keeps."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    Source = Callable[[], Mapping[str, int]]

__all__ = ["Account", "Budget", "BudgetState"]

log = structlog.get_logger(__name__)

CALM = 0.75
"""Part of a budget up to which nobody is held back; beyond it, the largest owners are."""
INPUT = 0.6
"""Part of a budget beyond which incomplete packets wait, but for owners with little: completing them takes more."""
GROWING = 0.85
"""Part of a budget beyond which nothing more is kept for owners that have more than little."""
NEWCOMERS = 0.9
"""Part of a budget beyond which nothing is kept for owners for whom nothing is kept yet: the last tenth is for those
with little."""
INPUT_BEYOND_SHARE = 1024 * 1024
"""How much of an owner's input may exceed its share: it has to be read before it can be answered that it's too much."""
LITTLE_BYTES = 65_536
"""How much counts as little, at most; less if there are so many owners that the last tenth wouldn't suffice."""
MIN_LITTLE_BYTES = 16_384
"""How much counts as little, at least."""
MAX_LARGE_ACCOUNTS = 4_096
"""Accounts that can be held back: each has more than this fraction of the budget."""
MAX_NAMED_OWNERS = 3
"""The largest owners, named in the log when a budget is reached."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetState:
    """How much of a budget is in use, in bytes."""

    limit: int
    kinds: Mapping[str, int]
    """What is charged, by kind, including what the server needs for itself (`own`)."""
    held_back: int
    """Owners that are held back."""
    admits_newcomers: bool
    """Whether anything is kept for owners for whom nothing is kept yet."""


class Account:
    """An owner's part of a budget.

    Whoever keeps something charges it first, and releases the same number of bytes when it is gone. An account that
    nothing is charged to is forgotten by its budget, so look it up again rather than hold it.

    Args:
        budget: the budget that it is part of.
        owner: whose account it is.
        share: the most that may be charged to it, in bytes.
        bound: what `share` is called in the log and the metrics.
    """

    __slots__ = ("bound", "budget", "owner", "share", "used")

    def __init__(self, budget: Budget, owner: str, share: int, bound: str) -> None:
        self.budget = budget
        self.owner = owner
        self.share = share
        self.bound = bound
        self.used = 0

    def charge(self, kind: str, size: int, shared: int = 0) -> bool:
        """Charge bytes that are about to be kept; False if there is no room for them, and then nothing changes.

        Args:
            kind: what they are for, such as `messages`.
            size: how many.
            shared: how many of them are already charged to another account, and so count in the total.
        """
        budget, before = self.budget, self.used
        used, total = before + size, budget.charged + size - shared
        if (used > self.share or total > budget.calm) and not budget.admits(self, used, total):
            return False
        self.used, budget.charged = used, total
        budget.kinds[kind] += size - shared
        if not before or used > budget.large >= before:
            budget.grew(self)
        return True

    def has_room(self, size: int) -> bool:
        """Whether `size` more bytes may be charged."""
        budget, used = self.budget, self.used + size
        total = budget.charged + size
        return (used <= self.share and total <= budget.calm) or budget.admits(self, used, total)

    def charge_anyway(self, kind: str, size: int, shared: int = 0) -> None:
        """Charge bytes that are kept already, even beyond the bounds."""
        self._add(kind, size, shared)

    def release(self, kind: str, size: int, shared: int = 0) -> None:
        """Release bytes that were charged; `shared` of them remain in the total, charged to another account."""
        budget = self.budget
        before, self.used = self.used, self.used - size
        budget.charged -= size - shared
        budget.kinds[kind] -= size - shared
        if not self.used or before > budget.large >= self.used:
            budget.shrunk(self)

    def charge_input(self, kind: str, size: int) -> bool:
        """Charge bytes that arrived and can't be handled yet; False if they leave too little for everything else.

        They are charged in any case. Within its share, an owner with less than its part of the budget waits only once
        nothing is kept but for owners with little.
        """
        self._add(kind, size, 0)
        budget = self.budget
        if self.used > self.share + INPUT_BEYOND_SHARE:
            return False
        if budget.charged <= budget.input_room:
            return True
        return self.used <= (budget.fair_input if budget.charged <= budget.growing else budget.little)

    def must_not_grow(self, size: int) -> bool:
        """Whether there is no room for the rest of input that isn't little: in the budget, or in the owner's share."""
        return size > self.budget.little and (
            self.budget.charged > self.budget.growing or self.used > self.share + INPUT_BEYOND_SHARE
        )

    @property
    def is_held_back(self) -> bool:
        """Whether it is among the largest while the resource is scarce, so that nothing more is read for it."""
        return self.used > self.budget.level

    def bound_reached(self, size: int) -> str:
        """Return which bound prevents charging `size` more bytes."""
        return self.bound if self.used + size > self.share else self.budget.resource

    def _add(self, kind: str, size: int, shared: int) -> None:
        budget = self.budget
        before, self.used = self.used, self.used + size
        budget.charged += size - shared
        budget.kinds[kind] += size - shared
        if not before or self.used > budget.large >= before:
            budget.grew(self)


class Budget:
    """What may be kept in all, and for each owner.

    Up to `CALM` of the budget, only the owners' shares bound what is kept. Beyond it, `look` determines how much an
    owner may have before it is held back, from the largest down. Beyond `GROWING`, nothing more is kept but for those
    with little and new ones; beyond `NEWCOMERS`, nothing for new ones either, and the rest of the budget is left to
    those who are in and have little.

    Args:
        resource: its name, in settings, log and metrics.
        limit: bytes in all.
        measured: measures how many bytes of it the process uses; None if it can't be measured.
    """

    def __init__(self, resource: str, limit: int, measured: Callable[[], int | None] = lambda: None) -> None:
        self.resource = resource
        self.limit = limit
        self._measured = measured
        self.charged = 0
        """Bytes charged to all accounts; what several of them share counts once."""
        self.kinds: Counter[str] = Counter()
        self.large = max(LITTLE_BYTES, limit // MAX_LARGE_ACCOUNTS)
        self.level: float = float("inf")
        """What an owner may have before it is held back."""
        self._accounts: dict[str, Account] = {}
        self._large: dict[str, Account] = {}
        self.little = LITTLE_BYTES
        """How much counts as little now."""
        self._sources: list[Source] = []
        self.fair_input = LITTLE_BYTES
        """What an owner may have before its incomplete input waits for that of others: a quarter of an equal part."""
        self._others: dict[str, int] = {}
        """Bytes in use that aren't charged to an owner, by kind."""
        self._own = 0
        """Bytes that the server needs for itself, as measured before it served anybody."""
        self._most_explained = 0
        """The most that charges and sources together have ever been."""
        self._is_reached = False
        self.calm = self.input_room = self.growing = self._newcomers = self._room = 0
        self._divide()

    def __len__(self) -> int:
        """Return the number of owners for whom something is kept."""
        return len(self._accounts)

    def account(self, owner: str, share: int, bound: str) -> Account:
        """Return an owner's account; `share` and `bound` are those of a new one."""
        return self._accounts.get(owner) or Account(self, owner, share, bound)

    def add_source(self, source: Source) -> None:
        """Add a function that returns bytes in use that aren't charged to an owner, by kind.

        Each such kind needs a bound of its own.
        """
        self._sources.append(source)

    def settle(self) -> None:
        """Take what is in use and not charged now for what the server itself needs; call it once, before serving."""
        self._own = max(0, (self._measured() or 0) - self.charged - sum(self._uncharged().values()))
        self.look()

    def look(self) -> None:
        """Determine who is held back from now on; call it about twice per second."""
        others = self._uncharged()
        self._most_explained = max(self._most_explained, self.charged + sum(others.values()))
        # What is measured doesn't shrink with what is charged, since freed memory is used again before it is returned.
        unexplained = (self._measured() or 0) - self._own - self._most_explained
        others["own"] = self._own + max(0, unexplained)
        self._others = others
        self._divide()
        self.little = max(MIN_LITTLE_BYTES, min(LITTLE_BYTES, (self._room - self._newcomers) // (len(self) + 1)))
        self.fair_input = max(self.little, self._room // (4 * (len(self) + 1)))
        if self.charged <= self.calm:
            self.level = float("inf")
            if self._is_reached:
                self._is_reached = False
                log.warning("budget_over", resource=self.resource, charged=self.charged, limit=self.limit)
            return
        sizes = sorted((account.used for account in self._large.values()), reverse=True)
        self.level = max(self.large, _level(sizes, self.calm - (self.charged - sum(sizes))))
        if not self._is_reached:
            self._is_reached = True
            log.warning(
                "budget_reached",
                resource=self.resource,
                charged=self.charged,
                limit=self.limit,
                others=sum(others.values()),
                held_back=len(self.held_back),
                largest=[account.owner for account in self._largest()],
            )

    def admits(self, account: Account, used: int, total: int) -> bool:
        """Whether an account may have `used` bytes, with `total` in all, beyond its share or `CALM`."""
        if used > account.share:
            return False
        if not account.used:
            return total <= self._newcomers
        if used <= self.little:
            # What has no owner may have grown since, but that is bounded, and isn't their fault.
            return total <= self.limit - self._own
        return used <= self.level and total <= self.growing

    @property
    def admits_newcomers(self) -> bool:
        """Whether anything is kept for owners for whom nothing is kept yet."""
        return self.charged <= self._newcomers

    @property
    def is_scarce(self) -> bool:
        """Whether more than `CALM` was in use at the last `look`."""
        return self._is_reached

    @property
    def held_back(self) -> list[str]:
        """The owners that are held back."""
        return [account.owner for account in self._large.values() if account.is_held_back]

    def state(self) -> BudgetState:
        """Return how much is in use."""
        return BudgetState(
            limit=self.limit,
            kinds={**self.kinds, **self._others},
            held_back=len(self.held_back),
            admits_newcomers=self.admits_newcomers,
        )

    def grew(self, account: Account) -> None:
        """Record that something is charged to an account for the first time, or that it became a large one."""
        self._accounts[account.owner] = account
        if account.used > self.large:
            self._large[account.owner] = account

    def shrunk(self, account: Account) -> None:
        """Record that an account isn't a large one, or that nothing is charged to it any more."""
        self._large.pop(account.owner, None)
        if not account.used:
            self._accounts.pop(account.owner, None)

    def _uncharged(self) -> dict[str, int]:
        return {kind: size for source in self._sources for kind, size in source().items()}

    def _divide(self) -> None:
        self._room = max(0, self.limit - sum(self._others.values()))
        self.calm, self.input_room = int(self._room * CALM), int(self._room * INPUT)
        self._newcomers, self.growing = int(self._room * NEWCOMERS), int(self._room * GROWING)

    def _largest(self) -> Iterable[Account]:
        return sorted(self._large.values(), key=lambda account: -account.used)[:MAX_NAMED_OWNERS]


def _level(sizes: list[int], room: int) -> float:
    """Return the level at which sizes, in descending order, have to be cut so that they fit."""
    cut = sum(sizes) - room
    for count, size in enumerate(sizes, start=1):
        following = sizes[count] if count < len(sizes) else 0
        if (size - following) * count >= cut:
            return size - cut / count
        cut -= (size - following) * count
    return 0.0
