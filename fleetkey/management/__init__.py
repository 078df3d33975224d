"""What operators do to a fleet: one service layer; the command line and the HTTP API are its two faces."""

from fleetkey.management.audit import AuditAction, AuditOutcome, AuditService
from fleetkey.management.bulk import BulkAction, BulkChange
from fleetkey.management.devices import DeviceService
from fleetkey.management.errors import ConflictError, InvalidRequestError, ManagementError, SerialFileError
from fleetkey.management.expiry import parse_expiry
from fleetkey.management.grace import MAX_GRACE_SECONDS
from fleetkey.management.keys import (
    ApplicationKeyRequest,
    CreatedKey,
    KeyFilter,
    KeyService,
    Rotation,
    check_application_key,
)
from fleetkey.management.losant_keys import LosantKey, losant_answer, parse_losant_key
from fleetkey.management.management import Management, build_management
from fleetkey.management.moments import parse_moment
from fleetkey.management.pages import MAX_PAGE, BulkResult, Page, PositionList, parse_position, position_cursor
from fleetkey.management.selection import DeviceFilter, DeviceSelection
from fleetkey.management.serial_files import SerialFormat, read_serials
from fleetkey.management.serials import SerialService, prove_serial
from fleetkey.management.tokens import CreatedToken, TokenRefused, TokenService
from fleetkey.management.views import (
    audit_fields,
    device_fields,
    key_fields,
    serial_fields,
    token_fields,
    webhook_fields,
    when,
)
from fleetkey.management.webhooks import WebhookService, WebhookStatus, find_webhook

__all__ = [
    "MAX_GRACE_SECONDS",
    "MAX_PAGE",
    "ApplicationKeyRequest",
    "AuditAction",
    "AuditOutcome",
    "AuditService",
    "BulkAction",
    "BulkChange",
    "BulkResult",
    "ConflictError",
    "CreatedKey",
    "CreatedToken",
    "DeviceFilter",
    "DeviceSelection",
    "DeviceService",
    "InvalidRequestError",
    "KeyFilter",
    "KeyService",
    "LosantKey",
    "Management",
    "ManagementError",
    "Page",
    "PositionList",
    "Rotation",
    "SerialFileError",
    "SerialFormat",
    "SerialService",
    "TokenRefused",
    "TokenService",
    "WebhookService",
    "WebhookStatus",
    "audit_fields",
    "build_management",
    "check_application_key",
    "device_fields",
    "find_webhook",
    "key_fields",
    "losant_answer",
    "parse_expiry",
    "parse_losant_key",
    "parse_moment",
    "parse_position",
    "position_cursor",
    "prove_serial",
    "read_serials",
    "serial_fields",
    "token_fields",
    "webhook_fields",
    "when",
]
