"""Refused logins: who is refused, and what a refusal costs and touches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from structlog.testing import capture_logs

from fleetkey.access import Granted, Refused, hash_secret, new_secret
from fleetkey.registry import ApplicationScope, DeviceState, KeyKind, RefusalReason, new_access_key
from tests.unit.registry.store_rig import JournalReader, issue

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleetkey.access import ConnectAttempt
    from tests.unit.access.access_rig import Bcrypt, World
    from tests.unit.access.conftest import WorldFactory

NOT_AUTHORIZED = 5
UNAVAILABLE = 3
EXPENSIVE = "$2a$15$" + "a" * 53


def _claims(**claims: object) -> Callable[[World], ConnectAttempt]:
    return lambda world: world.device().attempt(**claims)


def _claims_id(change: Callable[[str], str]) -> Callable[[World], ConnectAttempt]:
    def prepare(world: World) -> ConnectAttempt:
        credentials = world.device()
        return credentials.attempt(client_id=change(credentials.client_id))

    return prepare


def _application(scope: ApplicationScope, **claims: object) -> Callable[[World], ConnectAttempt]:
    return lambda world: world.application(scope).attempt(**claims)


def _other_device(world: World) -> ConnectAttempt:
    return world.device().attempt(client_id=world.device("S2").client_id)


def _other_secret(world: World) -> ConnectAttempt:
    return world.device().attempt(password=world.device("S2").secret.encode())


def _state(state: DeviceState) -> Callable[[World], ConnectAttempt]:
    def prepare(world: World) -> ConnectAttempt:
        credentials = world.device()
        world.store.set_device_state(credentials.client_id, state, actor="cli")
        return credentials.attempt()

    return prepare


def _revoked(world: World) -> ConnectAttempt:
    credentials = world.device()
    world.store.revoke_key(credentials.key, actor="cli")
    return credentials.attempt()


def _replaced(world: World) -> ConnectAttempt:
    credentials = world.device()
    world.store.record_first_connection(issue(world.store)[0])
    return credentials.attempt()


def _expired(world: World) -> ConnectAttempt:
    credentials = world.device()
    world.store.expire_device_keys(credentials.client_id, grace_seconds=5, actor="cli")
    world.clock.advance(5)
    return credentials.attempt()


def _deleted(world: World) -> ConnectAttempt:
    credentials = world.device()
    world.store.delete_device(credentials.client_id, actor="cli")
    return credentials.attempt()


def _too_many(world: World) -> ConnectAttempt:
    ids = tuple(issue(world.store, f"S{number}")[1] for number in range(11))
    return world.application(ApplicationScope(device_ids=ids)).attempt()


ALL = ApplicationScope(all_devices=True)
REFUSALS: dict[str, tuple[RefusalReason, Callable[[World], ConnectAttempt]]] = {
    "unknown_key": (RefusalReason.UNKNOWN_KEY, _claims(username="0" * 32)),
    "wrong_secret": (RefusalReason.WRONG_SECRET, _claims(password=b"f" * 64)),
    "another_devices_secret": (RefusalReason.WRONG_SECRET, _other_secret),
    "no_username": (RefusalReason.MALFORMED_CREDENTIALS, _claims(username=None)),
    "no_password": (RefusalReason.WRONG_SECRET, _claims(password=None)),
    "neither": (RefusalReason.MALFORMED_CREDENTIALS, _claims(username=None, password=None)),
    "empty_username": (RefusalReason.MALFORMED_CREDENTIALS, _claims(username="")),
    "empty_password": (RefusalReason.WRONG_SECRET, _claims(password=b"")),
    "long_password": (RefusalReason.WRONG_SECRET, _claims(password=b"x" * 73)),
    "password_with_nul": (RefusalReason.WRONG_SECRET, _claims(password=b"x\0")),
    "password_not_utf8": (RefusalReason.WRONG_SECRET, _claims(password=b"\xff" * 64)),
    "malformed_key": (RefusalReason.MALFORMED_CREDENTIALS, _claims(username="x" * 32)),
    "upper_case_key": (RefusalReason.MALFORMED_CREDENTIALS, _claims(username="ABCDEF01" * 4)),
    "key_with_line_end": (RefusalReason.MALFORMED_CREDENTIALS, _claims(username="0" * 32 + "\n")),
    "key_with_sql": (RefusalReason.MALFORMED_CREDENTIALS, _claims(username="' OR 1=1 --")),
    "key_of_surrogates": (RefusalReason.MALFORMED_CREDENTIALS, _claims(username="\ud800" * 32)),
    "wrong_client_id": (RefusalReason.WRONG_CLIENT_ID, _claims(client_id="other")),
    "empty_client_id": (RefusalReason.WRONG_CLIENT_ID, _claims(client_id="")),
    "another_devices_id": (RefusalReason.WRONG_CLIENT_ID, _other_device),
    "upper_case_id": (RefusalReason.WRONG_CLIENT_ID, _claims_id(lambda own: "A" + own[1:].upper())),
    "longer_id": (RefusalReason.WRONG_CLIENT_ID, _claims_id(lambda own: own + "0")),
    "application_as_device": (RefusalReason.WRONG_CLIENT_ID, _application(ALL, client_id="0" * 24)),
    "application_as_upper_case_device": (RefusalReason.WRONG_CLIENT_ID, _application(ALL, client_id="A" * 24)),
    "disabled_device": (RefusalReason.DEVICE_NOT_ACTIVE, _state(DeviceState.DISABLED)),
    "pending_device": (RefusalReason.DEVICE_NOT_ACTIVE, _state(DeviceState.PENDING)),
    "revoked_key": (RefusalReason.KEY_RETIRED, _revoked),
    "replaced_key": (RefusalReason.KEY_RETIRED, _replaced),
    "deleted_device": (RefusalReason.KEY_RETIRED, _deleted),
    "expired_key": (RefusalReason.KEY_EXPIRED, _expired),
    "foreign_will": (RefusalReason.FOREIGN_WILL, _claims(will_topic="devices/other/x")),
    "will_to_everyone": (RefusalReason.FOREIGN_WILL, _claims(will_topic="devices/+/x")),
    "will_to_the_system": (RefusalReason.FOREIGN_WILL, _claims(will_topic="$SYS/x")),
    "will_to_nothing": (RefusalReason.FOREIGN_WILL, _claims(will_topic="")),
    "will_with_nul": (RefusalReason.FOREIGN_WILL, _claims(will_topic="devices\0")),
    "will_of_surrogates": (RefusalReason.FOREIGN_WILL, _claims(will_topic="\ud800")),
    "application_will_elsewhere": (RefusalReason.FOREIGN_WILL, _application(ALL, will_topic="elsewhere")),
    "malformed_extra_topic": (RefusalReason.UNSAFE_SCOPE, _application(ApplicationScope(publish=("a/#/b",)))),
    "too_many_devices": (RefusalReason.SCOPE_TOO_LARGE, _too_many),
    "stored_cost_too_high": (RefusalReason.WRONG_SECRET, lambda world: world.device(secret_hash=EXPENSIVE).attempt()),
    "stored_hash_malformed": (RefusalReason.WRONG_SECRET, lambda world: world.device(secret_hash="-").attempt()),
}


@pytest.mark.parametrize(("reason", "prepare"), REFUSALS.values(), ids=REFUSALS.keys())
async def test_authenticate_refused(
    reason: RefusalReason, prepare: Callable[[World], ConnectAttempt], world: World, bcrypt: Bcrypt
) -> None:
    """Every refusal tells the client the same, costs exactly one bcrypt each time, and touches nothing."""
    bystander = world.device("bystander")
    connected = await world.connect(bystander)
    attempt = prepare(world)
    journal = JournalReader(world.store)
    for _ in range(2):
        bcrypt.calls = 0
        outcome = await world.authenticator.authenticate(attempt)
        assert outcome == Refused(reason)
        assert isinstance(outcome, Refused)
        assert outcome.return_code == NOT_AUTHORIZED
        assert bcrypt.calls == 1
    assert journal.read() == ([], [])
    assert world.revoked == []
    bcrypt.calls = 0
    assert await world.connect(bystander) is connected
    assert bcrypt.calls == 0


@pytest.mark.parametrize("serial", ["a/b", "a+", "#", "a b", "$x"])
async def test_authenticate_unsafe_serial(serial: str, make_world: WorldFactory, bcrypt: Bcrypt) -> None:
    """A device whose serial has characters special in topics is refused, at the same cost."""
    world = make_world(pattern="fleet/{serial}/#")
    assert await world.connect(world.device("harmless"))
    attempt = world.device(serial).attempt()
    bcrypt.calls = 0
    assert await world.authenticator.authenticate(attempt) == Refused(RefusalReason.UNSAFE_SCOPE)
    assert bcrypt.calls == 1


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        pytest.param({"client_id": "other"}, RefusalReason.WRONG_CLIENT_ID, id="wrong_client_id"),
        pytest.param({"will_topic": "devices/other/x"}, RefusalReason.FOREIGN_WILL, id="foreign_will"),
        pytest.param({"password": b"f" * 64}, RefusalReason.WRONG_SECRET, id="wrong_secret"),
    ],
)
async def test_authenticate_refused_secret_remembered(
    claims: dict[str, object], reason: RefusalReason, world: World, bcrypt: Bcrypt
) -> None:
    """A cached secret makes no refusal cheaper, and a refusal doesn't remove it from the cache."""
    credentials = world.device()
    principal = await world.connect(credentials)
    bcrypt.calls = 0
    assert await world.authenticator.authenticate(credentials.attempt(**claims)) == Refused(reason)
    assert bcrypt.calls == 1
    assert await world.connect(credentials) is principal
    assert bcrypt.calls == 1


async def test_authenticate_refused_log(world: World) -> None:
    """The log has the exact reason and the address, but neither secret nor hash."""
    stored = hash_secret(new_secret(), 4)
    credentials = world.device(secret_hash=stored)
    with capture_logs() as lines:
        await world.authenticator.authenticate(credentials.attempt())
    assert [(line["event"], line["reason"], line["address"], line["code"]) for line in lines] == [
        ("login_refused", "wrong_secret", "192.0.2.1", NOT_AUTHORIZED)
    ]
    assert credentials.secret not in repr(lines)
    assert stored not in repr(lines)


async def test_authenticate_store_closed(world: World, bcrypt: Bcrypt) -> None:
    """Without the registry only cached credentials get in; everyone else is told to try again later."""
    known, unknown = world.device("S1"), world.device("S2")
    principal = await world.connect(known)
    world.store.close()
    outcome = await world.authenticator.authenticate(unknown.attempt())
    assert outcome == Refused(RefusalReason.STORE_UNAVAILABLE)
    assert isinstance(outcome, Refused)
    assert outcome.return_code == UNAVAILABLE
    bcrypt.calls = 0
    assert await world.connect(known) is principal
    assert bcrypt.calls == 0


async def test_authenticate_granted(world: World, bcrypt: Bcrypt) -> None:
    """The right key, secret and client id get in at the cost of one bcrypt; the first connection is recorded."""
    credentials = world.device()
    own_will = f"devices/{credentials.client_id}/gone"
    outcome = await world.authenticator.authenticate(credentials.attempt(will_topic=own_will))
    assert isinstance(outcome, Granted)
    principal = outcome.principal
    assert (principal.kind, principal.key, principal.device_id) == (
        KeyKind.DEVICE,
        credentials.key,
        credentials.client_id,
    )
    assert principal.owner == credentials.client_id
    assert bcrypt.calls == 1
    assert world.store.get_key(credentials.key).first_connected_at is not None
    assert credentials.secret not in repr(outcome)


@pytest.mark.parametrize("client_id", ["", "back-end", "x" * 24, "0" * 23, "0" * 25])
async def test_authenticate_application_client_id(client_id: str, world: World) -> None:
    """An application may use any client id that doesn't look like a device's."""
    credentials = world.application(ALL)
    outcome = await world.authenticator.authenticate(credentials.attempt(client_id=client_id))
    assert isinstance(outcome, Granted)
    assert outcome.principal.owner == credentials.key
    assert outcome.principal.name == "back end"


async def test_authenticate_key_unknown_to_this_fleet(make_world: WorldFactory) -> None:
    """Credentials from one fleet are worthless in another."""
    mine, theirs = make_world(), make_world()
    credentials = theirs.device()
    assert await mine.authenticator.authenticate(credentials.attempt()) == Refused(RefusalReason.UNKNOWN_KEY)
    assert new_access_key() != credentials.key
