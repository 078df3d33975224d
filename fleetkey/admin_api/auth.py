"""Who may call the admin API. Every request is authorized here; there is no other way to the registry."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, NoReturn, Protocol, TypeVar

from litestar.exceptions import (
    ClientException,
    NotAuthorizedException,
    NotFoundException,
    PermissionDeniedException,
    TooManyRequestsException,
)

from fleetkey.access import RateLimiter, address_bucket
from fleetkey.admin_api.responses import Answer
from fleetkey.management import TokenRefused
from fleetkey.registry import Actor, AuditEntry, Role

if TYPE_CHECKING:
    from collections.abc import Callable

    from litestar.connection import ASGIConnection
    from litestar.handlers import BaseRouteHandler

    from fleetkey.access import RefusalLog, WorkerPool
    from fleetkey.admin_api.cache import ApiCache, Target
    from fleetkey.management import Management
    from fleetkey.registry import Token

__all__ = ["Authorizer", "Caller", "RefusalAudit"]

T = TypeVar("T")

FAILURE_WINDOW_SECONDS = 60
MAX_BEARER_CHARACTERS = 256
PREFIX = b"/api/v1"
READS = frozenset({"GET", "HEAD"})
ROLES = tuple(Role)
WORD = re.compile(r"(?!null\Z)(-?[0-9]{1,64}|[A-Za-z_]{1,64})\Z")
"""The value of a parameter that isn't text: a word from a list, a boolean or an integer."""
REFUSED = "api_refused"
CALLER, BEARER, MOMENT = "fleetkey_caller", "fleetkey_bearer", "fleetkey_moment"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Who sent a request."""

    token: Token
    address: str

    @property
    def actor(self) -> Actor:
        """The caller, for the audit log."""
        return Actor(f"api:{self.token.name}:{self.token.token_id}", address=self.address)

    def may(self, role: Role) -> bool:
        """Whether the token has at least this role."""
        return ROLES.index(self.token.role) >= ROLES.index(role)


class RefusalAudit(Protocol):
    """Where refusals are recorded for the audit log."""

    async def note(self, entry: AuditEntry) -> None:
        """Record a refusal."""
        ...


class Authorizer:
    """Authorizes requests, and runs their work in a thread.

    A request that changes something is authorized before its body is read, and again once it has been read. A request
    that only reads is authorized in the same call to a thread that then reads, since that call is most of its cost.
    Either way, `run` is the only way to the services, and it does nothing for a token that is invalid or lacks the
    role. A handler that names no role is for admins.

    Args:
        management: the services.
        pool: the threads that they run in.
        cache: recently used tokens and responses.
        refusals: records refusals in the audit log.
        refusal_log: logs refusals, within a budget.
        max_failures_per_minute: invalid tokens from one address before the response is 429; 0 = no limit. A valid
            token is accepted regardless.
        max_tracked: how many addresses are tracked.
    """

    def __init__(
        self,
        management: Management,
        pool: WorkerPool,
        cache: ApiCache,
        refusals: RefusalAudit,
        refusal_log: RefusalLog,
        *,
        max_failures_per_minute: int,
        max_tracked: int,
    ) -> None:
        self._management = management
        self._pool = pool
        self._cache = cache
        self._refusals = refusals
        self._refusal_log = refusal_log
        self._failures = RateLimiter(
            limit=max_failures_per_minute, window_seconds=FAILURE_WINDOW_SECONDS, max_tracked=max_tracked
        )
        # One entry per operation, so its size is fixed.
        self._parameters: dict[object, dict[str, _Parameter]] = {}
        # Refusals are audited at most once a minute for each source, so that a flood can't fill the disk.
        self._notes = RateLimiter(limit=1, window_seconds=FAILURE_WINDOW_SECONDS, max_tracked=max_tracked)

    async def before(self, connection: ASGIConnection[Any, Any, Any, Any]) -> Answer | None:
        """Refuse a request without a token, or with unknown query parameters, before it is parsed.

        Returns the response if it is cached and the caller may have it.
        """
        if not connection.scope["raw_path"].startswith(PREFIX):
            # Another spelling of the path, which may have bypassed a rule of a proxy in front.
            raise NotFoundException
        bearer = _bearer(connection)
        connection.scope[BEARER] = bearer  # type: ignore[literal-required] # ASGI allows additional keys
        if connection.scope.get("method") not in READS:
            checked = await self._pool.run(self._management.tokens.check, bearer)
            await self._admit(connection, checked)
        elif self._knows(connection, bearer):
            body = self._cache.answer(_target(connection))
            if body is not None:
                return Answer(body, HTTPStatus.OK)
        if connection.scope["query_string"]:
            self._check_query(connection, connection.route_handler)
        return None

    def keep(self, connection: ASGIConnection[Any, Any, Any, Any], answer: Answer) -> Answer:
        """Cache a response that depends only on the registry, not on the caller or the time, and return it."""
        moment: int | None = connection.scope.get(MOMENT)  # type: ignore[assignment]
        self._cache.keep_answer(_target(connection), answer.body, since=moment)
        return answer

    def _knows(self, connection: ASGIConnection[Any, Any, Any, Any], bearer: str) -> bool:
        """Whether the token is cached as valid for the registry's current state, and has the role."""
        connection.scope[MOMENT] = self._cache.moment()  # type: ignore[literal-required]
        token = self._cache.token(bearer)
        if token is None or self._management.tokens.refusal(token) is not None:
            return False
        caller = Caller(token=token, address=_address(connection))
        if not caller.may(_role(connection)):
            return False
        connection.scope[CALLER] = caller  # type: ignore[literal-required]
        return True

    def _check_query(self, connection: ASGIConnection[Any, Any, Any, Any], handler: BaseRouteHandler) -> None:
        """Refuse unknown or repeated parameters, since their meaning is unclear."""
        path = (connection.scope.get("method"), connection.scope["path_template"])
        known = self._parameters.get(path)
        if known is None:
            known = self._parameters[path] = _parameters(handler)
        query = connection.query_params
        for name in query:
            if name not in known:
                msg = f"Unknown query parameter `{name[:64]}`."
                raise ClientException(msg)
            if not known[name].is_list and len(query.getall(name)) > 1:
                msg = f"The query parameter `{name}` is given more than once."
                raise ClientException(msg)
            if not known[name].is_text and not all(map(WORD.match, query.getall(name))):
                # Litestar treats `null` as a missing parameter, and `1e2` as 100.
                msg = f"At `{name}`: {query[name][:64]!r} is not a valid value."
                raise ClientException(msg)

    @staticmethod
    def caller(connection: ASGIConnection[Any, Any, Any, Any]) -> Caller:
        """Return who sent a request that changes something; it was authorized before its body is read."""
        caller: Caller = connection.scope[CALLER]  # type: ignore[literal-required]
        return caller

    async def run(
        self,
        connection: ASGIConnection[Any, Any, Any, Any],
        work: Callable[[Management, Caller], T],
        *,
        pool: WorkerPool | None = None,
    ) -> T:
        """Run work with the services in a thread, if the request is authorized; pass `pool` if it may take long.

        Raises:
            NotAuthorizedException: the token is invalid.
            PermissionDeniedException: the token lacks the role.
            TooManyRequestsException: too many invalid tokens from this address.
            OverloadedError: too many requests are waiting.
        """
        caller: Caller | None = connection.scope.get(CALLER)  # type: ignore[assignment]
        if caller is not None and connection.scope.get("method") in READS:
            return await (pool or self._pool).run(work, self._management, caller)
        # Even if `before` has authorized it: reading the body takes time, and the token may have been revoked since.
        address = _address(connection)
        role = _role(connection)
        bearer: str = connection.scope[BEARER]  # type: ignore[literal-required]

        def check_and_work() -> tuple[Token | TokenRefused, T | None]:
            checked = self._management.tokens.check(bearer)
            if isinstance(checked, TokenRefused):
                return checked, None
            decided = Caller(token=checked, address=address)
            return checked, work(self._management, decided) if decided.may(role) else None

        checked, result = await (pool or self._pool).run(check_and_work)
        await self._admit(connection, checked)
        if not isinstance(checked, TokenRefused):
            moment: int | None = connection.scope.get(MOMENT)  # type: ignore[assignment]
            self._cache.keep_token(bearer, checked, since=moment)
        return result  # type: ignore[return-value] # None only if `_admit` raised

    async def run_on(self, connection: ASGIConnection[Any, Any, Any, Any], work: Callable[[Management], T]) -> T | None:
        """Run more work for a request that `run` authorized; None if its token has become invalid since.

        Raises:
            OverloadedError: too many requests are waiting.
        """
        address, role = _address(connection), _role(connection)
        bearer: str = connection.scope[BEARER]  # type: ignore[literal-required]

        def check_and_work() -> T | None:
            checked = self._management.tokens.check(bearer)
            if isinstance(checked, TokenRefused) or not Caller(token=checked, address=address).may(role):
                return None
            return work(self._management)

        return await self._pool.run(check_and_work)

    async def _admit(self, connection: ASGIConnection[Any, Any, Any, Any], checked: Token | TokenRefused) -> None:
        address, role = _address(connection), _role(connection)
        if isinstance(checked, TokenRefused):
            await self._refuse(checked, address)
            return
        caller = Caller(token=checked, address=address)
        if not caller.may(role):
            await self.refuse_role(
                caller, role, f"This requires the role {role}; the token has the role {checked.role}."
            )
        connection.scope[CALLER] = caller  # type: ignore[literal-required]

    async def refuse_role(self, caller: Caller, role: Role, why: str) -> NoReturn:
        """Refuse a request whose token lacks a role, and record that. Raises `PermissionDeniedException`."""
        reason, token_id = f"needs_role_{role}", caller.token.token_id
        self._log(caller.actor, reason, token_id)
        await self._note(caller.actor, reason, source=token_id, by_stranger=False)
        raise PermissionDeniedException(why)

    async def _refuse(self, refused: TokenRefused, address: str) -> None:
        bucket = address_bucket(address)
        actor, reason = Actor("api", address=address), f"token_{refused.reason}"
        wait = self._failures.admit(bucket)
        if wait:
            self._refusal_log.count(REFUSED, reason)
            msg = "Too many invalid tokens from this address; try again later."
            raise TooManyRequestsException(msg, headers={"Retry-After": str(int(wait) + 1)})
        self._log(actor, reason, refused.token_id)
        await self._note(actor, reason, source=bucket, by_stranger=True)
        raise _unauthorized()

    def _log(self, actor: Actor, reason: str, token_id: str | None) -> None:
        """Log a refusal; `token_id` is None for a stranger, who has no token's secret."""
        what: dict[str, Any] = {
            "level": logging.WARNING,
            "actor": str(actor),
            "address": actor.address,
            "reason": reason,
        }
        if token_id is None:
            self._refusal_log.stranger(REFUSED, **what)
        else:
            self._refusal_log.proven(REFUSED, token_id, **what)

    async def _note(self, actor: Actor, reason: str, *, source: str, by_stranger: bool) -> None:
        if not self._notes.admit(source):
            entry = AuditEntry(
                actor=actor, action="api_request", outcome="refused", reason=reason, by_stranger=by_stranger
            )
            await self._refusals.note(entry)


@dataclass(frozen=True, slots=True)
class _Parameter:
    """What can be checked about a query parameter without parsing it."""

    is_list: bool
    """Whether it may be repeated."""
    is_text: bool
    """Whether it may be any string."""


def _parameters(handler: BaseRouteHandler) -> dict[str, _Parameter]:
    """Return an operation's query parameters, by name."""
    found = {}
    for name, field in handler.parsed_fn_signature.parameters.items():
        kinds = [field, *field.inner_types]
        kinds += [inner for kind in field.inner_types for inner in kind.inner_types]
        found[getattr(field.kwarg_definition, "name", None) or name] = _Parameter(
            is_list=any(kind.is_non_string_sequence for kind in kinds),
            is_text=any(kind.annotation is str for kind in kinds),
        )
    return found


def _bearer(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    """Return the token in the `Authorization` header (RFC 6750, 2.1)."""
    # From the scope: building the mapping of all headers costs more than reading the token's row.
    headers = [value for name, value in connection.scope["headers"] if name == b"authorization"]
    scheme, _, text = (headers[0] if len(headers) == 1 else b"").decode("latin-1").partition(" ")
    text = text.strip()
    if scheme.lower() != "bearer" or not text or len(text) > MAX_BEARER_CHARACTERS:
        raise _unauthorized()
    return text


def _unauthorized() -> NotAuthorizedException:
    # RFC 9110, 11.6.1: a 401 response says how to authenticate.
    msg = "A valid token is required: Authorization: Bearer …"
    return NotAuthorizedException(msg, headers={"WWW-Authenticate": "Bearer"}, status_code=HTTPStatus.UNAUTHORIZED)


def _role(connection: ASGIConnection[Any, Any, Any, Any]) -> Role:
    return Role(connection.route_handler.opt.get("role", Role.ADMIN))


def _target(connection: ASGIConnection[Any, Any, Any, Any]) -> Target:
    return connection.scope["path"], connection.scope["query_string"]


def _address(connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    return connection.client.host if connection.client else ""
