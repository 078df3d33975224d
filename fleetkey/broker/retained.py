"""Retained messages: kept by topic, found by filter, bounded per owner."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from fleetkey.broker import disk_costs
from fleetkey.broker.encoding import has_expired
from fleetkey.broker.memory_costs import MESSAGES, retained_bytes, retained_node_bytes
from fleetkey.broker.message_holders import charge_in_memory, charge_on_disk
from fleetkey.registry import SteadyClock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fleetkey.broker.accounts import Accounts
    from fleetkey.broker.message import Message
    from fleetkey.budget import Account, SharedCharge

__all__ = ["RetainedMessage", "RetainedMessages"]

LOOKED_AT = 100
"""Messages that expire of which it is checked at a time whether they have."""


@dataclass(slots=True, kw_only=True)
class RetainedMessage:
    """The last message published to a topic with the retain flag (3.3.1.3)."""

    message: Message
    charged_to: str = ""
    """The owner whose bound in number it counts against; in bytes it is charged to its own."""
    is_stored: bool = False
    """Whether the broker's store has it, and so refers to the message."""
    number: int = 0
    """Increases with every message that is kept; after a restart, the message's row in the store."""

    @property
    def topic(self) -> str:
        """Its topic."""
        return self.message.topic

    @property
    def payload(self) -> bytes:
        """Its payload."""
        return self.message.payload

    @property
    def qos(self) -> int:
        """The QoS with which it was published."""
        return self.message.qos

    @property
    def owner(self) -> str:
        """Who published it; it is removed with its owner."""
        return self.message.owner

    @property
    def is_lasting(self) -> bool:
        """Whether it survives a restart; the broker publishes its own status again."""
        return not self.topic.startswith("$")


class _Node:
    __slots__ = ("account", "levels", "message")

    def __init__(self, account: Account | None = None) -> None:
        self.account = account
        """Whose message it was made for, and who is charged for it, also while others' messages need it."""
        self.levels: dict[str, _Node] = {}
        self.message: RetainedMessage | None = None


@dataclass(slots=True)
class _Forgotten:
    topics: set[str]
    newest: int
    """Messages with a larger number were published later."""


class RetainedMessages:
    """A tree of topic levels, bounded per owner in number and in bytes; the broker's own messages have no bound.

    The caller decides who may set or see a message.
    """

    def __init__(self, accounts: Accounts, *, max_per_owner: int, clock: SteadyClock | None = None) -> None:
        self._accounts = accounts
        self._clock = clock or SteadyClock()
        self._expiring: dict[str, None] = {}
        """The topics of messages that expire; at most those that there are."""
        self._max_per_owner = max_per_owner
        self._root = _Node()
        self._by_topic: dict[str, RetainedMessage] = {}
        self._topics_of: dict[str, set[str]] = {}
        self._charges: Counter[str] = Counter()
        self._forgotten: dict[str, _Forgotten] = {}
        """By owner, until all of it is removed."""
        self.newest = 0
        """The number of the newest message."""

    def __len__(self) -> int:
        """Return the number of messages."""
        return len(self._by_topic)

    def get(self, topic: str) -> RetainedMessage | None:
        """Return a topic's message."""
        return self._unforgotten(self._by_topic.get(topic))

    def may_match(self, topic_filter: str) -> bool:
        """Return whether there may be a message for a filter."""
        if "+" in topic_filter or topic_filter[-1] == "#":
            return bool(self._by_topic)
        return self.get(topic_filter) is not None

    def stored(self, topic: str) -> RetainedMessage | None:
        """Return a topic's message, also one that an owner left and that is being removed."""
        return self._by_topic.get(topic)

    def all(self) -> dict[str, RetainedMessage]:
        """Return all messages, by topic, including those that an owner left and that are being removed."""
        return self._by_topic

    def restore(self, message: RetainedMessage) -> None:
        """Restore a stored message; it counts against its owner, even beyond the bounds.

        Restore all in the order of their rows, which become their numbers.
        """
        self.newest = message.message.row - 1
        self.keep(message, is_bounded=False)

    def expired(self) -> list[RetainedMessage]:
        """Return messages that may no longer be delivered, to be dropped; looks at a few at each call."""
        found = []
        for topic in list(islice(self._expiring, LOOKED_AT)):
            # Behind the others, so that all of them have their turn.
            self._expiring[topic] = self._expiring.pop(topic)
            kept = self._by_topic.get(topic)
            if kept is not None and has_expired(kept.message, self._clock):
                found.append(kept)
        return found

    def keep(self, message: RetainedMessage, *, is_bounded: bool = True) -> bool:
        """Store a message in place of the topic's older one; False if its owner already has too many or too much.

        A replacement is stored even if its owner has too many, since otherwise an older value would survive a newer one
        that was acknowledged. It keeps counting against the previous message's owner then.
        """
        if self.bound_reached(message) and is_bounded:
            return False
        self._put(message, self._by_topic.get(message.topic))
        return True

    def bound_reached(self, message: RetainedMessage) -> str:
        """Return which bound prevents storing a message; empty if it can be stored."""
        older = self._by_topic.get(message.topic)
        message.charged_to = message.owner
        if message.owner and self._charges[message.owner] >= self._max_per_owner:
            if older is None or self._unforgotten(older) is None:
                return "max_retained"
            message.charged_to = older.charged_to
        freed = {account: total for _, account, _, total in self._costs(older)} if older is not None else {}
        nodes = self._new_nodes(message.topic) if older is None else 0
        for _, account, _, total in self._costs(message):
            more = total + nodes - freed.get(account, 0)
            if more > 0 and not account.has_room(more):
                return account.bound_reached(more)
            # They are in memory alone.
            nodes = 0
        return ""

    def _new_nodes(self, topic: str) -> int:
        """Return the memory of the nodes that a topic still needs."""
        levels = topic.split("/")
        node: _Node | None = self._root
        for depth, level in enumerate(levels):
            node = node.levels.get(level) if node is not None else None
            if node is None:
                return sum(map(retained_node_bytes, levels[depth:]))
        return 0

    def _costs(self, kept: RetainedMessage) -> list[tuple[SharedCharge, Account, int, int]]:
        """Return what retaining a message costs: in memory, and on disk if it is lasting.

        Each with the charge for the message itself, the account, the bytes besides the message, and those in all.
        """
        owner, message = kept.owner, kept.message
        each = retained_bytes(kept.topic)
        in_memory = charge_in_memory(message)
        costs = [(in_memory, self._accounts.memory_of(owner), each, in_memory.size + each)]
        if kept.is_lasting:
            each, on_disk = disk_costs.retained_bytes(message), charge_on_disk(message)
            costs.append((on_disk, self._accounts.disk_of(owner), each, on_disk.size + each))
        return costs

    def _put(self, message: RetainedMessage, older: RetainedMessage | None) -> None:
        if older is not None:
            self._disown(older)
        for charge, account, each, _ in self._costs(message):
            charge.hold_anyway(account, each)
        if message.message.expires_at is not None:
            self._expiring[message.topic] = None
        self._topics_of.setdefault(message.owner, set()).add(message.topic)
        self._charges[message.charged_to] += 1
        self._by_topic[message.topic] = message
        self.newest += 1
        message.number = self.newest
        node = self._root
        for level in message.topic.split("/"):
            following = node.levels.get(level)
            if following is None:
                account = self._accounts.memory_of(message.owner)
                account.charge_anyway(MESSAGES, retained_node_bytes(level))
                following = node.levels[level] = _Node(account)
            node = following
        node.message = message

    def drop(self, topic: str) -> RetainedMessage | None:
        """Remove a topic's message (3.3.1-10), and return it."""
        message = self._by_topic.pop(topic, None)
        if message is None:
            return None
        self._disown(message)
        levels = topic.split("/")
        path = [self._root]
        for level in levels:
            path.append(path[-1].levels[level])
        path[-1].message = None
        for depth in range(len(levels), 0, -1):
            if path[depth].levels or path[depth].message is not None:
                break
            level = levels[depth - 1]
            del path[depth - 1].levels[level]
            account = path[depth].account
            if account is not None:
                account.release(MESSAGES, retained_node_bytes(level))
        return message

    def of_owner(self, owner: str) -> list[RetainedMessage]:
        """Return the messages that an owner published."""
        return [self._by_topic[topic] for topic in self._topics_of.get(owner, ())]

    def forget(self, owner: str) -> Iterator[RetainedMessage | None]:
        """Hide all messages of an owner at once, and return an iterator that removes one at each step.

        It yields the message; None if its topic has another one by now.
        """
        topics = self._topics_of.pop(owner, set())
        forgotten = self._forgotten.get(owner)
        if forgotten is not None:
            # It is still being removed.
            forgotten.topics |= topics
            forgotten.newest = self.newest
            return iter(())
        if not topics:
            return iter(())
        self._forgotten[owner] = _Forgotten(topics, self.newest)
        return self._take_out(owner)

    def _take_out(self, owner: str) -> Iterator[RetainedMessage | None]:
        forgotten = self._forgotten[owner]
        while forgotten.topics:
            topic = forgotten.topics.pop()
            message = self._by_topic.get(topic)
            if message is not None and self._unforgotten(message) is None and message.owner == owner:
                yield self.drop(topic)
            else:
                yield None
        del self._forgotten[owner]

    def walk(self, topic_filter: str) -> Iterator[RetainedMessage | None]:
        """Yield the messages whose topics match a filter, and None wherever the search reaches a dead end.

        So callers can pause after a bounded amount of work. Changes made in the meantime may or may not be seen.
        """
        levels = topic_filter.split("/")
        stack: list[tuple[Iterator[_Node], int]] = [(iter((self._root,)), 0)]
        while stack:
            nodes, position = stack[-1]
            node = next(nodes, None)
            if node is None:
                stack.pop()
            elif position == len(levels):
                yield self._unforgotten(node.message)
            elif (level := levels[position]) == "#":
                stack.append((self._below(node), position))
                yield self._unforgotten(node.message)
            elif level == "+":
                stack.append((self._below(node), position + 1))
                yield None
            elif (following := node.levels.get(level)) is not None:
                stack.append((iter((following,)), position + 1))
            else:
                yield None

    def _below(self, node: _Node) -> Iterator[_Node]:
        """Iterate over the nodes that a wildcard matches; at the first level, none that begins with `$` (4.7.2-1).

        Over a copy, since the tree may change in the meantime: copying costs a fraction of iterating.
        """
        if node is self._root:
            return (following for level, following in list(node.levels.items()) if not level.startswith("$"))
        return iter(list(node.levels.values()))

    def _unforgotten(self, message: RetainedMessage | None) -> RetainedMessage | None:
        """Return a message, unless it has expired or its owner's messages are being removed."""
        if message is None or (message.message.expires_at is not None and has_expired(message.message, self._clock)):
            return None
        if self._forgotten:
            forgotten = self._forgotten.get(message.owner)
            if forgotten is not None and message.number <= forgotten.newest:
                return None
        return message

    def _disown(self, message: RetainedMessage) -> None:
        self._expiring.pop(message.topic, None)
        for charge, account, each, _ in self._costs(message):
            charge.let_go(account, each)
        topics = self._topics_of.get(message.owner)
        if topics is not None:
            topics.discard(message.topic)
            if not topics:
                del self._topics_of[message.owner]
        self._charges[message.charged_to] -= 1
        if not self._charges[message.charged_to]:
            del self._charges[message.charged_to]
