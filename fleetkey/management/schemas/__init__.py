"""What is shown of the fleet, and what is taken to change it: declared here, and nowhere else.

The services return it, the admin API encodes and describes it, the remote client decodes it, commands print it. The
names end up in the OpenAPI description, which is why they say `Answer` and `Body`.
"""

from fleetkey.management.schemas.audit import AuditAnswer, AuditPage
from fleetkey.management.schemas.devices import (
    BulkAction,
    BulkAnswer,
    BulkBody,
    DeviceAnswer,
    DeviceBody,
    DevicePage,
    PolicyAnswer,
    RotationAnswer,
    RotationBody,
    TagsBody,
)
from fleetkey.management.schemas.keys import CreatedKeyAnswer, KeyAnswer, KeyBody, KeyPage, ScopeAnswer, ScopeBody
from fleetkey.management.schemas.serials import AddedAnswer, SerialAnswer, SerialEntry, SerialPage, SerialsBody
from fleetkey.management.schemas.server import AboutAnswer, MqttAnswer
from fleetkey.management.schemas.times import when
from fleetkey.management.schemas.tokens import CreatedTokenAnswer, TokenAnswer, TokenBody, TokenPage
from fleetkey.management.schemas.values import MAX_GRACE_SECONDS
from fleetkey.management.schemas.webhooks import TrialAnswer, WebhookAnswer, WebhookPage

__all__ = [
    "MAX_GRACE_SECONDS",
    "AboutAnswer",
    "AddedAnswer",
    "AuditAnswer",
    "AuditPage",
    "BulkAction",
    "BulkAnswer",
    "BulkBody",
    "CreatedKeyAnswer",
    "CreatedTokenAnswer",
    "DeviceAnswer",
    "DeviceBody",
    "DevicePage",
    "KeyAnswer",
    "KeyBody",
    "KeyPage",
    "MqttAnswer",
    "PolicyAnswer",
    "RotationAnswer",
    "RotationBody",
    "ScopeAnswer",
    "ScopeBody",
    "SerialAnswer",
    "SerialEntry",
    "SerialPage",
    "SerialsBody",
    "TagsBody",
    "TokenAnswer",
    "TokenBody",
    "TokenPage",
    "TrialAnswer",
    "WebhookAnswer",
    "WebhookPage",
    "when",
]
