"""File, variables and flags: which wins, and what is said when one is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetkey.config import SettingsError, load_settings

MAX_FILE_BYTES = 1024 * 1024


def _write(text: str | bytes, name: str = "fleetkey.toml") -> Path:
    path = Path(name)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def _refusal(config_file: Path | None = None, flags: dict[str, object] | None = None) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(config_file, flags)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


@pytest.mark.parametrize(
    ("sources", "bind"),
    [
        pytest.param("", "127.0.0.1:8080", id="default"),
        pytest.param("file", "127.0.0.1:1", id="file"),
        pytest.param("variable", "127.0.0.1:2", id="variable"),
        pytest.param("flag", "127.0.0.1:3", id="flag"),
        pytest.param("file variable", "127.0.0.1:2", id="variable_over_file"),
        pytest.param("file flag", "127.0.0.1:3", id="flag_over_file"),
        pytest.param("variable flag", "127.0.0.1:3", id="flag_over_variable"),
        pytest.param("file variable flag", "127.0.0.1:3", id="flag_over_all"),
    ],
)
def test_load_settings_precedence(sources: str, bind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A flag wins over a variable, a variable over the file, the file over the default."""
    if "file" in sources:
        _write('[http]\nbind = "127.0.0.1:1"')
    if "variable" in sources:
        monkeypatch.setenv("FLEETKEY_HTTP__BIND", "127.0.0.1:2")
    flags = {"http.bind": "127.0.0.1:3"} if "flag" in sources else None
    assert load_settings(flags=flags).http.bind == bind


def test_load_settings_sources_meet_in_one_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """One key of a table from each source: none of them hides the others."""
    _write("[registration]\nmax_keys = 7\ngrace_seconds = 1")
    monkeypatch.setenv("FLEETKEY_REGISTRATION__GRACE_SECONDS", "2")
    found = load_settings(flags={"registration.require_approval": True}).registration
    assert (found.max_keys, found.grace_seconds, found.require_approval) == (7, 2, True)


def test_load_settings_whole_number_for_a_fraction() -> None:
    """In a file, 5 is a number of seconds as well as 5.0 is."""
    _write("[http]\nbody_timeout_seconds = 5")
    assert load_settings().http.body_timeout_seconds == 5.0


def test_load_settings_table_of_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable that sets a table of names sets all of it: what it doesn't name is gone, whatever the file says."""
    old, new = "o" * 32, "n" * 32
    _write(
        f"""
        [registration]
        max_keys = 7
        hmac.secrets = {{ stolen = "{old}", line = "{old}" }}
        hmac.secret_files = {{ other = "other.secret" }}
        [profiles.lamp]
        tags = {{ kind = "lamp", room = "1" }}
        [webhooks.old]
        url = "https://old.example.com/"
        secrets = ["{old}"]
        """
    )
    monkeypatch.setenv("FLEETKEY_REGISTRATION__HMAC__SECRETS", f'{{"line": "{new}"}}')
    monkeypatch.setenv("FLEETKEY_PROFILES", '{"lamp": {"tags": {"kind": "lamp"}}}')
    monkeypatch.setenv("FLEETKEY_WEBHOOKS", "{}")
    settings = load_settings()
    hmac = settings.registration.hmac
    assert {group: secret.get_secret_value() for group, secret in hmac.secrets.items()} == {"line": new}
    assert dict(hmac.secret_files) == {"other": Path("other.secret")}
    assert dict(settings.profiles["lamp"].tags) == {"kind": "lamp"}
    assert dict(settings.webhooks) == {}
    assert settings.registration.max_keys == 7


def test_load_settings_table_of_names_in_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same when the variable sets the table above it."""
    _write(f'[registration.hmac.secrets]\nstolen = "{"o" * 32}"\n[registration]\nmax_keys = 7')
    monkeypatch.setenv("FLEETKEY_REGISTRATION__HMAC", '{"secrets": {}}')
    found = load_settings().registration
    assert (dict(found.hmac.secrets), found.max_keys) == ({}, 7)


def test_load_settings_flag_none() -> None:
    """A flag that wasn't given changes nothing."""
    _write('data_dir = "mine"')
    assert load_settings(flags={"data_dir": None}).data_dir == Path("mine")


def test_load_settings_named_file() -> None:
    """A named file is read instead of the one in the current folder."""
    _write('data_dir = "default"')
    assert load_settings(_write('data_dir = "named"', "other.toml")).data_dir == Path("named")


def test_load_settings_comma_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable and a flag write a list with commas; space around them doesn't count."""
    monkeypatch.setenv("FLEETKEY_HTTP__TRUSTED_PROXIES", "10.0.0.1, 10.1.0.0/16,,::1")
    settings = load_settings(flags={"topics.publish": "a/{device_id},b"})
    assert settings.http.trusted_proxies == ("10.0.0.1", "10.1.0.0/16", "::1")
    assert settings.topics.publish == ("a/{device_id}", "b")


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        pytest.param("registration.refuse_status", "401", 401, id="one_of_a_few_numbers"),
        pytest.param("registration.max_keys", "7", 7, id="number"),
        pytest.param("http.body_timeout_seconds", "2.5", 2.5, id="fraction"),
        pytest.param("registration.require_approval", "true", True, id="yes_or_no"),
        pytest.param("topics.preset", "losant", "losant", id="one_of_a_few_words"),
        pytest.param("registration.verifiers", "allowlist,open", ("allowlist", "open"), id="list"),
    ],
)
def test_load_settings_every_kind_of_variable(
    key: str, text: str, value: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A variable is a text, and becomes what its setting is."""
    table, name = key.split(".")
    monkeypatch.setenv(f"FLEETKEY_{table}__{name}".upper(), text)
    assert getattr(getattr(load_settings(), table), name) == value


def test_load_settings_variable_in_lower_case(monkeypatch: pytest.MonkeyPatch) -> None:
    """Case in a variable's name doesn't count."""
    monkeypatch.setenv("fleetkey_http__bind", "127.0.0.1:9")
    assert load_settings().http.bind == "127.0.0.1:9"


def test_load_settings_config_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    """`FLEETKEY_CONFIG` names the file, for the command line; it is no unknown setting."""
    monkeypatch.setenv("FLEETKEY_CONFIG", "other.toml")
    load_settings()


@pytest.mark.parametrize(
    ("content", "key"),
    [
        pytest.param("nope = 1", "nope", id="unknown_key"),
        pytest.param("[http]\nnope = 1", "http.nope", id="unknown_in_table"),
        pytest.param("[nope]\nx = 1", "nope", id="unknown_table"),
        pytest.param("[http]\n5 = 1", "http.5", id="unknown_in_digits"),
        pytest.param("7 = 1", "7", id="unknown_key_in_digits"),
        pytest.param("http = 5", "http", id="no_table"),
        pytest.param("[data_dir]\nx = 1", "data_dir", id="table_for_a_value"),
        pytest.param('[http]\nmax_connections = "many"', "http.max_connections", id="text_for_a_number"),
        pytest.param("[http]\nbind = 8080", "http.bind", id="number_for_a_text"),
        pytest.param('[registration]\nrequire_approval = "perhaps"', "registration.require_approval", id="no_bool"),
        pytest.param(
            '[registration]\nkey_lifetime_seconds = "5"', "registration.key_lifetime_seconds", id="number_in_text"
        ),
        pytest.param("[registration]\nmax_keys = 5.0", "registration.max_keys", id="fraction_for_a_count"),
        pytest.param("[registration]\nmax_keys = true", "registration.max_keys", id="yes_for_a_number"),
        pytest.param('[http]\nbody_timeout_seconds = "5"', "http.body_timeout_seconds", id="fraction_in_text"),
        pytest.param("[http]\nbody_timeout_seconds = true", "http.body_timeout_seconds", id="yes_for_a_fraction"),
        pytest.param('[registration]\nrequire_approval = "yes"', "registration.require_approval", id="yes_in_text"),
        pytest.param("[registration]\nrequire_approval = 1", "registration.require_approval", id="number_for_yes"),
        pytest.param('[registration]\nrefuse_status = "401"', "registration.refuse_status", id="one_of_two_in_text"),
        pytest.param('[registration.http]\nmax_waiting = "5"', "registration.http.max_waiting", id="deep"),
        pytest.param('[profiles.a]\nmax_keys = "5"', "profiles.a.max_keys", id="in_a_profile"),
        pytest.param("[mqtt]\nmax_connections = 2026-11-24", "mqtt.max_connections", id="date"),
        pytest.param("[topics]\npublish = [1]", "topics.publish", id="list_of_numbers"),
        pytest.param('[http]\nbind = "localhost"', "http.bind", id="bad_address"),
        pytest.param('[mqtt]\ntls_cert = "c.pem"', "tls_key", id="half_a_pair"),
        pytest.param(
            '[http]\nbind = ":1"\n[registration]\nverifiers = ["open"]', "registration.verifiers", id="open_beyond"
        ),
    ],
)
def test_load_settings_bad_value_in_file(content: str, key: str) -> None:
    """The error names the key and the file."""
    message = _refusal(_write(content, "bad.toml"))
    assert key in message.replace("bad.toml", "")
    assert "bad.toml" in message


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        pytest.param("FLEETKEY_NOPE", "1", id="unknown_table"),
        pytest.param("FLEETKEY_HTTPS__BIND", "1", id="misspelt_table"),
        pytest.param("FLEETKEY_HTTP__NOPE", "1", id="unknown_key"),
        pytest.param("FLEETKEY_HTTP_BIND", "127.0.0.1:1", id="one_underscore"),
        pytest.param("FLEETKEY_DATA_DIR__NOPE", "1", id="below_a_value"),
        pytest.param("FLEETKEY_HTTP__BIND__NOPE", "1", id="below_a_value_in_a_table"),
        pytest.param("FLEETKEY_HTTP__MAX_CONNECTIONS", "many", id="wrong_type"),
        pytest.param("FLEETKEY_HTTP__BIND", "localhost", id="bad_address"),
        pytest.param("FLEETKEY_HTTP__BIND", "", id="empty"),
        pytest.param("FLEETKEY_HTTP", "{", id="broken_json"),
        pytest.param("FLEETKEY_HTTP", "5", id="no_table"),
        pytest.param("FLEETKEY_HTTP__TLS_CERT", "c.pem", id="half_a_pair"),
        pytest.param("FLEETKEY_MQTT__TLS_BIND", "127.0.0.1:0", id="tls_without_certificate"),
        pytest.param("FLEETKEY_REGISTRATION__VERIFIERS", ",", id="empty_list"),
    ],
)
def test_load_settings_bad_variable(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names the variable, and a file that is right isn't blamed."""
    _write('[http]\nmax_connections = 5\n[mqtt]\nbind = "127.0.0.1:0"')
    monkeypatch.setenv(variable, value)
    message = _refusal()
    assert variable in message
    assert "fleetkey.toml" not in message


@pytest.mark.parametrize(
    ("variable", "value", "beside"),
    [
        pytest.param("FLEETKEY_HTTP", "{", "FLEETKEY_HTTP__BIND", id="broken_json"),
        pytest.param("FLEETKEY_HTTP__TLS_CERT", "c.pem", "FLEETKEY_HTTP__BIND", id="in_a_table"),
        pytest.param("FLEETKEY_REGISTRATION__VERIFIERS", "hmac", "FLEETKEY_REGISTRATION__MAX_KEYS", id="below_it"),
        pytest.param("FLEETKEY_REGISTRATION__VERIFIERS", "open", "FLEETKEY_MQTT__BIND", id="in_all_of_them"),
    ],
)
def test_load_settings_bad_variable_beside_a_good_one(
    variable: str, value: str, beside: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the variable that has to do with it is named."""
    _write("[http]\nbind = ':1'")
    monkeypatch.setenv(variable, value)
    monkeypatch.setenv(beside, "7" if beside.endswith("KEYS") else ":2")
    message = _refusal()
    assert variable in message.replace(f"{variable}__", "")
    assert beside not in message


def test_load_settings_half_a_pair_in_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable of the same table that has nothing to do with it doesn't hide the file."""
    _write('[mqtt]\ntls_cert = "c.pem"')
    monkeypatch.setenv("FLEETKEY_MQTT__MAX_RETAINED", "7")
    assert "(set in fleetkey.toml)" in _refusal(flags={"mqtt.bind": ":1"})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        pytest.param("http.nope", 1, id="unknown"),
        pytest.param("nope", 1, id="unknown_table"),
        pytest.param("http.bind", "localhost", id="bad_address"),
        pytest.param("http.max_connections", "many", id="wrong_type"),
        pytest.param("mqtt.tls_key", "k.pem", id="half_a_pair"),
    ],
)
def test_load_settings_bad_flag(key: str, value: object) -> None:
    """The error names the key and says that a flag set it."""
    message = _refusal(flags={key: value})
    assert key.rpartition(".")[2] in message
    assert "(set as a flag)" in message


def test_load_settings_absent_default_file() -> None:
    """No file in the current folder: the defaults."""
    assert load_settings().http.bind == "127.0.0.1:8080"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        pytest.param(None, "No such file", id="absent"),
        pytest.param(b"data_dir = '\xff'", "UTF-8", id="not_utf8"),
        pytest.param(b"[http\nbind = 1", "TOML", id="broken_toml"),
        pytest.param(b"data_dir = 'a'\ndata_dir = 'b'", "TOML", id="key_twice"),
        pytest.param(b"#" * (MAX_FILE_BYTES + 1), str(MAX_FILE_BYTES), id="too_large"),
    ],
)
def test_load_settings_unreadable_file(content: bytes | None, reason: str) -> None:
    """A named file that can't be used is one error that says which and why."""
    path = Path("given.toml") if content is None else _write(content, "given.toml")
    message = _refusal(path)
    assert "given.toml" in message
    assert reason in message


def test_load_settings_folder_for_a_file() -> None:
    """A folder is no settings file."""
    Path("given.toml").mkdir()
    assert "given.toml" in _refusal(Path("given.toml"))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param("http = 3", "http: must be a table, not an integer; write a table [http]", id="table"),
        pytest.param("[profiles]\na = 3", "profiles.a: must be a table, not an integer; write", id="table_of_names"),
        pytest.param(
            "[profiles.a]\ntags = []", "must be a table, not a list; write a table [profiles.a.tags]", id="map"
        ),
        pytest.param("[http]\nbind = 3", "http.bind: must be text, not an integer", id="text"),
        pytest.param("[http]\nbind = 2026-11-24", "http.bind: must be text, not a date or time", id="date"),
        pytest.param("[http]\ntls_cert = 3.5", "http.tls_cert: must be a path, not a number", id="path"),
        pytest.param("[topics]\npublish = 3", "topics.publish: must be a list, not an integer", id="list"),
        pytest.param("[topics]\npublish = [true]", "topics.publish: must be text, not true or false", id="in_a_list"),
        pytest.param(
            "[registration]\nreregistration = 'rotat'", "'rotat' is not one of rotate, add, deny", id="one_of_some"
        ),
        pytest.param("[topics]\npreset = 'aws'", "'aws' is not one of default, losant", id="one_of_two"),
        pytest.param(
            "[registration]\nrefuse_status = 402", "the value is not one of 400, 401", id="one_of_two_numbers"
        ),
        pytest.param(
            "[registration]\nverifiers = ['opn']", "'opn' is not one of allowlist, pattern, hmac, http, open", id="item"
        ),
        pytest.param("[registration]\nmax_keys = 0", "max_keys: must be at least 1", id="too_low"),
        pytest.param("[registration]\nmax_keys = 1001", "max_keys: must be at most 1000", id="too_high"),
        pytest.param("[webhooks.a]", "webhooks.a.url: required but not set", id="missing"),
    ],
)
def test_load_settings_reason_in_file(content: str, said: str) -> None:
    """What is wrong is said in the words of the file."""
    message = _refusal(_write(content))
    assert said in message.replace(" (set in fleetkey.toml)", "")


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        pytest.param("FLEETKEY_HTTP", "3", "must be a table, not an integer; write a table [http]", id="table"),
        pytest.param("FLEETKEY_REGISTRATION__MAX_KEYS", "five", ": must be an integer", id="integer"),
        pytest.param("FLEETKEY_REGISTRATION__MAX_KEYS", "1.5", ": must be an integer", id="fraction"),
        pytest.param("FLEETKEY_HTTP__BODY_TIMEOUT_SECONDS", "five", ": must be a number", id="number"),
        pytest.param("FLEETKEY_HTTP__ADMIN_API", "maybe", ": must be true or false", id="bool"),
        pytest.param(
            "FLEETKEY_REGISTRATION__REREGISTRATION", "rotat", "'rotat' is not one of rotate, add, deny", id="one"
        ),
        pytest.param("FLEETKEY_REGISTRATION__HMAC__SECRETS", '{"a": 3}', "secrets.a", id="in_json"),
    ],
)
def test_load_settings_reason_of_a_variable(
    variable: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is wrong with a variable is said in words as well."""
    monkeypatch.setenv(variable, value)
    message = _refusal()
    assert said in message
    assert "Input" not in message
    assert "valid" not in message


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        pytest.param("FLEETKEY_HTTP__MAX_CONNECTIONS", "hunter2hunter2", id="wrong_type"),
        pytest.param("FLEETKEY_REGISTRATION__REREGISTRATION", "hunter2hunter2", id="none_of_some"),
        pytest.param("FLEETKEY_STORE__URL", "postgresql://fleet:hunter2@localhost/fleet", id="password_in_a_url"),
    ],
)
def test_load_settings_wrong_value_not_repeated(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wrong value that may have a secret in it isn't shown."""
    monkeypatch.setenv(variable, value)
    assert "hunter2" not in _refusal()
