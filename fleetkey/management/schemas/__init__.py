"""The schemas of everything that is shown of a fleet, and of the requests that change it: declared only here.

The services return them, the admin API encodes and describes them, the remote client decodes them, commands print
them. Their names appear in the OpenAPI description, which is why they end in `Answer` and `Body`.
"""

from fleetkey.management.schemas.audit import AuditAnswer, AuditPage
from fleetkey.management.schemas.devices import (
    BulkAction,
    BulkAnswer,
    BulkBody,
    BulkDevice,
    BulkOutcome,
    CountAnswer,
    DeviceAnswer,
    DeviceBody,
    DevicePage,
    PolicyAnswer,
    RotationAnswer,
    RotationBody,
    TagsBody,
)
from fleetkey.management.schemas.explain import (
    ConditionAnswer,
    ConditionEffect,
    EventAnswer,
    EventOutcome,
    ExplainAnswer,
    TopicAction,
    TopicAnswer,
)
from fleetkey.management.schemas.keys import CreatedKeyAnswer, KeyAnswer, KeyBody, KeyPage, ScopeAnswer, ScopeBody
from fleetkey.management.schemas.refusals import RefusalAnswer, RefusalPage
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
    "BulkDevice",
    "BulkOutcome",
    "ConditionAnswer",
    "ConditionEffect",
    "CountAnswer",
    "CreatedKeyAnswer",
    "CreatedTokenAnswer",
    "DeviceAnswer",
    "DeviceBody",
    "DevicePage",
    "EventAnswer",
    "EventOutcome",
    "ExplainAnswer",
    "KeyAnswer",
    "KeyBody",
    "KeyPage",
    "MqttAnswer",
    "PolicyAnswer",
    "RefusalAnswer",
    "RefusalPage",
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
    "TopicAction",
    "TopicAnswer",
    "TrialAnswer",
    "WebhookAnswer",
    "WebhookPage",
    "when",
]
