"""Brokers that lack one check each: the machine must find every one of them out. All that is patched is named here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fleetkey.access import Action, Authenticator, Principal
from fleetkey.access.login import authenticator, claims, verification
from fleetkey.broker.pending_wills import PendingWills
from fleetkey.broker.publish_topics import PublishTopics
from fleetkey.broker.retained import RetainedMessages
from fleetkey.broker.route_cache import RouteCache
from fleetkey.broker.router import Router
from fleetkey.broker.shared_group import SharedGroup
from fleetkey.broker.shared_groups import SharedGroups
from fleetkey.broker.store import BrokerStore
from fleetkey.registry import RefusalReason

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest

    from fleetkey.access import AllowedNetworks, ConnectAttempt, TopicScope

__all__ = ["MUTATIONS"]


def _allow(patch: pytest.MonkeyPatch, allowed: Action) -> None:
    allows = Principal.allows
    patch.setattr(Principal, "allows", lambda self, action, topic: action is allowed or allows(self, action, topic))


def deliveries_are_not_decided(patch: pytest.MonkeyPatch) -> None:
    """Live, retained and queued messages come to whoever subscribed, also after its scope changed."""
    _allow(patch, Action.RECEIVE)


def deliveries_are_decided_once(patch: pytest.MonkeyPatch) -> None:
    """Whether a topic may come to someone is decided the first time, and not at every delivery."""
    allows = Principal.allows
    decided: dict[tuple[str, str], bool] = {}

    def remembers(self: Principal, action: Action, topic: str) -> bool:
        if action is not Action.RECEIVE:
            return allows(self, action, topic)
        return decided.setdefault((self.key, topic), allows(self, action, topic))

    patch.setattr(Principal, "allows", remembers)


def publishing_is_not_decided(patch: pytest.MonkeyPatch) -> None:
    """Anyone publishes anything."""
    _allow(patch, Action.PUBLISH)


def subscribing_is_not_decided(patch: pytest.MonkeyPatch) -> None:
    """Anyone subscribes to anything; what comes is still decided."""
    patch.setattr(Principal, "allows_filter", lambda *_: True)


def foreign_wills_are_allowed(patch: pytest.MonkeyPatch) -> None:
    """A CONNECT may name any will."""
    check_claims = claims.check_claims

    def check(
        attempt: ConnectAttempt, *, device_id: str | None, scope: TopicScope, allowed_networks: AllowedNetworks
    ) -> RefusalReason | None:
        refusal = check_claims(attempt, device_id=device_id, scope=scope, allowed_networks=allowed_networks)
        return None if refusal is RefusalReason.FOREIGN_WILL else refusal

    patch.setattr(authenticator, "check_claims", check)
    patch.setattr(verification, "check_claims", check)


def secrets_are_not_verified(patch: pytest.MonkeyPatch) -> None:
    """The key is enough."""
    patch.setattr(verification, "verify_secret", lambda *_: True)


def applications_share_their_sessions(patch: pytest.MonkeyPatch) -> None:
    """An application takes over another's session."""
    patch.setattr(Principal, "owner", property(lambda self: self.device_id or "application"))


def revocations_are_ignored(patch: pytest.MonkeyPatch) -> None:
    """Who is connected stays."""
    patch.setattr(Authenticator, "on_revoked", lambda *_: None)


def deletions_leave_everything(patch: pytest.MonkeyPatch) -> None:
    """A deleted device's retained messages stay."""
    patch.setattr(Authenticator, "on_ended", lambda *_: None)


def retained_messages_match_every_filter(patch: pytest.MonkeyPatch) -> None:
    """A subscription brings every retained message in the scope."""
    patch.setattr(RetainedMessages, "walk", lambda self, _: iter(list(self.all().values())))


def restarts_forget_what_waits(patch: pytest.MonkeyPatch) -> None:
    """After a restart sessions are there, and their queues are empty."""
    patch.setattr(BrokerStore, "add_delivery", lambda *_: None)


def filters_across_devices_bring_everything(patch: pytest.MonkeyPatch) -> None:
    """Whoever may span devices with a filter hears all of them, live and retained."""
    allows = Principal.allows

    def spanning(self: Principal, action: Action, topic: str) -> bool:
        hears_all = action is Action.RECEIVE and bool(self.scope.across_devices)
        return allows(self, action, topic) or hears_all

    patch.setattr(Principal, "allows", spanning)
    may_receive = Principal.may_receive
    patch.setattr(
        Principal, "may_receive", lambda self, topic: may_receive(self, topic) or bool(self.scope.across_devices)
    )


def scopes_stay_in_the_routes(patch: pytest.MonkeyPatch) -> None:
    """The receivers of a topic aren't looked up again when a scope changes."""
    patch.setattr(RouteCache, "scope_changed", lambda *_: None)


def devices_span_devices(patch: pytest.MonkeyPatch) -> None:
    """A device subscribes with `+` in place of its id; what comes is still decided."""
    allows_filter = Principal.allows_filter
    patch.setattr(
        Principal,
        "allows_filter",
        lambda self, topic_filter: allows_filter(self, topic_filter) or topic_filter.startswith("devices/+/"),
    )


def aliases_stay_what_they_were(patch: pytest.MonkeyPatch) -> None:
    """A topic alias that is given to another topic stands for the first one still."""
    note_alias = PublishTopics._note_alias

    def note(self: PublishTopics, alias: int, topic_bytes: bytes) -> None:
        if alias not in self._aliases:
            note_alias(self, alias, topic_bytes)

    patch.setattr(PublishTopics, "_note_alias", note)


def groups_belong_to_everyone(patch: pytest.MonkeyPatch) -> None:
    """Sessions of two keys that use the same name share one subscription."""

    class OneForAll(dict[str, Any]):
        def get(self, _: str, default: Any = None) -> Any:
            return super().get("", default)

        def setdefault(self, _: str, default: Any = None) -> Any:
            return super().setdefault("", default)

        def __delitem__(self, _: str) -> None:
            super().__delitem__("")

    begin = SharedGroups.__init__

    def begin_with_one(self: SharedGroups, *arguments: Any) -> None:
        begin(self, *arguments)
        self._of_owner = OneForAll()

    patch.setattr(SharedGroups, "__init__", begin_with_one)


def members_of_groups_are_not_decided(patch: pytest.MonkeyPatch) -> None:
    """A shared subscription that spans devices brings everything to whoever's turn it is."""
    patch.setattr(SharedGroup, "choose", lambda self, *_: next((s for s in self.options if s.connection), None))


def wills_that_wait_are_not_cancelled(patch: pytest.MonkeyPatch) -> None:
    """The will of a client that comes back in time is published."""
    patch.setattr(PendingWills, "discard", PendingWills.ended)


def own_messages_come_back(patch: pytest.MonkeyPatch) -> None:
    """A subscription that wants no messages of its own client gets them."""
    send_to_all = Router._send

    def send(self: Router, session: Any, options: Any, message: Any, packets: Any, origin: Any) -> None:
        del origin
        send_to_all(self, session, options, message, packets, None)

    patch.setattr(Router, "_send", send)


MUTATIONS: list[Callable[[pytest.MonkeyPatch], None]] = [
    deliveries_are_not_decided,
    deliveries_are_decided_once,
    publishing_is_not_decided,
    subscribing_is_not_decided,
    foreign_wills_are_allowed,
    secrets_are_not_verified,
    applications_share_their_sessions,
    revocations_are_ignored,
    deletions_leave_everything,
    retained_messages_match_every_filter,
    restarts_forget_what_waits,
    filters_across_devices_bring_everything,
    scopes_stay_in_the_routes,
    devices_span_devices,
    aliases_stay_what_they_were,
    groups_belong_to_everyone,
    members_of_groups_are_not_decided,
    wills_that_wait_are_not_cancelled,
    own_messages_come_back,
]
