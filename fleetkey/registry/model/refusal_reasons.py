"""Why a client may be refused: the one closed list, with the same words in log, audit, metrics, records and docs."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

__all__ = ["RefusalReason", "RefusalStage"]

SHOW_DEVICE = "fleetkey devices show {device_id}"
SHOW_KEY = "fleetkey keys show {key}"
REGISTER_AGAIN = "fleetkey keys rotate {device_id} --grace-seconds 0"
DOCTOR = "fleetkey doctor"


class RefusalStage(StrEnum):
    """What a client tried when it was refused."""

    REGISTER = "register"
    """POST /register."""
    CONNECT = "connect"
    """Getting onto the broker, or to registration: TLS, the WebSocket upgrade, CONNECT."""
    SUBSCRIBE = "subscribe"
    PUBLISH = "publish"
    CONNECTION = "connection"
    """Staying connected: the server closed an accepted connection."""


class RefusalReason(StrEnum):
    """Each has the word, what it means, what to do about it, and the command for that, if there is one.

    A command is a template: `{device_id}`, `{serial}` and `{key}` stand for what a record has.
    """

    meaning: str
    advice: str
    command: str

    __hash__ = str.__hash__
    """`Enum.__hash__` is slow Python code, and refusals are counted."""

    def __new__(cls, word: str, meaning: str = "", advice: str = "", command: str = "") -> Self:
        """Create a member from its word and its texts."""
        member = str.__new__(cls, word)
        member._value_ = word
        member.meaning, member.advice, member.command = meaning, advice, command
        return member

    # Registration: who may register

    NOT_LISTED = (
        "allowlist:not_listed",
        "The serial is not on the allow-list.",
        "If the device is yours, add its serial; it gets in at its next attempt.",
        "fleetkey serials add {serial}",
    )
    NO_MATCH = (
        "pattern:no_match",
        "No pattern in `[registration.pattern] serials` matches the serial.",
        "Compare the serial with the patterns, and add one if the device is yours.",
        DOCTOR,
    )
    NO_PROOF = (
        "hmac:no_proof",
        "The device sent no proof, and the verifier `hmac` requires one.",
        "Have the factory write the serial's proof into the device.",
        "fleetkey serials prove {serial}",
    )
    WRONG_PROOF = (
        "hmac:wrong_proof",
        "The proof doesn't belong to the serial, by any of the group secrets.",
        "Compare the device's proof with the right one; another group secret, or a changed serial, is the usual cause.",
        "fleetkey serials prove {serial}",
    )
    HTTP_REFUSED = (
        "http:refused",
        "Your own API (verifier `http`) refused the serial.",
        "See why in your API's log.",
    )
    HTTP_TOO_MANY_WAITING = (
        "http:too_many_waiting",
        "Too many registrations wait for your API (verifier `http`).",
        "Make the API faster, or raise `max_concurrent` and `max_waiting` in `[registration.http]`.",
    )
    HTTP_TOO_SLOW = (
        "http:too_slow",
        "Your API (verifier `http`) didn't respond within `timeout_seconds`.",
        "Make the API faster, or raise `timeout_seconds` in `[registration.http]`.",
    )
    HTTP_ANSWER_TOO_LARGE = (
        "http:answer_too_large",
        "Your API (verifier `http`) sent a response that is too large.",
        "Correct the API: a response has at most 16 KiB.",
    )
    HTTP_UNREACHABLE = (
        "http:unreachable",
        "Your API (verifier `http`) can't be reached.",
        "Check that it runs, and its address and certificate; `verifier_api_failed` in the log says what failed.",
        DOCTOR,
    )
    HTTP_BAD_STATUS = (
        "http:bad_status",
        "Your API (verifier `http`) responded with another status than 200.",
        "Correct the API; `verifier_api_failed` in the log has the status.",
    )
    HTTP_BAD_ANSWER = (
        "http:bad_answer",
        "Your API (verifier `http`) sent a response that isn't valid.",
        "Correct the API; `verifier_api_failed` in the log says what is wrong.",
    )
    PROFILE_UNUSABLE = (
        "profile_unusable",
        "The settings don't have the profile that a verifier named for the device, or it doesn't fit.",
        "Add the profile to the settings, or correct its name; `profile_unusable` in the log has it.",
        DOCTOR,
    )
    SERIAL_IS_A_DEVICE_ID = (
        "serial_is_a_device_id",
        "Another device has this serial as its id, so in topics one could pass for the other.",
        "Give the device another serial.",
    )
    SERIAL_UNSAFE_IN_TOPICS = (
        "serial_unsafe_in_topics",
        "The topic patterns use `{serial}`, and this one has a character that is special in topics.",
        "Give the device a serial without `+ # / $` and white space, or use `{device_id}` in the patterns.",
    )
    ALREADY_REGISTERED = (
        "already_registered",
        "The device has a working key, and `reregistration` is `deny`.",
        "If it lost its credentials, end its keys; it gets new ones at its next registration.",
        REGISTER_AGAIN,
    )
    PENDING = (
        "pending",
        "The device waits for an operator's approval.",
        "Approve it; it gets credentials at its next registration.",
        "fleetkey devices approve {device_id}",
    )
    DEVICE_DISABLED = (
        "device_disabled",
        "An operator disabled the device.",
        "Enable it if it may come back.",
        "fleetkey devices enable {device_id}",
    )
    DEVICE_REJECTED = (
        "device_rejected",
        "An operator rejected the device.",
        "Approve it if that was a mistake.",
        "fleetkey devices approve {device_id}",
    )

    # Registration: the request

    MALFORMED_SERIAL = (
        "malformed_serial",
        "The serial is empty, too long, or has characters that can't be printed.",
        "Correct the firmware: a serial has 1 to 128 printable characters, and no white space at its ends.",
    )
    MALFORMED_BODY = (
        "malformed_body",
        "The body of the registration isn't the expected JSON.",
        'Correct the firmware: it sends `{"serial": "…"}`, and a `proof` if one is required.',
    )
    WRONG_CONTENT_TYPE = (
        "wrong_content_type",
        "The registration has another media type than `application/json`.",
        "Correct the firmware: it sends `Content-Type: application/json`.",
    )
    BODY_TOO_LARGE = (
        "body_too_large",
        "The body of the registration is too large.",
        "Correct the firmware: a registration needs a few hundred bytes.",
    )
    BODY_TOO_SLOW = (
        "body_too_slow",
        "The body of the registration arrived too slowly.",
        "Check the device's network and its `Content-Length`, or raise `[http] body_timeout_seconds`.",
    )
    BODY_INCOMPLETE = (
        "body_incomplete",
        "The client disconnected before the end of its body, or the body was framed wrongly.",
        "Check the device's network and its HTTP client.",
    )
    TOO_MANY_FROM_ADDRESS = (
        "too_many_from_address",
        "The address has registered too often in a minute.",
        "If many devices share it, set `trusted_proxies` or raise `[registration] max_per_address_per_minute`.",
    )
    TOO_MANY_FOR_SERIAL = (
        "too_many_for_serial",
        "The serial has registered too often in an hour.",
        "See why the device registers again and again; `[registration] max_per_serial_per_hour` is the limit.",
        "fleetkey audit --serial={serial}",
    )

    # Connecting: who may connect, and as whom

    MALFORMED_CREDENTIALS = (
        "malformed_credentials",
        "The user name can't be a key, which has 32 lower-case hex digits; or there is none.",
        "Correct the client: the user name is the key, not the device id, and the password is the secret.",
    )
    UNKNOWN_KEY = (
        "unknown_key",
        "This registry doesn't have the key: it is another server's, or a backup was restored.",
        "Check which server the client is meant for; a device registers again.",
    )
    WRONG_SECRET = (
        "wrong_secret",
        "The password isn't the key's secret. Who connected proved nothing.",
        "Check that the device kept the secret unchanged; if it lost it, end its keys, and it registers again.",
        SHOW_KEY,
    )
    KEY_RETIRED = (
        "key_retired",
        "The key was revoked, replaced, or has expired.",
        "See why it was retired; a device registers again, an application needs another key.",
        SHOW_KEY,
    )
    KEY_EXPIRED = (
        "key_expired",
        "The key has expired, or its grace period is over.",
        "A device registers again; an application needs another key.",
        SHOW_KEY,
    )
    DEVICE_NOT_ACTIVE = (
        "device_not_active",
        "The device is disabled, rejected, or waits for approval.",
        "See its state, and enable or approve it if it may come back.",
        SHOW_DEVICE,
    )
    WRONG_CLIENT_ID = (
        "wrong_client_id",
        "A device's client id must be its device id; an application's must not look like one.",
        "Correct the client: registration answers with the right `clientId`.",
        SHOW_KEY,
    )
    WRONG_ADDRESS = (
        "wrong_address",
        "The application key may only connect from certain addresses, and this isn't one of them.",
        "Connect from one of them, or create a key with another `--source`. Behind a proxy, all have its address.",
        SHOW_KEY,
    )
    FOREIGN_WILL = (
        "foreign_will",
        "The client may not publish to the topic of its will.",
        "Correct the topic of the will: it must be one that the client may publish to.",
        "fleetkey explain --key {key} --will={topic}",
    )
    UNSAFE_SCOPE = (
        "unsafe_scope",
        "A tag that the topics need is missing, or a tag or the serial has a character that is special in topics.",
        "Set the tag that the topic patterns name.",
        SHOW_DEVICE,
    )
    SCOPE_TOO_LARGE = (
        "scope_too_large",
        "The application key names more devices than `[access] max_scope_devices`.",
        "Create a key with `--all-devices`, or raise the setting.",
        SHOW_KEY,
    )
    SESSION_OF_ANOTHER = (
        "session_of_another",
        "Another key has a session under this client id.",
        "Give the client another client id.",
        SHOW_KEY,
    )
    CLIENT_ID_MISSING = (
        "client_id_missing",
        "The client id is empty, and the client asks for a persistent session, which needs one.",
        "Correct the client: a device's client id is its device id.",
        SHOW_KEY,
    )
    CLIENT_ID_TOO_LONG = (
        "client_id_too_long",
        "The client id has more than 256 bytes.",
        "Correct the client: a device's client id is its device id.",
    )
    WILL_TOO_LONG = (
        "will_too_long",
        "The topic of the will is longer, or has more levels, than any topic may have.",
        "Shorten the topic; the limits are `[mqtt] max_topic_bytes` and `max_topic_levels`.",
    )
    REVOKED = (
        "revoked",
        "The key stopped being valid while the client was connecting.",
        "See why; a device registers again if its key was replaced.",
        SHOW_KEY,
    )
    PLUGIN_REFUSED = (
        "plugin_refused",
        "A plugin of amqtt refused what Fleetkey would have allowed.",
        "See the plugin's configuration and its log.",
    )

    # The server can't now

    OVERLOADED = (
        "overloaded",
        "Too many clients registered or connected at once, so this one was told to try again.",
        "Clients try again by themselves; if this lasts, the machine is too small or someone floods it.",
        DOCTOR,
    )
    STORE_UNAVAILABLE = (
        "store_unavailable",
        "The registry couldn't be read or written.",
        "Check the disk, its free space and permissions; `registry_unreadable` in the log says what failed.",
        DOCTOR,
    )
    NOT_STORED = (
        "not_stored",
        "`broker.db` couldn't be written, and the client asked for something that must be stored.",
        "Check the disk and its free space; `broker_store_failed` in the log says what failed.",
        DOCTOR,
    )
    TAKEN_OVER = (
        "taken_over",
        "Another connection with the same key and client id took this one's place.",
        "Once, it's a client that lost its network and came back; again and again, two clients share credentials.",
        SHOW_KEY,
    )
    INTERNAL_ERROR = (
        "internal_error",
        "Something unexpected failed, so the client was refused.",
        "See the traceback in the log, and report it.",
    )

    # Limits

    BOUND_REACHED = (
        "bound_reached",
        "The client, all clients of its key or address, or all together, reached a limit: the record's `detail`.",
        "Raise the setting that `detail` names if the client needs more; the page on limits explains each.",
    )
    CONNECT_TIMEOUT = (
        "connect_timeout",
        "The client connected, but sent no complete CONNECT in time.",
        "Check what the client speaks, and its network; `[mqtt] connect_timeout_seconds` is the limit.",
    )

    # What isn't MQTT 5 or 3.1.1 on this port

    AUTHENTICATION_METHOD = (
        "authentication_method",
        "The client asked for a method of extended authentication (MQTT 5), and none is offered.",
        "Set the client to log in with user name and password alone: its key and secret.",
    )
    PROTOCOL_5 = (
        "protocol_5",
        "The client spoke MQTT 5 with an older Fleetkey, which had 3.1.1 alone; newer records don't have this reason.",
        "Nothing: MQTT 5 is served since then.",
    )
    PROTOCOL_3_1 = (
        "protocol_3_1",
        "The client speaks MQTT 3.1, and this broker 3.1.1 and 5.",
        "Set the client to MQTT 5 or 3.1.1 (`mosquitto_pub -V mqttv5`; in paho `protocol=MQTTv5`).",
    )
    PROTOCOL_UNKNOWN = (
        "protocol_unknown",
        "The CONNECT has a protocol level that no version of MQTT has.",
        "Set the client to MQTT 5 or 3.1.1.",
    )
    MALFORMED = (
        "malformed",
        "The client sent what MQTT doesn't allow.",
        "Correct the client; `detail` says what it sent, if it is known.",
    )
    TLS_ON_PLAIN_PORT = (
        "tls_on_plain_port",
        "The client speaks TLS, and this port doesn't.",
        "Use the port with TLS (`[mqtt] tls_bind`; `https://` needs `[http] tls_cert`), or switch off the client's.",
        DOCTOR,
    )
    HTTP_ON_MQTT_PORT = (
        "http_on_mqtt_port",
        "The client speaks HTTP, and this is a port for MQTT.",
        "Registration is at `[http] bind`, MQTT over WebSocket at `[mqtt] ws_bind`.",
        DOCTOR,
    )
    MQTT_ON_TLS_PORT = (
        "mqtt_on_tls_port",
        "The client speaks MQTT without TLS, and this port requires TLS.",
        "Switch the client's TLS on, or set it to the port of `[mqtt] bind`.",
        DOCTOR,
    )
    HTTP_ON_TLS_PORT = (
        "http_on_tls_port",
        "The client speaks HTTP without TLS, and this port requires TLS.",
        "Use `https://`, for MQTT over WebSocket `wss://`, or the right port.",
        DOCTOR,
    )
    MQTT_ON_WEBSOCKET_PORT = (
        "mqtt_on_websocket_port",
        "The client speaks MQTT over TCP, and this port requires a WebSocket.",
        "Set the client to the port of `[mqtt] bind`, or to WebSocket.",
        DOCTOR,
    )
    MQTT_ON_HTTP_PORT = (
        "mqtt_on_http_port",
        "The client speaks MQTT, and this port is registration's.",
        "Set the client to the port of `[mqtt] bind`.",
        DOCTOR,
    )
    NOT_TLS = (
        "not_tls",
        "What the client sent first isn't TLS, which this port requires.",
        "Check what the client speaks, and its port.",
        DOCTOR,
    )
    CERTIFICATE_REFUSED = (
        "certificate_refused",
        "The client doesn't trust the server's certificate.",
        "Give the client the authority (CA) that issued the certificate, and check the name, the dates and its clock.",
        DOCTOR,
    )
    TLS_FAILED = (
        "tls_failed",
        "The TLS handshake failed, for instance because there is no version or cipher that both sides support.",
        "Update the client's TLS, or see which versions and ciphers it offers; `detail` has the library's word.",
    )
    TLS_TIMEOUT = (
        "tls_timeout",
        "The client didn't complete the TLS handshake in time.",
        "Check the client's network; a port scanner does the same.",
    )
    UPGRADE_REFUSED = (
        "upgrade_refused",
        "The request isn't a valid upgrade to a WebSocket with the subprotocol `mqtt`.",
        "Set the client to MQTT over WebSocket, with the subprotocol `mqtt`.",
    )

    # Topics

    FOREIGN_TOPIC = (
        "foreign_topic",
        "The client may not publish to the topic; the message was dropped.",
        "Correct the topic, or use a key whose scope has it; the command says which topics this one has.",
        "fleetkey explain --key {key} --publish={topic}",
    )
    FOREIGN_FILTER = (
        "foreign_filter",
        "The filter matches topics that the client may not read.",
        "Correct the filter, or use a key whose scope has it (see the command). A shared subscription needs MQTT 5.",
        "fleetkey explain --key {key} --subscribe={topic}",
    )
