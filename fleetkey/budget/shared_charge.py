"""What several owners make the server keep together: charged in full to each of them, and once in all."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fleetkey.budget.budget import Account

__all__ = ["SharedCharge"]


class SharedCharge:
    """Who holds one thing, such as a message, and how many times.

    Args:
        kind: what it is charged as.
        size: its bytes, without what each hold adds.
    """

    __slots__ = ("_account", "_count", "_kind", "_others", "size")

    def __init__(self, kind: str, size: int) -> None:
        self._kind = kind
        self.size = size
        self._account: Account | None = None
        """The first holder; most things have only one."""
        self._count = 0
        """How many holds it has."""
        self._others: dict[Account, int] | None = None
        """The other holders, and how many holds each has."""

    def hold(self, account: Account, each: int) -> bool:
        """Charge one more hold, and the thing itself if it is the account's first; False if there is no room.

        Args:
            account: the holder's.
            each: the bytes that the hold itself adds.
        """
        if self._account is None and self._others is None:
            # The first holder, and mostly the only one.
            if not account.charge(self._kind, self.size + each):
                return False
            self._account, self._count = account, 1
            return True
        if not account.charge(self._kind, *self._cost(account, each)):
            return False
        self._add(account)
        return True

    def hold_anyway(self, account: Account, each: int) -> None:
        """The same, even beyond the bounds."""
        account.charge_anyway(self._kind, *self._cost(account, each))
        self._add(account)

    def let_go(self, account: Account, each: int) -> None:
        """Release one hold, and the thing itself if it was the account's last."""
        others = self._others
        if account is self._account:
            self._count -= 1
            if self._count:
                account.release(self._kind, each)
                return
            self._account = None
        elif others is not None:
            others[account] -= 1
            if others[account]:
                account.release(self._kind, each)
                return
            del others[account]
        account.release(self._kind, self.size + each, self.size if self._account is not None or others else 0)

    def _cost(self, account: Account, each: int) -> tuple[int, int]:
        """Return how many bytes one more hold costs an account, and how many of them are charged to others already."""
        if account is self._account or (self._others is not None and account in self._others):
            return each, 0
        return self.size + each, self.size if self._account is not None or self._others else 0

    def _add(self, account: Account) -> None:
        if account is self._account:
            self._count += 1
        elif self._account is None and not (self._others and account in self._others):
            self._account, self._count = account, 1
        else:
            if self._others is None:
                self._others = {}
            self._others[account] = self._others.get(account, 0) + 1
